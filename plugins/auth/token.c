/* SPDX-License-Identifier: MIT */
#include "token.h"

#include "b64url.h"
#include "claims.h"
#include "lenient.h"

#include <jansson.h>

#include <stdlib.h>
#include <string.h>
#include <strings.h>

/*
 * What is not read must not keep anybody out: any number, and strings with NUL, may stand in it.
 * claims_text() reads strings, and not those.
 */
enum { SIGNATURE_MAX = 1024, DECODE_FLAGS = JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL };

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

/*
 * Fields that would have us take keys or rules from the token itself.  x5t and x5t#S256 are not
 * among them: a thumbprint names a key and brings none (RFC 7515, 4.1.7).
 */
static bool has_forbidden_field(json_t *header)
{
    static const char *const forbidden[] = {"crit", "b64", "jwk", "jku", "x5u", "x5c", "zip"};

    for (size_t i = 0; i < sizeof(forbidden) / sizeof(forbidden[0]); i++)
        if (json_object_get(header, forbidden[i]))
            return true;
    return false;
}

/* A member that is a string; NULL when it is missing or null.  False when it is something else. */
static bool get_text(json_t *header, const char *name, const char **out)
{
    json_t *value = json_object_get(header, name);

    *out = claims_text(value);
    return !value || json_is_null(value) || *out;
}

/* A media type's "application/" may be left out (RFC 7515, 4.1.9). */
static const char *short_typ(const char *typ)
{
    return strncasecmp(typ, "application/", 12) == 0 ? typ + 12 : typ;
}

static bool is_typ(const char *have, const struct option_list *want)
{
    have = short_typ(have);
    for (size_t i = 0; i < want->count; i++)
        if (strcasecmp(have, short_typ(want->items[i])) == 0)
            return true;
    return false;
}

/* A strict base64url part that is a JSON object without doubled names; NULL otherwise. */
static json_t *decode_object(const char *text, size_t len, size_t max)
{
    size_t out_len;
    json_t *object = NULL;
    unsigned char *bytes = malloc(max);

    if (bytes && b64url_decode(text, len, bytes, max, &out_len) == 0 && out_len > 0) {
        lenient_tame((char *)bytes, out_len);
        object = json_loadb((const char *)bytes, out_len, DECODE_FLAGS, NULL);
    }
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
    if (tok->max_ahead_s && tok->expires_s > now_s + tok->max_ahead_s)
        return REFUSAL_LIFETIME;
    return REFUSAL_NONE;
}

/* What is being verified. */
struct work {
    const char *text;
    struct parts parts;
    unsigned char sig[SIGNATURE_MAX];
    size_t sig_len;
    const struct algorithm *alg;
    const char *kid, *typ; /* of the header; NULL when it has none */
    json_t *payload;       /* decoded when the first signature holds */
};

static enum refusal read_header(json_t *header, struct work *work)
{
    const struct parts *p = &work->parts;
    const char *alg_name = claims_text(json_object_get(header, "alg"));

    work->alg = alg_name ? algorithm_find(alg_name) : NULL;
    if (!work->alg)
        return REFUSAL_ALGORITHM;
    if (has_forbidden_field(header) || !get_text(header, "typ", &work->typ) ||
        !get_text(header, "kid", &work->kid) || (work->kid && *work->kid == '\0'))
        return REFUSAL_HEADER;
    if (b64url_decode(p->signature, p->signature_len, work->sig, sizeof(work->sig),
                      &work->sig_len) != 0)
        return REFUSAL_MALFORMED;
    return REFUSAL_NONE;
}

/* Is the token what this key's issuer accepts? */
static enum refusal try_key(const struct key *key, struct work *work, int64_t now_s,
                            struct token *out)
{
    const struct issuer *iss = key_issuer(key);
    const struct parts *p = &work->parts;

    if (!key_allows(key, work->alg))
        return REFUSAL_ALGORITHM;
    if (work->typ && !is_typ(work->typ, &iss->typs))
        return REFUSAL_HEADER;
    if (!key_verify(key, work->alg, work->text, p->signed_len, work->sig, work->sig_len))
        return REFUSAL_SIGNATURE;
    if (!work->payload &&
        !(work->payload = decode_object(p->payload, p->payload_len, p->payload_len)))
        return REFUSAL_CLAIMS;
    memset(out, 0, sizeof(*out));
    out->key_print = key_print(key, work->alg);
    return claims_read(iss, work->payload, now_s, out);
}

/* How far it came: the log names the refusal of the issuer that came closest. */
static int progress(enum refusal why)
{
    static const enum refusal order[] = {REFUSAL_KEY,       REFUSAL_ALGORITHM, REFUSAL_HEADER,
                                         REFUSAL_SIGNATURE, REFUSAL_ISSUER,    REFUSAL_AUDIENCE};
    enum { STEPS = sizeof(order) / sizeof(order[0]) };

    for (int i = 0; i < STEPS; i++)
        if (order[i] == why)
            return i;
    return STEPS;
}

static enum refusal try_keys(const struct keys *keys, struct work *work, int64_t now_s,
                             struct token *out)
{
    enum refusal best = REFUSAL_KEY;
    const struct key *key;
    size_t at = 0;

    while ((key = keys_next(keys, work->kid, &at))) {
        enum refusal why = try_key(key, work, now_s, out);
        if (!why)
            return REFUSAL_NONE;
        if (progress(why) >= progress(best))
            best = why;
    }
    return best;
}

enum refusal token_verify(const struct keys *keys, const char *text, size_t len, size_t max_len,
                          int64_t now_s, struct token *out)
{
    struct work work = {.text = text};

    if (len > max_len)
        return REFUSAL_TOO_LONG;
    enum refusal why = split(text, len, &work.parts);
    if (why)
        return why;
    json_t *header = decode_object(work.parts.header, work.parts.header_len, TOKEN_HEADER_MAX);
    if (!header)
        return REFUSAL_MALFORMED;
    why = read_header(header, &work);
    if (!why)
        why = try_keys(keys, &work, now_s, out); /* kid and typ are the header's */
    json_decref(header);
    json_decref(work.payload);
    return why;
}
