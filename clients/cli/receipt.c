/* SPDX-License-Identifier: MIT */
#include "receipt.h"

#include "exact.h"
#include "say.h"

#include <stdlib.h>
#include <string.h>

enum receipt_kind receipt_kind(const char *status)
{
    static const struct {
        const char *status;
        enum receipt_kind kind;
    } known[] = {{"accepted", RECEIPT_ACCEPTED}, {"rejected", RECEIPT_REJECTED},
                 {"sent", RECEIPT_SENT},         {"delivered", RECEIPT_GOOD},
                 {"read", RECEIPT_GOOD},         {"clicked", RECEIPT_GOOD},
                 {"dead", RECEIPT_BAD},          {"suppressed", RECEIPT_BAD},
                 {"expired", RECEIPT_BAD},       {"cancelled", RECEIPT_BAD}};

    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        if (strcmp(known[i].status, status) == 0)
            return known[i].kind;
    return RECEIPT_PASSING;
}

static uint64_t hash_text(uint64_t h, const char *text)
{
    for (const char *p = text ? text : ""; *p; p++)
        h = (h ^ (unsigned char)*p) * 1099511628211u;
    return (h ^ 0xff) * 1099511628211u; /* so that "ab","c" is not "a","bc" */
}

uint64_t receipt_place(const json_t *receipt, const char *status)
{
    uint64_t h = 14695981039346656037u;

    h = hash_text(h, json_string_value(json_object_get(receipt, "channel")));
    h = hash_text(h, json_string_value(json_object_get(receipt, "user")));
    return hash_text(h, status);
}

uint64_t receipt_hash(const json_t *receipt)
{
    uint64_t h = receipt_place(receipt, json_string_value(json_object_get(receipt, "status")));

    h = hash_text(h, json_string_value(json_object_get(receipt, "target")));
    h = hash_text(h, json_string_value(json_object_get(receipt, "provider_id")));
    return h * 31 + (uint64_t)json_integer_value(json_object_get(receipt, "attempt"));
}

void receipt_show(const json_t *receipt, bool is_json)
{
    static const char *const fields[] = {"channel", "user",  "target", "provider",
                                         "reason",  "field", "detail"};

    if (is_json) {
        say_json(receipt);
        return;
    }
    char *status = clean_field(receipt, "status");
    char *id = clean_field(receipt, "id");
    const json_t *attempt = json_object_get(receipt, "attempt");

    say("%-10s %s", status, id);
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
        char *text = clean_field(receipt, fields[i]);
        if (*text)
            say("  %s", text);
        free(text);
    }
    if (json_integer_value(attempt) > 1)
        say("  attempt %lld", (long long)json_integer_value(attempt));
    say("\n");
    free(id);
    free(status);
}

int receipt_each(const char *payload, size_t len, void (*each)(void *ctx, const json_t *receipt),
                 void *ctx)
{
    json_t *value = exact_load(payload, len, 0, NULL);
    json_t *receipt;
    size_t i;
    int rc = json_is_object(value) || json_is_array(value) ? 0 : -1;

    if (json_is_object(value))
        each(ctx, value);
    json_array_foreach(value, i, receipt)
    {
        if (json_is_object(receipt))
            each(ctx, receipt);
    }
    json_decref(value);
    return rc;
}
