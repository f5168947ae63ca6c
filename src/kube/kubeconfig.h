/* SPDX-License-Identifier: Apache-2.0 */
/* Where the Kubernetes API is and who we are: from a kubeconfig file or a pod's service account. */
#pragma once

#include "base/json.h"

struct kube_config {
	char *server;	       /* "https://host:port", no slash at the end */
	char *ca;	       /* PEM, or NULL: the system's */
	char *cert, *key;      /* PEM, or NULL */
	char *token;	       /* or NULL */
	char *token_path;      /* where the token is read again when it changes, or NULL */
	char *tls_server_name; /* or NULL */
	char *namespace_;      /* of the context, or NULL */
	bool insecure;	       /* insecure-skip-tls-verify */
};

/**
 * kube_config_load() - the current context of a kubeconfig file (YAML or JSON)
 * @path: relative file names inside it are relative to its directory
 * @ret_error: one line for people ("/etc/x.yaml: context "lab" names the user "a", which is not there"), owned by the
 * caller
 *
 * exec and auth-provider plugins are refused: the agent runs no foreign programs.
 *
 * Return: 0, -errno of reading a file, -EINVAL.
 */
int kube_config_load(const char *path, struct kube_config *ret, char **ret_error);
/* From text; @dir is what relative file names are relative to. */
int kube_config_parse(const char *what, const char *text, size_t len, const char *dir, struct kube_config *ret,
		      char **ret_error);
/* In a pod: KUBERNETES_SERVICE_HOST and _PORT of the environment, and the files of
 * /var/run/secrets/kubernetes.io/serviceaccount. */
int kube_config_in_cluster(struct kube_config *ret, char **ret_error);
void kube_config_done(struct kube_config *c); /* wipes secrets */
