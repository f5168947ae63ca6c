/* SPDX-License-Identifier: Apache-2.0 */
/* The CNI protocol (specification 1.1.0 and all before it): requests checked, results and errors in the asked version.
 * Pure; shared by the plugin and the agent. */
#pragma once

#include "base/json.h"
#include "net/addr.h"

/* Error codes of the specification; from 100 on they are ours. */
enum cni_code {
	CNI_ERR_VERSION = 1, /* incompatible cniVersion */
	CNI_ERR_FIELD = 2,   /* unsupported field: the message has key and value */
	CNI_ERR_UNKNOWN = 3, /* container unknown: the runtime need not DEL */
	CNI_ERR_ENV = 4,     /* environment: the message has the variables' names */
	CNI_ERR_IO = 5,
	CNI_ERR_DECODE = 6,
	CNI_ERR_CONFIG = 7,
	CNI_ERR_TRY_AGAIN = 11,
	CNI_ERR_NOT_AVAILABLE = 50, /* no ADD now */
	CNI_ERR_LIMITED = 51,	    /* no ADD now, and containers that run may be cut off */
	CNI_ERR_ADDRESSES = 100,    /* no free address */
	CNI_ERR_EXISTS = 101,	    /* the interface or the attachment is there already */
	CNI_ERR_CHECK = 102,	    /* CHECK found something missing or wrong */
	CNI_ERR_KERNEL = 103,	    /* the kernel refused a step */
	CNI_ERR_NETNS = 104,	    /* the namespace cannot be entered */
};

struct cni_error {
	int code; /* 0: none */
	char *msg, *details;
};
void cni_error_done(struct cni_error *e);
#define _cleanup_cni_error_ _cleanup_(cni_error_done)
/* Fills in an error (the first one stays). Return: @code negated, for `return cni_fail(…)`. */
int cni_fail(struct cni_error *e, int code, const char *fmt, ...) _printf_(3, 4);

enum cni_command { CNI_ADD, CNI_DEL, CNI_CHECK, CNI_GC, CNI_STATUS, CNI_VERSION };

struct cni_attachment {
	char *container, *ifname;
};

struct cni_request {
	enum cni_command command;
	const char *version;			  /* static; what results are written in */
	char *network;				  /* "" for VERSION */
	char *container, *netns, *ifname;	  /* "" where the command has none */
	char *pod_namespace, *pod_name, *pod_uid; /* "" when not said */
	struct addr want[2];			  /* addresses asked for: IPv4, IPv6; zero: any */
	json_t *prev_result;			  /* a reference, or NULL */
	struct cni_attachment *valid;		  /* GC: what stays */
	size_t n_valid;
};
void cni_request_done(struct cni_request *r);
#define _cleanup_cni_request_ _cleanup_(cni_request_done)

enum { CNI_CONFIG_MAX = 512 * 1024, CNI_ENV_MAX = 4096 };
/* The variables that matter, NULL at the end. */
extern const char *const cni_env_names[];

/**
 * cni_request_parse() - check a call as the runtime made it
 * @env: object of the CNI_ variables that are set
 * @config: what came on standard input
 *
 * Return: 0, or an error code of the specification, negated, with @ret_error filled in.
 */
int cni_request_parse(const json_t *env, const char *config, size_t len, struct cni_request *ret,
		      struct cni_error *ret_error);

/* The version to answer in, whatever else is wrong with the configuration; static. */
const char *cni_answer_version(const char *config, size_t len);
/* Where the agent's directory is: "runDir" of the configuration when that is a clean absolute path, else the default.
 * Owned by the caller. */
char *cni_run_dir(const char *config, size_t len);

/* What ADD has made. */
struct cni_result {
	const char *host_ifname, *ifname, *netns;
	uint8_t host_mac[6], pod_mac[6];
	uint32_t mtu;	      /* of the device */
	uint32_t route_mtu;   /* of the default routes; 0: as the device */
	struct addr addrs[2]; /* zero: none */
};
extern const char CNI_GATEWAY_V4[], CNI_GATEWAY_V6[];

/* New references. */
json_t *cni_result_format(const struct cni_request *req, const struct cni_result *result);
json_t *cni_version_format(const char *version);
json_t *cni_error_format(const char *version, const struct cni_error *e);

/**
 * cni_check_prev() - does a prevResult still say what ADD said of our interface?
 *
 * Later plugins of a chain may have added to it, so only what is ours must be there. Return: 0, or -CNI_ERR_CHECK.
 */
int cni_check_prev(const struct cni_request *req, const struct cni_result *ours, struct cni_error *ret_error);
