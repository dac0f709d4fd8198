/* SPDX-License-Identifier: MIT */
/*
 * What the broker hands to the command line, through its readers: receipts, dead letters and what
 * else `tocsin dlq` shows, the queue, a user's inbox.
 *
 * Whatever is in there, nothing reaches the terminal but text: no escape sequence, no control
 * character.  (With --json a program reads: what JSON lets through is right there.)
 *
 * Input: reader and flags (a byte each), the name of a role up to a NUL, then the payload.
 */
#include <stdint.h>

#include "../../clients/cli/watch.c" /* its reader is static */

#include "../../clients/cli/dead.h"
#include "../../clients/cli/receipt.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

static char *shown;
static size_t shown_bytes;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    stdout = open_memstream(&shown, &shown_bytes);
    return 0;
}

static void check_shown(bool is_json)
{
    fflush(stdout);
    for (size_t i = 0; i < shown_bytes; i++) {
        unsigned char c = (unsigned char)shown[i], next = (unsigned char)shown[i + 1];

        if (c < 0x20 && c != '\n')
            abort();
        if (!is_json && (c == 0x7f || (c == 0xc2 && next >= 0x80 && next < 0xa0)))
            abort();
    }
    rewind(stdout);
}

static void on_receipt(void *ctx, const json_t *receipt)
{
    const bool *is_json = ctx;
    const char *status = json_string_value(json_object_get(receipt, "status"));

    (void)receipt_kind(status ? status : "");
    if (receipt_hash(receipt) == receipt_place(receipt, "sent"))
        (void)receipt_place(receipt, "delivered");
    receipt_show(receipt, *is_json);
}

static void read_inbox(const char *role, const char *payload, size_t length, bool is_json)
{
    static char down[] = "notify/v1/users/anna/down/";
    char *of_role = xasprintf("notify/v1/roles/%s/inbox", role);
    const char *const topics[] = {
        "notify/v1/users/anna/down/inbox", "notify/v1/users/anna/down/badge",
        "notify/v1/users/anna/down/changed", "notify/v1/broadcast/inbox", of_role};
    struct cli cli = {.is_json = is_json, .is_quiet = true};

    for (size_t i = 0; i < sizeof topics / sizeof topics[0]; i++) {
        struct watch watch = {.cli = &cli, .down = down, .left = -1, .acks = json_array()};
        struct link_message message = {.topic = topics[i], .payload = payload, .len = length};

        on_message(&watch, &message);
        free(watch.seen[0]); /* one message, one id */
        json_decref(watch.acks);
    }
    free(of_role);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const shows[])(const json_t *) = {show_dead_list,   show_dead_entry,
                                                    show_dead_count,  show_dead_stats,
                                                    show_dead_change, show_audit};
    enum { SHOWS = sizeof shows / sizeof shows[0] };
    char *text;
    size_t role, length;
    unsigned which;
    bool is_json;

    if (size < 2)
        return 0;
    text = xcalloc(1, size - 1);
    memcpy(text, data + 2, size - 2);
    text[size - 2] = '\0';
    role = strlen(text);
    length = role < size - 2 ? size - 3 - role : 0; /* of what follows the NUL */
    which = data[0] % (SHOWS + 2);
    is_json = data[1] & 1;
    if (which < SHOWS) {
        json_t *result = json_loadb(text + size - 2 - length, length, 0, NULL);

        is_json = false;
        if (json_is_object(result))
            shows[which](result);
        json_decref(result);
    } else if (which == SHOWS) {
        (void)receipt_each(text + size - 2 - length, length, on_receipt, &is_json);
    } else {
        read_inbox(text, text + size - 2 - length, length, is_json);
    }
    check_shown(is_json);
    free(text);
    return 0;
}
