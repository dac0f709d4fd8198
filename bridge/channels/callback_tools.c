/* SPDX-License-Identifier: MIT */
#include "channels/callback_tools.h"
#include "channels/adapters.h"
#include "channels/encode.h"
#include "channels/sign.h"
#include "core/id.h"
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdlib.h>
#include <string.h>

enum callback_verdict callback_refuse(struct callback_result *result, const char *why)
{
    result->why = why;
    return CALLBACK_REFUSED;
}

enum callback_verdict callback_misread(struct callback_result *result, const char *why)
{
    result->why = why;
    return CALLBACK_MALFORMED;
}

bool callback_equal(const void *a, size_t a_bytes, const void *b, size_t b_bytes)
{
    return a && b && a_bytes == b_bytes && CRYPTO_memcmp(a, b, a_bytes) == 0;
}

bool callback_equal_text(const char *a, const char *b)
{
    return a && b && callback_equal(a, strlen(a), b, strlen(b));
}

bool callback_equal_hex(const char *made, const char *given)
{
    char lower[2 * SHA256_BYTES + 1];
    size_t length = given ? strlen(given) : 0;

    if (!made || length >= sizeof lower)
        return false;
    for (size_t i = 0; i < length; i++)
        lower[i] = given[i] >= 'A' && given[i] <= 'F' ? (char)(given[i] + 32) : given[i];
    lower[length] = '\0';
    return given && callback_equal(made, strlen(made), lower, length);
}

void callback_hmac_hex(struct buf *out, const struct secret *key, const void *message,
                       size_t length)
{
    unsigned char mac[SHA256_BYTES];

    hmac_sha256(key->bytes, key->length, message, length, mac);
    encode_hex(out, mac, sizeof mac);
}

void callback_sha256_hex(struct buf *out, const void *bytes, size_t length)
{
    unsigned char hash[SHA256_BYTES];

    sha256(bytes, length, hash);
    encode_hex(out, hash, sizeof hash);
}

/* ---- events ---- */

/*
 * A copy that can be stored, and is what the dispatcher made of the same id: printable ASCII, no
 * longer than there.
 */
static const char *keep(struct arena *arena, const char *text, size_t bytes_max)
{
    size_t length = strlen(text);
    char *copy = arena_copy(arena, text, length < bytes_max ? length : bytes_max);

    for (char *at = copy; *at; at++)
        if (*at < 0x20 || *at > 0x7e)
            *at = '?';
    return copy;
}

#define KEY_MAX 200
/* Unread parts of one request; past it the whole is kept once. */
#define CALLBACK_UNREAD_MAX 100

/* A key is never cut: two long ones that begin alike are two. */
static const char *keep_key(struct arena *arena, const char *key)
{
    struct buf hex = {0};

    if (strlen(key) <= KEY_MAX)
        return keep(arena, key, KEY_MAX);
    callback_sha256_hex(&hex, key, strlen(key));
    key = arena_strdup(arena, hex.data);
    buf_fini(&hex);
    return key;
}

const char *callback_unread_key(struct arena *arena, const void *raw, size_t bytes)
{
    struct buf hex = {0};
    const char *key;

    callback_sha256_hex(&hex, raw, bytes);
    key = arena_printf(arena, "unread %s", hex.data);
    buf_fini(&hex);
    return key;
}

void callback_unread(struct callback_result *result, const char *raw)
{
    struct callback_unread *unread;

    for (size_t i = 0; i < result->unread_count; i++)
        if (!result->unread[i].raw) /* the whole is kept already */
            return;
    /* The last place is for all that follows. */
    if (result->unread_count == CALLBACK_UNREAD_MAX - 1)
        raw = NULL;
    if (result->unread_count == result->unread_room) {
        size_t room = result->unread_room ? 2 * result->unread_room : 4;
        struct callback_unread *more = arena_alloc(result->arena, room * sizeof *more);

        if (result->unread_count)
            memcpy(more, result->unread, result->unread_count * sizeof *more);
        result->unread = more;
        result->unread_room = room;
    }
    unread = &result->unread[result->unread_count++];
    unread->raw = raw ? arena_strdup(result->arena, raw) : NULL;
    unread->key = NULL;
    if (raw)
        unread->key = callback_unread_key(result->arena, raw, strlen(raw));
}

void callback_add(struct callback_result *result, const struct callback_event *event)
{
    const char *id = event->provider_id ? event->provider_id : "";
    char delivery[ID_TEXT_BYTES];
    struct callback_event *copy;

    if ((!id[0] && !event->delivery) || result->count >= CALLBACK_EVENTS_MAX) {
        callback_unread(result, event->raw);
        return;
    }
    if (result->count == result->room) {
        size_t room = result->room ? 2 * result->room : 8;
        struct callback_event *more = arena_alloc(result->arena, room * sizeof(*result->events));

        if (result->count)
            memcpy(more, result->events, result->count * sizeof(*more));
        result->events = more;
        result->room = room;
    }
    copy = &result->events[result->count++];
    *copy = *event;
    copy->at_ms = event->at_ms > 0 ? event->at_ms : 0; /* before 1970 nothing was sent */
    copy->provider_id = keep(result->arena, id, sizeof((struct outcome *)0)->provider_id - 1);
    copy->name = keep(result->arena, event->name ? event->name : "", 64);
    copy->raw = event->raw ? arena_strdup(result->arena, event->raw) : NULL;
    copy->code = event->code ? keep(result->arena, event->code, 31) : NULL;
    copy->key = keep_key(result->arena,
                         event->key && event->key[0]
                             ? event->key
                             : arena_printf(result->arena, "%s %s %s",
                                            id[0] ? id : id_format(event->delivery, delivery),
                                            copy->name, event->code ? event->code : ""));
}

void callback_hear(struct callback_result *result, const char *from, const char *text,
                   const char *id, int64_t at_ms)
{
    enum keyword keyword = text ? keyword_parse(text, strlen(text)) : KEYWORD_NONE;
    const char *digits = from && *from == '+' ? from + 1 : from;
    size_t length = digits ? strspn(digits, "0123456789") : 0;

    /* A short code, a name, or "whatsapp:+1..." is nobody's phone. */
    if (!keyword || !id || !id[0] || length < 7 || length > 15 || digits[length] || *digits == '0')
        return;
    result->word = (struct callback_word){
        .keyword = keyword,
        .address = arena_printf(result->arena, "+%s", digits),
        .key = keep_key(result->arena, arena_printf(result->arena, "heard %s", id)),
        .at_ms = at_ms > 0 ? at_ms : 0,
    };
}

struct answer *callback_json(const struct callback_request *request, struct callback_result *result)
{
    struct answer *answer = answer_new(request->body, request->body_bytes);

    if (answer_is_json(answer))
        return answer;
    answer_free(answer);
    callback_unread(result, NULL);
    return answer_new_mended(request->body, request->body_bytes);
}

uint64_t callback_delivery(const char *text)
{
    uint64_t id = 0;

    return text && id_parse(text, &id) == 0 ? id : 0;
}

bool callback_is_among(const char *word, const char *const list[])
{
    for (size_t i = 0; word && list[i]; i++)
        if (strcmp(word, list[i]) == 0)
            return true;
    return false;
}

enum reason callback_reason(const char *adapter, const char *code, enum reason otherwise)
{
    const struct error_table *table = adapter_errors(adapter);
    const struct error_row *row =
        code && table ? error_find(table, HTTP_STAGE_NONE, 0, code, NULL) : NULL;

    enum reason reason = row && row->dead ? proof_reason(row->dead) : row ? row->reason : 0;

    return row && row->codes && reason ? reason : otherwise;
}

void callback_bounced(struct callback_event *event, bool is_proof)
{
    event->report = is_proof ? REPORT_BOUNCED : REPORT_FAILED;
    event->reason = is_proof ? REASON_BOUNCED : REASON_PROVIDER_REJECTED;
}

int64_t callback_seconds(const char *text)
{
    double seconds = text ? strtod(text, NULL) : 0;

    return seconds > 0 && seconds < 1e10 ? (int64_t)(seconds * 1000) : 0;
}

/* ---- forms ---- */

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static char *decode(struct arena *arena, const char *text, size_t length)
{
    char *out = arena_alloc(arena, length + 1), *to = out;

    for (size_t i = 0; i < length; i++) {
        int high = text[i] == '%' && i + 2 < length ? hex_digit(text[i + 1]) : -1;
        int low = high >= 0 ? hex_digit(text[i + 2]) : -1;

        if (low >= 0) {
            *to++ = (char)(high * 16 + low);
            i += 2;
        } else {
            *to++ = text[i] == '+' ? ' ' : text[i];
        }
    }
    *to = '\0';
    return out;
}

static bool make_room(struct callback_form *form, struct arena *arena)
{
    size_t room = form->room ? 2 * form->room : 32;
    struct callback_pair *more;

    if (form->count < form->room)
        return true;
    if (form->count >= CALLBACK_PAIRS_MAX)
        return false;
    more = arena_alloc(arena, room * sizeof *more);
    if (form->count)
        memcpy(more, form->pairs, form->count * sizeof *more);
    form->pairs = more;
    form->room = room;
    return true;
}

bool callback_form_read(struct callback_form *form, struct arena *arena, const char *text,
                        size_t bytes)
{
    const char *end = text + bytes;

    *form = (struct callback_form){0};
    while (text < end) {
        const char *stop = memchr(text, '&', (size_t)(end - text));
        size_t length = (size_t)((stop ? stop : end) - text);
        const char *equals = memchr(text, '=', length);
        size_t name = equals ? (size_t)(equals - text) : length;

        if (length) {
            if (!make_room(form, arena))
                return false;
            form->pairs[form->count].name = decode(arena, text, name);
            form->pairs[form->count++].value =
                equals ? decode(arena, equals + 1, length - name - 1) : "";
        }
        text += length + (stop ? 1 : 0);
    }
    return true;
}

const char *callback_form_get(const struct callback_form *form, const char *name)
{
    for (size_t i = 0; i < form->count; i++) {
        if (strcmp(form->pairs[i].name, name) == 0)
            return form->pairs[i].value;
    }
    return NULL;
}

/* ---- JWT ---- */

static const EVP_MD *digest_of(struct answer *header)
{
    const char *alg = answer_text(header, "alg");

    if (!alg)
        return NULL;
    if (strcmp(alg, "HS256") == 0)
        return EVP_sha256();
    if (strcmp(alg, "HS384") == 0)
        return EVP_sha384();
    return strcmp(alg, "HS512") == 0 ? EVP_sha512() : NULL;
}

static bool is_signed(const char *token, const char *last_dot, const struct secret *key)
{
    size_t header_length = strcspn(token, ".");
    unsigned char mac[EVP_MAX_MD_SIZE];
    unsigned mac_bytes = 0;
    struct buf header = {0}, signature = {0};
    struct answer *answer = NULL;
    const EVP_MD *digest;
    bool is_good = false;

    if (decode_base64(&header, token, header_length) == 0 &&
        decode_base64(&signature, last_dot + 1, strlen(last_dot + 1)) == 0) {
        answer = answer_new(buf_text(&header), header.length);
        digest = digest_of(answer);
        is_good = digest &&
                  HMAC(digest, key->bytes, (int)key->length, (const unsigned char *)token,
                       (size_t)(last_dot - token), mac, &mac_bytes) &&
                  callback_equal(mac, mac_bytes, signature.data, signature.length);
    }
    answer_free(answer);
    buf_fini(&header);
    buf_fini(&signature);
    return is_good;
}

struct answer *callback_jwt(const char *token, const struct secret *key)
{
    const char *first = token ? strchr(token, '.') : NULL;
    const char *last = first ? strchr(first + 1, '.') : NULL;
    struct buf claims = {0};
    struct answer *answer = NULL;

    if (!last || strchr(last + 1, '.') || !key->length || strlen(token) > 8192)
        return NULL;
    if (is_signed(token, last, key) &&
        decode_base64(&claims, first + 1, (size_t)(last - first - 1)) == 0)
        answer = answer_new(buf_text(&claims), claims.length);
    buf_fini(&claims);
    return answer;
}
