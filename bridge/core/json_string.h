/* SPDX-License-Identifier: MIT */
/*
 * json_string - the inside of a JSON string, unescaped
 */
#ifndef TOCSIN_CORE_JSON_STRING_H
#define TOCSIN_CORE_JSON_STRING_H
#include "core/json.h"

struct json_string {
    size_t length;         /* of what was written, without the NUL */
    size_t consumed;       /* of the input, closing quote included; on error: where it is */
    enum json_fault fault; /* the first */
    const char *error;     /* after ERR_INVALID */
};

/*
 * Reads from after the opening quote to the closing one and writes to out, which already holds
 * the same bytes as in (so that a string without escapes is not copied) and is as long.
 * What is not text becomes U+FFFD, as long as its escape or less.
 */
NODISCARD int json_string_read(const char *in, size_t bytes, char *out, struct json_string *string);

#endif
