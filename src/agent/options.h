/* SPDX-License-Identifier: Apache-2.0 */
/* The agent's options: one table describes them all, options.c. */
#pragma once

#include "base/log.h"

enum transport { TRANSPORT_DIRECT, TRANSPORT_VXLAN, TRANSPORT_AUTO, TRANSPORT_WIREGUARD, TRANSPORT_GENEVE };
enum attach { ATTACH_AUTO, ATTACH_TCX, ATTACH_CLSACT };
enum encap { ENCAP_AUTO, ENCAP_DEVICE };
enum policy_mode { POLICY_MODE_ENFORCE, POLICY_MODE_OBSERVE };
enum policy_default { POLICY_DEFAULT_ALLOW, POLICY_DEFAULT_DENY };
enum auto_switch { SWITCH_AUTO, SWITCH_ON, SWITCH_OFF };
enum xdp_mode { XDP_OFF, XDP_AUTO, XDP_NATIVE, XDP_GENERIC };
enum announce_switch { ANNOUNCE_AUTO, ANNOUNCE_EVERY, ANNOUNCE_OFF };

#define NODE_PORTS_PRIMARY "primary"

struct options {
	char *node_name; /* never empty after options_finish() */
	char *kubeconfig;
	uint64_t transport; /* enum transport */
	bool fast_path, mss_clamp, pod_tunnels, foreign_nat, firewall_accept;
	uint64_t attach; /* enum attach */
	uint64_t encap;	 /* enum encap */
	uint64_t flow_table_size;
	uint64_t masquerade_ipv4, masquerade_ipv6; /* enum auto_switch */
	char *masquerade_exclude, *masquerade_exclude_pools; /* lists of prefixes: agent/lists.h */
	char *masquerade_ports;				     /* a range of ports */
	char *masquerade_reserved;			     /* a list of ports */
	uint64_t nat_table_size;
	uint64_t service_enabled; /* enum auto_switch */
	char *service_cgroup;	  /* "auto" or a path */
	bool service_external_ips, service_tiers, service_dsr;
	uint64_t service_table_size;
	uint64_t policy_mode, policy_default; /* enums above */
	bool policy_host;
	uint64_t policy_host_trial; /* seconds */
	char *policy_failsafe_ports, *policy_failsafe_egress_ports; /* lists of ports */
	uint64_t policy_address_table_size, policy_rule_table_size;
	uint64_t service_inbound; /* enum auto_switch */
	char *service_node_port_addresses; /* NODE_PORTS_PRIMARY, or prefixes */
	char *service_ranges;		   /* a list of prefixes: agent/lists.h */
	uint64_t service_host_ports;	   /* enum auto_switch */
	uint64_t service_xdp;		   /* enum xdp_mode */
	uint64_t service_announce; /* enum announce_switch */
	char *service_announce_interfaces; /* "auto" or names */
	char *service_health; /* "": no healthz */
	char *uplinks; /* "auto" or interface names joined by commas */
	uint64_t mtu;  /* 0: detect */
	uint64_t vxlan_port, vxlan_vni;
	uint64_t geneve_port;
	uint64_t probe_port;
	uint64_t mesh_engine; /* enum mesh_choice */
	uint64_t mesh_port, mesh_keepalive;
	char *mesh_dir, *mesh_pod_ranges;
	uint64_t rest_seconds, reconcile_seconds;
	uint64_t audit_seconds, netlink_buffer;
	char *metrics_listen; /* "": nowhere */
	bool observe_flows;
	uint64_t observe_keep; /* events */
	uint64_t measure_seconds; /* 0: off */
	char *run_dir, *bpf_dir;
	char *cni_conf_dir, *cni_bin_dir; /* "": write nothing */
	uint64_t cni_portmap;		  /* enum auto_switch */
	uint64_t log_level;		  /* enum log_level */
};

/* Sets every option to its default. */
void options_init(struct options *o);
void options_done(struct options *o);

/**
 * options_set() - one option from text, as in `--set KEY=VALUE`
 * @where: names the place in the error text: "--set" or "weftd.yaml: line 3"
 * @ret_error: on failure: place, option, what was expected; owned by the caller
 *
 * Return: 0, -ENOENT for an unknown name, -EINVAL for a bad value.
 */
int options_set(struct options *o, const char *where, const char *name, const char *value, char **ret_error);

/**
 * options_load_text() - a whole configuration file
 * @file: its name, for errors
 *
 * Keys nest or are dotted. Return: 0, or as options_set(); -EINVAL also for bad YAML.
 */
int options_load_text(struct options *o, const char *file, const char *text, size_t len, char **ret_error);

/* Reads a file of at most 1 MiB. Return: 0, or as above, or -errno of the file. */
int options_load_file(struct options *o, const char *file, char **ret_error);

/* What can only be settled when all sources are read: the host's name. Return: 0, -EINVAL. */
int options_finish(struct options *o, char **ret_error);

/* The reference in docs/options.md: a markdown table. */
void options_print(FILE *to);
/* For `weftd --help`. */
void options_print_help(FILE *to);
