/* SPDX-License-Identifier: MIT */
/*
 * token_expiry - when a JWT in a file expires, for warnings and error texts
 *
 * The token is not verified: whoever writes the file is trusted with it anyway, and the broker
 * decides.  Nothing here may refuse a connection.
 */
#ifndef TOCSIN_IO_TOKEN_EXPIRY_H
#define TOCSIN_IO_TOKEN_EXPIRY_H
#include "base/err.h"
#include <stddef.h>
#include <stdint.h>

struct token_times {
    int64_t issued_s;  /* claim iat; 0 without one */
    int64_t expires_s; /* claim exp, seconds since 1970 */
};

/* ERR_NOT_FOUND, ERR_IO: the file; ERR_INVALID: no JWT, or one without exp. */
NODISCARD int token_times_read_file(const char *path, struct token_times *out);
/* The same of a token in memory. */
NODISCARD int token_times_read(const char *token, size_t length, struct token_times *out);

#endif
