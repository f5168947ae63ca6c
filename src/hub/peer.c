/* SPDX-License-Identifier: Apache-2.0 */
#include "hub/peer.h"
#include "base/log.h"
#include "base/str.h"

#include <gnutls/gnutls.h>
#include <gnutls/x509.h>

enum { NAME_MAX_BYTES = 256, GROUPS_MAX = 32 };

static char *name_part(gnutls_x509_crt_t crt, const char *oid, unsigned i)
{
	char text[NAME_MAX_BYTES];
	size_t n = sizeof(text);

	if (gnutls_x509_crt_get_dn_by_oid(crt, oid, i, 0, text, &n) < 0)
		return NULL;
	return strlen(text) == n ? xstrdup(text) : NULL; /* a NUL inside is nobody's name */
}

static void read_subject(gnutls_x509_crt_t crt, struct identity *ret)
{
	char *user = name_part(crt, GNUTLS_OID_X520_COMMON_NAME, 0);

	if (!user || !*user) {
		free(user);
		return;
	}
	ret->user = user;
	ret->groups = json_array();
	for (unsigned i = 0; i < GROUPS_MAX; i++) {
		_cleanup_free_ char *group = name_part(crt, GNUTLS_OID_X520_ORGANIZATION_NAME, i);

		if (!group)
			break;
		json_array_append_new(ret->groups, json_string(group));
	}
}

void peer_identify(void *session, struct identity *ret)
{
	unsigned status = 0, n = 0;
	const gnutls_datum_t *chain = gnutls_certificate_get_peers(session, &n);
	gnutls_x509_crt_t crt;

	if (!chain || n == 0)
		return;
	if (gnutls_certificate_verify_peers2(session, &status) < 0 || status != 0) {
		log_info("client certificate refused", L_HEX("status", status));
		return;
	}
	if (gnutls_x509_crt_init(&crt) < 0)
		return;
	if (gnutls_x509_crt_import(crt, &chain[0], GNUTLS_X509_FMT_DER) == 0)
		read_subject(crt, ret);
	gnutls_x509_crt_deinit(crt);
}
