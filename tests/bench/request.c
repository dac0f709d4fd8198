/* SPDX-License-Identifier: MIT */
#include "request.h"

#include "fleet.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ID_MARK     "IIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIII"
#define N_MARK      "NNNNNNNNNNNNNNNN"
#define TARGET_MARK "#####"

static void put_hex(char *out, uint64_t value, int digits)
{
    for (int i = digits - 1; i >= 0; i--, value >>= 4)
        out[i] = "0123456789abcdef"[value & 15];
}

static bool get_hex(const char *in, int digits, uint64_t *value)
{
    *value = 0;
    for (int i = 0; i < digits; i++) {
        char c = in[i];

        if (c >= '0' && c <= '9')
            *value = *value << 4 | (uint64_t)(c - '0');
        else if (c >= 'a' && c <= 'f')
            *value = *value << 4 | (uint64_t)(c - 'a' + 10);
        else
            return false;
    }
    return true;
}

/* The JSON of "to", with TARGET_MARK where the user's number goes. */
static void describe_target(const struct load_options *o, char *out, size_t cap)
{
    static const char *const fields[][2] = {
        {"sms", "phone"}, {"webhook", "url"}, {"email", "email"}, {"push", "push_token"}};
    char id[FLEET_ID_MAX];

    if (!o->target) {
        fleet_id(o, "user", 0, id);
        id[strlen(id) - 5] = 0;
        snprintf(out, cap, "{\"user\":\"%s" TARGET_MARK "\"}", id);
        return;
    }
    const char *field = "url", *hash = strchr(o->target, '#');
    for (size_t i = 0; i < 4; i++)
        if (strcmp(o->channel, fields[i][0]) == 0)
            field = fields[i][1];
    if (hash)
        snprintf(out, cap, "{\"%s\":\"%.*s" TARGET_MARK "%s\"}", field, (int)(hash - o->target),
                 o->target, hash + 1);
    else
        snprintf(out, cap, "{\"%s\":\"%s\"}", field, o->target);
}

int request_init(struct request_template *t, const struct load_options *o, uint32_t run)
{
    char to[512], body[8193];
    size_t cap = sizeof(to) + o->body_bytes + 512;

    *t = (struct request_template){.run = run, .text = malloc(cap)};
    if (!t->text)
        return -1;
    describe_target(o, to, sizeof(to));
    for (unsigned i = 0; i < o->body_bytes; i++)
        body[i] = i % 8 == 7 ? ' ' : (char)('a' + i % 26);
    body[o->body_bytes] = 0;
    if (o->body_bytes > strlen(N_MARK))
        memcpy(body, N_MARK, strlen(N_MARK));
    int n = snprintf(t->text, cap,
                     "{\"id\":\"" ID_MARK "\",\"type\":\"bench.note\",\"to\":%s,"
                     "\"channels\":[\"%s\"],\"title\":\"Bench\",\"body\":\"%s\","
                     "\"data\":{\"n\":\"" N_MARK "\"}%s}",
                     to, o->channel, body,
                     strcmp(o->receipts, "all") == 0 ? ",\"receipts\":\"all\"" : "");
    if (n < 0 || (size_t)n >= cap)
        return -1;
    t->len = (size_t)n;
    t->id_at = (size_t)(strstr(t->text, ID_MARK) - t->text);
    const char *last = strstr(t->text, "\"data\"");
    t->n_at = (size_t)(strstr(last, N_MARK) - t->text);
    const char *in_body = strstr(t->text, N_MARK);
    t->body_n_at = in_body < last ? (size_t)(in_body - t->text) : 0;
    const char *target = strstr(t->text, TARGET_MARK);
    t->target_at = target ? (size_t)(target - t->text) : 0;
    return 0;
}

void request_fini(struct request_template *t)
{
    free(t->text);
    t->text = NULL;
}

void request_write(const struct request_template *t, char *out, uint32_t n, unsigned user,
                   uint64_t unix_ms)
{
    char *id = out + t->id_at;

    memcpy(out, t->text, t->len);
    put_hex(id, unix_ms >> 16, 8);
    id[8] = '-';
    put_hex(id + 9, unix_ms, 4);
    memcpy(id + 13, "-7000-8000-", 11);
    put_hex(id + 24, t->run & 0xffff, 4);
    put_hex(id + 28, n, 8);
    put_hex(out + t->n_at, (uint64_t)t->run << 32 | n, 16);
    if (t->body_n_at)
        put_hex(out + t->body_n_at, (uint64_t)t->run << 32 | n, 16);
    for (int i = 4; t->target_at && i >= 0; i--, user /= 10)
        out[t->target_at + (size_t)i] = (char)('0' + user % 10);
}

bool request_of_id(const struct request_template *t, struct json_slice id, uint32_t *n)
{
    uint64_t value;

    if (id.len != REQUEST_ID_LEN || !get_hex(id.at + 24, 12, &value))
        return false;
    *n = (uint32_t)value;
    return value >> 32 == (t->run & 0xffff);
}

bool request_of_data(const struct request_template *t, struct json_slice n_field, uint32_t *n)
{
    uint64_t value;

    if (n_field.len != 16 || !get_hex(n_field.at, 16, &value))
        return false;
    *n = (uint32_t)value;
    return value >> 32 == t->run;
}
