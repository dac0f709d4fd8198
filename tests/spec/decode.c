/* SPDX-License-Identifier: MIT */
/*
 * decode - what the bridge says of requests, as JSON lines, for the tests in this folder
 *
 *   decode < FRAMES          one line of verdicts for each payload; a frame is the number of its
 *                            bytes in decimal, a line feed, and the payload
 *   decode --event KIND < FRAMES   the same for events of users (ack, read, click...) and rpc
 *   decode --time N < FRAMES decodes each payload N times and prints what one costs in CPU time
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/buf.h"
#include "core/ack.h"
#include "core/receipt.h"
#include "core/request.h"
#include "core/rpc.h"

#define NOW_MS INT64_C(1795132800000) /* 2026-11-20T00:00:00Z: verdicts do not change with time */

static void write_item(const struct request_item *item, struct buf *out)
{
    const struct rejection *rejection = &item->rejection;
    struct receipt receipt = {.id = item->request.id, .status = "accepted", .at_ms = NOW_MS};

    if (rejection->reason == REJECT_NONE) {
        buf_printf(out, "{\"digest\":\"%016" PRIx64 "\",\"recipients\":%zu,", item->request.digest,
                   item->request.recipient_count);
        buf_printf(out, "\"deliver_at\":%" PRId64 ",\"expires_at\":%" PRId64 ",\"content\":",
                   item->request.deliver_at_ms, item->request.expires_at_ms);
        buf_add(out, item->request.content, item->request.content_bytes);
        receipt.notification = 1;
    } else {
        buf_printf(out, "{\"reason\":\"%s\",\"pointer\":", reject_name(rejection->reason));
        buf_add_json(out, rejection->pointer);
        receipt.status = "rejected";
        receipt.reason = reject_name(rejection->reason);
        receipt.field = rejection->pointer;
        receipt.detail = rejection->detail;
    }
    buf_add_text(out, ",\"receipt\":");
    receipt_write(&receipt, out);
    buf_add_char(out, '}');
}

static void print_verdicts(const char *payload, size_t bytes)
{
    struct arena *arena = arena_new(0);
    struct request_batch batch;
    struct buf out = {0};

    request_decode(payload, bytes, NOW_MS, arena, &batch);
    buf_add_char(&out, '[');
    for (size_t i = 0; i < batch.count; i++) {
        if (i > 0)
            buf_add_char(&out, ',');
        write_item(&batch.items[i], &out);
    }
    buf_add_char(&out, ']');
    puts(buf_text(&out));
    buf_fini(&out);
    arena_free(arena);
}

static void print_event(const char *kind_name, const char *payload, size_t bytes)
{
    struct arena *arena = arena_new(0);
    struct rejection rejection = {REJECT_NONE, "", ""};
    const char *reason, *pointer;
    struct buf out = {0};
    struct rpc_call call;
    enum ack_kind kind;
    struct ack ack;
    int err;

    if (strcmp(kind_name, "rpc") == 0) {
        err = rpc_read(&call, payload, bytes, arena);
        reason = call.error->code;
        pointer = call.error->field ? call.error->field : "";
    } else {
        err = ack_kind_parse(kind_name, &kind);
        if (!err)
            err = ack_decode(kind, payload, bytes, arena, &ack, &rejection);
        reason = reject_name(rejection.reason);
        pointer = rejection.pointer;
    }
    buf_add_text(&out, "[{");
    if (err) {
        buf_printf(&out, "\"reason\":\"%s\",\"pointer\":", reason);
        buf_add_json(&out, pointer);
    }
    buf_add_text(&out, "}]");
    puts(buf_text(&out));
    buf_fini(&out);
    arena_free(arena);
}

/* Of this process alone: what others do on the machine does not count. */
static double cpu_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

static void print_time(const char *payload, size_t bytes, long rounds)
{
    struct arena *arena = arena_new(4096);
    struct request_batch batch;
    double from_us = cpu_us();

    for (long i = 0; i < rounds; i++) {
        arena_reset(arena);
        request_decode(payload, bytes, NOW_MS, arena, &batch);
    }
    printf("%zu bytes: %.3f us\n", bytes, (cpu_us() - from_us) / (double)rounds);
    arena_free(arena);
}

/*
 * The next payload in a block of exactly its size, so that reading beyond it is seen.  NULL at
 * the end, where bytes is 0, and after a frame that is none.
 */
static char *read_frame(size_t *bytes)
{
    char line[32], *end, *payload;

    *bytes = 0;
    if (!fgets(line, sizeof line, stdin))
        return NULL;
    errno = 0;
    *bytes = strtoul(line, &end, 10);
    if (errno || end == line || *end != '\n' || *bytes > 16U << 20) {
        *bytes = 1;
        return NULL;
    }
    payload = malloc(*bytes ? *bytes : 1);
    if (payload && fread(payload, 1, *bytes, stdin) != *bytes) {
        free(payload);
        return NULL;
    }
    return payload;
}

int main(int argc, char **argv)
{
    const char *event = NULL;
    long rounds = 0;
    size_t bytes = 0;
    char *payload;

    if (argc == 3 && strcmp(argv[1], "--time") == 0)
        rounds = strtol(argv[2], NULL, 10);
    if (argc == 3 && strcmp(argv[1], "--event") == 0)
        event = argv[2];
    if (argc != 1 && rounds <= 0 && !event) {
        fputs("usage: decode [--time ROUNDS | --event KIND] < FRAMES\n", stderr);
        return 2;
    }
    while ((payload = read_frame(&bytes)) != NULL) {
        if (rounds > 0)
            print_time(payload, bytes, rounds);
        else if (event)
            print_event(event, payload, bytes);
        else
            print_verdicts(payload, bytes);
        free(payload);
    }
    if (bytes > 0)
        fputs("decode: a frame is a number, a line feed, and so many bytes\n", stderr);
    return bytes > 0 ? 1 : 0;
}
