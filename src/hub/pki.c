/* SPDX-License-Identifier: Apache-2.0 */
#include "hub/pki.h"
#include "base/buf.h"
#include "base/file.h"
#include "base/str.h"
#include "net/addr.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <sys/stat.h>

enum { CA_DAYS = 3650, SERVER_DAYS = 365, CLIENT_DAYS = 3650, PEM_MAX = 65536, SLACK_S = 3600 };

struct pki {
	X509 *cert;
	EVP_PKEY *key;
	char *pem;
};

static void x509_freep(X509 **x)
{
	X509_free(*x);
}
static void pkey_freep(EVP_PKEY **k)
{
	EVP_PKEY_free(*k);
}
static void bio_freep(BIO **b)
{
	BIO_free(*b);
}

void pki_pair_done(struct pki_pair *p)
{
	free(p->cert);
	if (p->key)
		OPENSSL_cleanse(p->key, strlen(p->key));
	free(p->key);
	*p = (struct pki_pair){ 0 };
}

struct pki *pki_free(struct pki *p)
{
	if (!p)
		return NULL;
	X509_free(p->cert);
	EVP_PKEY_free(p->key);
	free(p->pem);
	free(p);
	return NULL;
}

const char *pki_ca_pem(const struct pki *p)
{
	return p->pem;
}

static char *bio_text(BIO *b)
{
	char *data;
	long n = BIO_get_mem_data(b, &data);

	return xstrndup(data, n);
}

static char *cert_pem(X509 *x)
{
	_cleanup_(bio_freep) BIO *b = BIO_new(BIO_s_mem());

	return b && PEM_write_bio_X509(b, x) ? bio_text(b) : NULL;
}

static char *key_pem(EVP_PKEY *k)
{
	_cleanup_(bio_freep) BIO *b = BIO_new(BIO_s_mem());

	return b && PEM_write_bio_PrivateKey(b, k, NULL, NULL, 0, NULL, NULL) ? bio_text(b) : NULL;
}

static int add_extension(X509 *x, X509 *issuer, int nid, const char *value)
{
	X509V3_CTX ctx;
	X509_EXTENSION *e;
	int ok;

	X509V3_set_ctx(&ctx, issuer, x, NULL, NULL, 0);
	e = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	ok = e && X509_add_ext(x, e, -1);
	X509_EXTENSION_free(e);
	return ok ? 0 : -EINVAL;
}

static int set_serial(X509 *x)
{
	unsigned char r[16];
	BIGNUM *n;
	int ok;

	if (RAND_bytes(r, sizeof(r)) != 1)
		return -EIO;
	r[0] &= 0x7f;
	n = BN_bin2bn(r, sizeof(r), NULL);
	ok = n && BN_to_ASN1_INTEGER(n, X509_get_serialNumber(x));
	BN_free(n);
	return ok ? 0 : -ENOMEM;
}

static int add_name(X509_NAME *n, const char *field, const char *value)
{
	return X509_NAME_add_entry_by_txt(n, field, MBSTRING_UTF8, (const unsigned char *)value, -1, -1, 0) ? 0 : -EINVAL;
}

static X509 *new_cert(EVP_PKEY *key, const char *cn, const char *const *orgs, int days)
{
	X509 *x = X509_new();
	X509_NAME *name = x ? X509_get_subject_name(x) : NULL;
	int r;

	if (!x)
		return NULL;
	X509_set_version(x, 2);
	r = set_serial(x);
	X509_gmtime_adj(X509_getm_notBefore(x), -SLACK_S);
	X509_gmtime_adj(X509_getm_notAfter(x), (long)days * 86400);
	for (; r == 0 && orgs && *orgs; orgs++)
		r = add_name(name, "O", *orgs);
	if (r == 0)
		r = add_name(name, "CN", cn);
	if (r == 0 && X509_set_pubkey(x, key))
		return x;
	X509_free(x);
	return NULL;
}

/* Signs and writes out. */
static int finish(X509 *x, EVP_PKEY *key, X509 *ca, EVP_PKEY *ca_key, struct pki_pair *ret)
{
	if (!X509_set_issuer_name(x, X509_get_subject_name(ca)) || !X509_sign(x, ca_key, EVP_sha256()))
		return -EINVAL;
	ret->cert = cert_pem(x);
	ret->key = key_pem(key);
	if (ret->cert && ret->key)
		return 0;
	pki_pair_done(ret);
	return -ENOMEM;
}

static int make_ca(struct pki_pair *ret)
{
	_cleanup_(pkey_freep) EVP_PKEY *key = EVP_EC_gen("P-256");
	_cleanup_(x509_freep) X509 *x = key ? new_cert(key, "weft-hub-ca", NULL, CA_DAYS) : NULL;

	if (!x || add_extension(x, x, NID_basic_constraints, "critical,CA:TRUE") < 0 ||
	    add_extension(x, x, NID_key_usage, "critical,keyCertSign,cRLSign,digitalSignature") < 0 ||
	    add_extension(x, x, NID_subject_key_identifier, "hash") < 0)
		return -EIO;
	return finish(x, key, x, key, ret);
}

static int create_files(const char *crt, const char *key)
{
	struct pki_pair pair = { 0 };
	int r = make_ca(&pair);

	/* The certificate last: when it is there, the key is. */
	if (r == 0)
		r = file_write_atomic(key, pair.key, strlen(pair.key), 0600);
	if (r == 0)
		r = file_write_atomic(crt, pair.cert, strlen(pair.cert), 0644);
	pki_pair_done(&pair);
	return r;
}

static int load(struct pki *p, const char *crt, const char *key)
{
	_cleanup_free_ char *key_text = NULL;
	_cleanup_(bio_freep) BIO *cert_bio = NULL;
	_cleanup_(bio_freep) BIO *key_bio = NULL;
	int r = file_read(crt, PEM_MAX, &p->pem, NULL);

	if (r == 0)
		r = file_read(key, PEM_MAX, &key_text, NULL);
	if (r < 0)
		return r;
	cert_bio = BIO_new_mem_buf(p->pem, -1);
	key_bio = BIO_new_mem_buf(key_text, -1);
	p->cert = PEM_read_bio_X509(cert_bio, NULL, NULL, NULL);
	p->key = PEM_read_bio_PrivateKey(key_bio, NULL, NULL, NULL);
	OPENSSL_cleanse(key_text, strlen(key_text));
	if (!p->cert || !p->key || !X509_check_private_key(p->cert, p->key))
		return -EUCLEAN;
	return 0;
}

int pki_open(const char *data_dir, struct pki **ret, char **ret_error)
{
	_cleanup_(pki_freep) struct pki *p = xnew0(struct pki);
	_cleanup_free_ char *dir = xasprintf("%s/pki", data_dir), *crt = xasprintf("%s/ca.crt", dir);
	_cleanup_free_ char *key = xasprintf("%s/ca.key", dir);
	int r = mkdir_parents(dir, 0700);

	if (r == 0 && access(crt, F_OK) < 0)
		r = errno == ENOENT ? create_files(crt, key) : -errno;
	if (r == 0)
		r = load(p, crt, key);
	if (r == -EUCLEAN)
		*ret_error = xasprintf("%s and ca.key are no certificate and its key", crt);
	else if (r < 0)
		*ret_error = xasprintf("%s: %s", dir, strerror(-r));
	if (r == 0)
		*ret = take_ptr(p);
	return r;
}

static char *san_text(const char *const *names)
{
	struct buf b = { 0 };

	for (; *names; names++) {
		struct addr a;

		buf_addf(&b, "%s%s:%s", b.len ? "," : "", addr_parse(*names, &a) == 0 ? "IP" : "DNS", *names);
	}
	return b.data ? b.data : xstrdup("DNS:localhost");
}

int pki_issue_server(const struct pki *p, const char *const *names, struct pki_pair *ret)
{
	_cleanup_(pkey_freep) EVP_PKEY *key = EVP_EC_gen("P-256");
	_cleanup_(x509_freep) X509 *x = key ? new_cert(key, "weft-hub", NULL, SERVER_DAYS) : NULL;
	_cleanup_free_ char *san = san_text(names);

	if (!x || add_extension(x, p->cert, NID_basic_constraints, "critical,CA:FALSE") < 0 ||
	    add_extension(x, p->cert, NID_key_usage, "critical,digitalSignature") < 0 ||
	    add_extension(x, p->cert, NID_ext_key_usage, "serverAuth") < 0 ||
	    add_extension(x, p->cert, NID_subject_alt_name, san) < 0)
		return -EINVAL;
	return finish(x, key, p->cert, p->key, ret);
}

int pki_issue_client(const struct pki *p, const char *user, const char *const *groups, struct pki_pair *ret)
{
	_cleanup_(pkey_freep) EVP_PKEY *key = EVP_EC_gen("P-256");
	_cleanup_(x509_freep) X509 *x = key ? new_cert(key, user, groups, CLIENT_DAYS) : NULL;

	if (!x || add_extension(x, p->cert, NID_basic_constraints, "critical,CA:FALSE") < 0 ||
	    add_extension(x, p->cert, NID_key_usage, "critical,digitalSignature") < 0 ||
	    add_extension(x, p->cert, NID_ext_key_usage, "clientAuth") < 0)
		return -EINVAL;
	return finish(x, key, p->cert, p->key, ret);
}

static char *base64(const char *text)
{
	size_t n = strlen(text);
	char *out = xmalloc((n + 2) / 3 * 4 + 1);

	EVP_EncodeBlock((unsigned char *)out, (const unsigned char *)text, n);
	return out;
}

char *kubeconfig_text(const struct pki *p, const char *server, const char *user, const struct pki_pair *pair)
{
	_cleanup_free_ char *ca = base64(p->pem), *cert = base64(pair->cert), *key = base64(pair->key);

	return xasprintf("apiVersion: v1\nkind: Config\ncurrent-context: weft\n"
			 "clusters:\n- name: weft\n  cluster:\n    server: %s\n    certificate-authority-data: %s\n"
			 "users:\n- name: \"%s\"\n  user:\n    client-certificate-data: %s\n    client-key-data: %s\n"
			 "contexts:\n- name: weft\n  context:\n    cluster: weft\n    user: \"%s\"\n",
			 server, ca, user, cert, key, user);
}
