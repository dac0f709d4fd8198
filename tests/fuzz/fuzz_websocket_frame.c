/* SPDX-License-Identifier: MIT */
/*
 * Any bytes as a client's frames: what is read does not depend on where the bytes were cut, no more
 * is handed on than came, and each control frame is within its bounds.  The first byte says how
 * they are cut.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/panic.h"
#include "websocket/frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Payload and answers, in order, of bytes shown piece by piece. */
static void read_all(const uint8_t *data, size_t size, size_t piece, struct buf *payload,
                     struct buf *answers)
{
    struct frame_reader reader = {0};
    enum frame_event event = FRAME_MORE;

    for (size_t at = 0; at < size && event == FRAME_MORE; at += piece) {
        size_t length = piece < size - at ? piece : size - at;
        uint8_t *copy = xmalloc(length);
        struct frame_input input = {.bytes = copy, .length = length};

        memcpy(copy, data + at, length);
        while ((event = frame_read(&reader, &input)) == FRAME_PING) {
            ASSERT(reader.control_length <= FRAME_CONTROL_MAX);
            buf_add(answers, reader.control, reader.control_length);
            buf_add_char(answers, '|');
        }
        ASSERT(input.at <= input.length && input.payload <= input.at);
        ASSERT(event != FRAME_MORE || input.at == input.length);
        buf_add(payload, copy, input.payload);
        free(copy);
    }
    buf_printf(answers, "%d %u", (int)event, (unsigned)reader.code);
    ASSERT(event != FRAME_BROKEN || reader.code == FRAME_CODE_PROTOCOL ||
           reader.code == FRAME_CODE_UNSUPPORTED);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf payload = {0}, answers = {0}, payload_cut = {0}, answers_cut = {0};

    if (size < 2)
        return 0;
    read_all(data + 1, size - 1, size, &payload, &answers);
    read_all(data + 1, size - 1, data[0] % 16 + 1, &payload_cut, &answers_cut);
    ASSERT(payload.length == payload_cut.length && answers.length == answers_cut.length);
    ASSERT(memcmp(buf_text(&payload), buf_text(&payload_cut), payload.length) == 0);
    ASSERT(memcmp(buf_text(&answers), buf_text(&answers_cut), answers.length) == 0);
    buf_fini(&payload);
    buf_fini(&answers);
    buf_fini(&payload_cut);
    buf_fini(&answers_cut);
    return 0;
}
