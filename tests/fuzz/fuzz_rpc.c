/* SPDX-License-Identifier: MIT */
/* Any call: whatever is asked of it, what is answered is JSON. */
#include <jansson.h>
#include <stdint.h>

#include "base/panic.h"
#include "core/rpc.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Every accessor once, as a method would. */
static bool read_params(struct rpc_call *call)
{
    static const char *const names[] = {"asc", "desc", NULL};
    struct rpc_call filter;
    const char *text, **texts;
    const struct json *json;
    int64_t number;
    uint64_t id, *ids;
    size_t count;
    bool flag;

    return rpc_text(call, "text", RPC_OPTIONAL, 9, &text) &&
           rpc_int(call, "int", RPC_OPTIONAL, -5, 5, &number) &&
           rpc_bool(call, "bool", RPC_OPTIONAL, &flag) &&
           rpc_time(call, "time", RPC_OPTIONAL, &number) &&
           rpc_duration(call, "duration", RPC_OPTIONAL, 0, 9000, &number) &&
           rpc_id(call, "id", RPC_OPTIONAL, &id) &&
           rpc_ids(call, "ids", RPC_OPTIONAL, 3, &ids, &count) &&
           rpc_texts(call, "texts", RPC_OPTIONAL, 3, 3, &texts, &count) &&
           rpc_choice(call, "choice", RPC_OPTIONAL, names, &count) &&
           rpc_json(call, "json", RPC_OPTIONAL, &json) &&
           rpc_object(call, "filter", RPC_OPTIONAL, &filter) &&
           rpc_text(&filter, "text", RPC_REQUIRED, 9, &text) && rpc_done(&filter) && rpc_done(call);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena *arena = arena_new(0);
    struct buf out = {0};
    struct rpc_call call;
    json_t *answer;

    if (rpc_read(&call, (const char *)data, size, arena) == 0 && read_params(&call)) {
        rpc_begin_result(&call, &out);
        buf_add_text(&out, "{}");
        rpc_end_result(&out);
    } else {
        rpc_write_error(&call, &out);
    }
    answer = json_loadb(out.data, out.length, JSON_REJECT_DUPLICATES, NULL);
    ASSERT(json_is_object(answer));
    ASSERT(!json_object_get(answer, "result") == !!json_object_get(answer, "error"));
    json_decref(answer);
    buf_fini(&out);
    arena_free(arena);
    return 0;
}
