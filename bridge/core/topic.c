/* SPDX-License-Identifier: MIT */
#include "core/topic.h"

#include <stdbool.h>
#include <string.h>

#include "core/utf8.h"

static const struct {
    const char *prefix;
    size_t length;
} subtrees[] = {
    [TOPIC_SERVICE] = {"notify/v1/services/", 19},
    [TOPIC_USER] = {"notify/v1/users/", 16},
    [TOPIC_ADMIN] = {"notify/v1/admins/", 17},
};

/* The bytes that stand for themselves in an id; the others are %XX. */
static bool is_plain(unsigned char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '~' || c == '@' || c == '|' || c == '-';
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

/* Only the one form that encoding gives: "%41" for "A" would make one user two. */
bool topic_is_encoded_id(const char *id, size_t length)
{
    if (length == 0 || length > TOPIC_ID_MAX)
        return false;
    for (size_t i = 0; i < length; i++) {
        if (is_plain((unsigned char)id[i]))
            continue;
        if (id[i] != '%' || length - i < 3 || hex_value(id[i + 1]) < 0 || hex_value(id[i + 2]) < 0)
            return false;
        if (is_plain((unsigned char)(hex_value(id[i + 1]) * 16 + hex_value(id[i + 2]))))
            return false;
        i += 2;
    }
    return true;
}

int topic_parse_up(const char *topic, struct topic_up *up)
{
    const char *id, *slash;
    size_t kind, length;

    for (kind = 0; kind < sizeof subtrees / sizeof *subtrees; kind++)
        if (strncmp(topic, subtrees[kind].prefix, subtrees[kind].length) == 0)
            break;
    if (kind == sizeof subtrees / sizeof *subtrees)
        return ERR_INVALID;
    id = topic + subtrees[kind].length;
    slash = strchr(id, '/');
    if (!slash || strncmp(slash, "/up/", 4) != 0 || slash[4] == '\0')
        return ERR_INVALID;
    length = (size_t)(slash - id);
    if (!topic_is_encoded_id(id, length))
        return ERR_INVALID;
    up->kind = (enum topic_kind)kind;
    memcpy(up->id, id, length);
    up->id[length] = '\0';
    up->event = slash + 4;
    return 0;
}

int topic_encode_id(const char *raw, char out[TOPIC_ID_MAX + 1])
{
    static const char digits[] = "0123456789ABCDEF";
    size_t length = strlen(raw), used = 0;

    out[0] = '\0';
    if (length == 0)
        return ERR_INVALID;
    if (length > TOPIC_ID_MAX)
        return ERR_TOO_LARGE;
    if (!utf8_is_valid(raw, length))
        return ERR_INVALID;
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)raw[i];
        size_t need = is_plain(c) ? 1 : 3;

        if (used + need > TOPIC_ID_MAX) {
            out[0] = '\0';
            return ERR_TOO_LARGE;
        }
        if (need == 1) {
            out[used++] = (char)c;
        } else {
            out[used++] = '%';
            out[used++] = digits[c >> 4];
            out[used++] = digits[c & 15];
        }
    }
    out[used] = '\0';
    return 0;
}

int topic_decode_id(const char *id, char out[TOPIC_ID_MAX + 1])
{
    size_t used = 0;

    out[0] = '\0';
    if (!topic_is_encoded_id(id, strnlen(id, TOPIC_ID_MAX + 1)))
        return ERR_INVALID;
    for (; *id; id++) {
        if (*id == '%') {
            out[used++] = (char)(hex_value(id[1]) * 16 + hex_value(id[2]));
            id += 2;
        } else {
            out[used++] = *id;
        }
    }
    out[used] = '\0';
    if (utf8_is_valid(out, used) && !memchr(out, '\0', used))
        return 0;
    out[0] = '\0';
    return ERR_INVALID;
}

void topic_add_id(struct buf *out, const char *name, const char *id)
{
    char raw[TOPIC_ID_MAX + 1];

    if (id && id[0])
        buf_add_member(out, name, topic_decode_id(id, raw) == 0 ? raw : id);
}

bool topic_is_own_down(enum topic_kind kind, const char *id, const char *topic)
{
    size_t id_length = strlen(id), length = strlen(topic);
    const char *at = topic + subtrees[kind].length;
    unsigned levels = 1;

    if (length >= TOPIC_BYTES_MAX ||
        strncmp(topic, subtrees[kind].prefix, subtrees[kind].length) != 0 ||
        strncmp(at, id, id_length) != 0 || strncmp(at + id_length, "/down/", 6) != 0)
        return false;
    at += id_length + 6;
    for (const char *level = at;; at++) {
        if (*at == '+' || *at == '#' || ((*at == '/' || !*at) && at == level))
            return false;
        if (!*at)
            return levels <= TOPIC_REPLY_LEVELS && utf8_is_valid(topic, length);
        if (*at == '/') {
            level = at + 1;
            levels++;
        }
    }
}

char *topic_down(enum topic_kind kind, const char *id, const char *leaf, char out[TOPIC_BYTES_MAX])
{
    size_t id_length = strlen(id), leaf_length = strlen(leaf), used = subtrees[kind].length;

    out[0] = '\0';
    if (used + id_length + 6 + leaf_length >= TOPIC_BYTES_MAX)
        return out;
    memcpy(out, subtrees[kind].prefix, used);
    memcpy(out + used, id, id_length);
    used += id_length;
    memcpy(out + used, "/down/", 6);
    used += 6;
    memcpy(out + used, leaf, leaf_length + 1);
    return out;
}
