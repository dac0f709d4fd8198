/* SPDX-License-Identifier: MIT */
#include "io/token_expiry.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/secret.h"

/* base64url without padding; the text is as long as it may be, and ended by a NUL. */
static char *decode(const char *text, size_t length)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    char *out = xmalloc(length + 1);
    size_t at = 0;
    unsigned bits = 0, held = 0;

    for (size_t i = 0; i < length; i++) {
        const char *digit = text[i] ? strchr(digits, text[i]) : NULL;

        if (!digit) {
            free(out);
            return NULL;
        }
        bits = (bits << 6 | (unsigned)(digit - digits)) & 0xffff;
        held += 6;
        if (held >= 8) {
            held -= 8;
            out[at++] = (char)(bits >> held & 0xff);
        }
    }
    out[at] = '\0';
    return out;
}

/* Past a string that begins at at; NULL when it does not end. */
static const char *skip_string(const char *at)
{
    for (at++; *at && *at != '"'; at++)
        if (*at == '\\' && at[1])
            at++;
    return *at ? at + 1 : NULL;
}

static const char *skip_blanks(const char *at)
{
    return at + strspn(at, " \t\r\n");
}

/* The number of a member of the outermost object; fractions are cut off. */
static bool find_number(const char *json, const char *name, int64_t *out)
{
    size_t length = strlen(name);
    int depth = 0;

    for (const char *at = json; *at;) {
        const char *end;

        if (*at != '"') {
            depth += (*at == '{' || *at == '[') - (*at == '}' || *at == ']');
            at++;
            continue;
        }
        end = skip_string(at);
        if (!end)
            return false;
        if (depth == 1 && (size_t)(end - at) == length + 2 && memcmp(at + 1, name, length) == 0 &&
            *skip_blanks(end) == ':') {
            const char *digits = skip_blanks(skip_blanks(end) + 1);
            char *rest;

            *out = strtoll(digits, &rest, 10);
            return rest != digits;
        }
        at = end;
    }
    return false;
}

int token_times_read(const char *token, size_t length, struct token_times *out)
{
    const char *first = memchr(token, '.', length);
    const char *second =
        first ? memchr(first + 1, '.', length - (size_t)(first + 1 - token)) : NULL;
    char *claims = second ? decode(first + 1, (size_t)(second - first) - 1) : NULL;
    bool is_good = claims && find_number(claims, "exp", &out->expires_s);

    if (is_good && !find_number(claims, "iat", &out->issued_s))
        out->issued_s = 0;
    free(claims);
    return is_good ? 0 : ERR_INVALID;
}

int token_times_read_file(const char *path, struct token_times *out)
{
    struct secret token = {0};
    char why[256];
    int err = secret_read_file(&token, path, why, sizeof why);

    if (!err)
        err = token_times_read(token.bytes, token.length, out);
    secret_fini(&token);
    return err;
}
