/* SPDX-License-Identifier: MIT */
#include "io/pg_private.h"

#include <openssl/ssl.h>

bool pg_tls_holds_more(PGconn *conn)
{
    SSL *ssl = PQsslInUse(conn) ? PQsslStruct(conn, "OpenSSL") : NULL;

    return ssl && SSL_pending(ssl) > 0;
}
