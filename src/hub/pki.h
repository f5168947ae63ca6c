/* SPDX-License-Identifier: Apache-2.0 */
/* The hub's own certificate authority: EC P-256 keys, in DATA/pki/. */
#pragma once

#include "base/macro.h"

struct pki;

struct pki_pair {
	char *cert, *key; /* PEM */
};
void pki_pair_done(struct pki_pair *p);

/**
 * pki_open() - read the CA, or make it (ca.crt, ca.key with mode 0600)
 *
 * Return: 0 or -errno; @ret_error says what, the caller's.
 */
int pki_open(const char *data_dir, struct pki **ret, char **ret_error);
struct pki *pki_free(struct pki *p);
DEFINE_CLEANUP(struct pki *, pki_free)

const char *pki_ca_pem(const struct pki *p);

/* @names: DNS names and IP addresses, NULL-terminated. Valid for a year from now (an hour of slack before). */
int pki_issue_server(const struct pki *p, const char *const *names, struct pki_pair *ret);
/* CN=user, O=each group; valid for ten years. */
int pki_issue_client(const struct pki *p, const char *user, const char *const *groups, struct pki_pair *ret);

/* A kubeconfig with everything embedded; the caller's. */
char *kubeconfig_text(const struct pki *p, const char *server, const char *user, const struct pki_pair *pair);
