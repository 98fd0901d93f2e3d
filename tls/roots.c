/* roots - the roots that this system trusts, for contexts that are made
 * together: reading them takes as long as 20 certificates and keys. */
#include <stdlib.h>

#include <openssl/err.h>

#include "mta/base/check.h"
#include "tls/tls_private.h"

struct tls_roots {
	X509_STORE *store; /* NULL: not read yet, or it cannot be */
	int read;
};

static X509_STORE *read_roots(void)
{
	X509_STORE *s = X509_STORE_new();

	if (s && X509_STORE_set_default_paths(s) == 1)
		return s;
	X509_STORE_free(s);
	ERR_clear_error();
	return NULL;
}

struct tls_roots *tls_roots_create(void)
{
	return x_calloc(1, sizeof(struct tls_roots));
}

void tls_roots_destroy(struct tls_roots **r)
{
	if (*r)
		X509_STORE_free((*r)->store);
	free(*r);
	*r = NULL;
}

X509_STORE *tls_roots_get(struct tls_roots *r)
{
	if (!r)
		return read_roots();
	if (!r->read)
		r->store = read_roots();
	r->read = 1;
	if (r->store && X509_STORE_up_ref(r->store) != 1)
		return NULL;
	return r->store;
}
