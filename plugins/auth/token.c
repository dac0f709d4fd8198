/* SPDX-License-Identifier: MIT */
#include "token.h"

#include "b64url.h"
#include "claims.h"

#include <jansson.h>

#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { SIGNATURE_MAX = 1024, DECODE_FLAGS = JSON_REJECT_DUPLICATES };

struct parts {
    const char *header, *payload, *signature;
    size_t header_len, payload_len, signature_len;
    size_t signed_len; /* of "header.payload" */
};

static enum refusal split(const char *text, size_t len, struct parts *p)
{
    const char *end = text + len;
    const char *dot = memchr(text, '.', len);
    const char *dot2 = dot ? memchr(dot + 1, '.', (size_t)(end - dot - 1)) : NULL;

    if (!dot2 || memchr(dot2 + 1, '.', (size_t)(end - dot2 - 1)))
        return REFUSAL_MALFORMED;
    p->header = text;
    p->header_len = (size_t)(dot - text);
    p->payload = dot + 1;
    p->payload_len = (size_t)(dot2 - dot - 1);
    p->signature = dot2 + 1;
    p->signature_len = (size_t)(end - dot2 - 1);
    p->signed_len = (size_t)(dot2 - text);
    if (!p->header_len || !p->payload_len || !p->signature_len)
        return REFUSAL_MALFORMED;
    return REFUSAL_NONE;
}

/* Fields that would have us take keys or rules from the token itself. */
static bool has_forbidden_field(json_t *header)
{
    static const char *const forbidden[] = {"crit", "b64", "jwk", "jku", "zip"};
    const char *name;
    json_t *value;

    for (size_t i = 0; i < sizeof(forbidden) / sizeof(forbidden[0]); i++)
        if (json_object_get(header, forbidden[i]))
            return true;
    json_object_foreach(header, name, value)
    {
        if (strncmp(name, "x5", 2) == 0)
            return true;
    }
    return false;
}

/* A kid is only ever compared, but there is no reason to carry strange bytes around. */
static bool is_kid(const char *kid)
{
    size_t len = strlen(kid);

    if (len == 0 || len > KEYS_KID_MAX)
        return false;
    for (; *kid; kid++)
        if (*kid < 0x21 || *kid > 0x7e)
            return false;
    return true;
}

static bool is_typ(const char *have, const char *want)
{
    if (strncasecmp(have, "application/", 12) == 0)
        have += 12;
    return strcasecmp(have, want) == 0;
}

/* Finds the key that signed; its issuer's claims are checked by the caller. */
static enum refusal find_signer(const struct keys *keys, json_t *header, const struct parts *p,
                                const char *text, const struct key **signer)
{
    const char *alg_name = json_string_value(json_object_get(header, "alg"));
    json_t *kid = json_object_get(header, "kid");
    json_t *typ = json_object_get(header, "typ");
    unsigned char sig[SIGNATURE_MAX];
    size_t sig_len, at = 0;
    const struct algorithm *alg = alg_name ? algorithm_find(alg_name) : NULL;
    enum refusal why = REFUSAL_KEY;
    const struct key *key;

    if (!alg)
        return REFUSAL_ALGORITHM;
    if (has_forbidden_field(header) || (typ && !json_is_string(typ)) ||
        (kid && (!json_is_string(kid) || !is_kid(json_string_value(kid)))))
        return REFUSAL_HEADER;
    if (b64url_decode(p->signature, p->signature_len, sig, sizeof(sig), &sig_len) != 0)
        return REFUSAL_MALFORMED;
    while ((key = keys_next(keys, json_string_value(kid), &at))) {
        if (!key_allows(key, alg)) {
            why = why == REFUSAL_KEY ? REFUSAL_ALGORITHM : why;
        } else if (typ && !is_typ(json_string_value(typ), key_issuer(key)->typ)) {
            why = REFUSAL_HEADER;
        } else if (key_verify(key, alg, text, p->signed_len, sig, sig_len)) {
            *signer = key;
            return REFUSAL_NONE;
        } else {
            why = REFUSAL_SIGNATURE;
        }
    }
    return why;
}

/* A strict base64url part that is a JSON object without doubled names; NULL otherwise. */
static json_t *decode_object(const char *text, size_t len, size_t max)
{
    size_t out_len;
    json_t *object = NULL;
    unsigned char *bytes = malloc(max);

    if (bytes && b64url_decode(text, len, bytes, max, &out_len) == 0)
        object = json_loadb((const char *)bytes, out_len, DECODE_FLAGS, NULL);
    free(bytes);
    if (object && !json_is_object(object)) {
        json_decref(object);
        object = NULL;
    }
    return object;
}

enum refusal token_check_time(const struct token *tok, int64_t now_s)
{
    if (now_s >= tok->ends_s)
        return REFUSAL_EXPIRED;
    if (now_s < tok->valid_from_s)
        return REFUSAL_NOT_YET;
    if (tok->max_lifetime_s &&
        (tok->expires_s > now_s + tok->max_lifetime_s ||
         (tok->issued_s && tok->expires_s - tok->issued_s > tok->max_lifetime_s)))
        return REFUSAL_LIFETIME;
    return REFUSAL_NONE;
}

enum refusal token_verify(const struct keys *keys, const char *text, size_t len, size_t max_len,
                          int64_t now_s, struct token *out)
{
    struct parts p;
    const struct key *signer = NULL;

    if (len > max_len)
        return REFUSAL_TOO_LONG;
    enum refusal why = split(text, len, &p);
    if (why)
        return why;
    json_t *header = decode_object(p.header, p.header_len, TOKEN_HEADER_MAX);
    if (!header)
        return REFUSAL_MALFORMED;
    why = find_signer(keys, header, &p, text, &signer);
    json_decref(header);
    if (why)
        return why;
    json_t *payload = decode_object(p.payload, p.payload_len, len);
    if (!payload)
        return REFUSAL_CLAIMS;
    why = claims_read(key_issuer(signer), payload, now_s, out);
    json_decref(payload);
    out->key_print = key_print(signer);
    return why;
}
