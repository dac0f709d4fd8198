/* SPDX-License-Identifier: MIT */
#include "websocket/frame.h"

#include <string.h>

#define HEADER_FIN    0x80
#define HEADER_RSV    0x70
#define HEADER_OPCODE 0x0f
#define HEADER_MASKED 0x80
#define HEADER_LENGTH 0x7f
#define LENGTH_16     126
#define LENGTH_64     127
#define MASK_BYTES    4

static bool is_control(unsigned opcode)
{
    return (opcode & 8) != 0;
}

/* How long the header is that begins so; it is masked. */
static size_t header_bytes(const struct frame_reader *reader)
{
    unsigned length = reader->header[1] & HEADER_LENGTH;

    if (reader->header_length < 2)
        return 2;
    return 2 + (length == LENGTH_64 ? 8u : length == LENGTH_16 ? 2u : 0u) + MASK_BYTES;
}

/* What can be said from the first two bytes; a code, or 0 when all is well. */
static unsigned judge_start(const struct frame_reader *reader)
{
    unsigned first = reader->header[0], second = reader->header[1];
    unsigned opcode = first & HEADER_OPCODE;

    if ((first & HEADER_RSV) || !(second & HEADER_MASKED))
        return FRAME_CODE_PROTOCOL;
    if (is_control(opcode)) {
        bool is_whole = (first & HEADER_FIN) && (second & HEADER_LENGTH) <= FRAME_CONTROL_MAX;

        return is_whole && opcode <= FRAME_OP_PONG ? 0 : FRAME_CODE_PROTOCOL;
    }
    if (opcode == FRAME_OP_TEXT)
        return FRAME_CODE_UNSUPPORTED; /* MQTT5 6: binary only */
    if (opcode > FRAME_OP_BINARY || (opcode == FRAME_OP_CONTINUATION) != reader->is_message)
        return FRAME_CODE_PROTOCOL;
    return 0;
}

/* RFC 6455 5.2: the shortest form there is, and no more than 63 bits. */
static unsigned read_length(struct frame_reader *reader)
{
    unsigned length = reader->header[1] & HEADER_LENGTH;
    size_t bytes = length == LENGTH_64 ? 8 : length == LENGTH_16 ? 2 : 0;

    reader->left = bytes ? 0 : length;
    for (size_t i = 0; i < bytes; i++)
        reader->left = reader->left << 8 | reader->header[2 + i];
    if (length == LENGTH_16 && reader->left < LENGTH_16)
        return FRAME_CODE_PROTOCOL;
    if (length == LENGTH_64 && (reader->left <= UINT16_MAX || reader->left > INT64_MAX))
        return FRAME_CODE_PROTOCOL;
    memcpy(reader->mask, reader->header + 2 + bytes, MASK_BYTES);
    reader->mask_at = 0;
    return 0;
}

/* Takes bytes of the header; a code when it breaks a rule. */
static unsigned read_header(struct frame_reader *reader, struct frame_input *input)
{
    while (input->at < input->length) {
        unsigned code;

        reader->header[reader->header_length++] = input->bytes[input->at++];
        if (reader->header_length == 2 && (code = judge_start(reader)))
            return code;
        if (reader->header_length < header_bytes(reader))
            continue;
        code = read_length(reader);
        if (code)
            return code;
        reader->opcode = reader->header[0] & HEADER_OPCODE;
        reader->is_payload = true;
        reader->control_length = 0;
        if (!is_control(reader->opcode))
            reader->is_message = !(reader->header[0] & HEADER_FIN);
        break;
    }
    return 0;
}

/* Eight bytes at a time: to may lie before from, since each word is read before it is written. */
static void unmask(struct frame_reader *reader, uint8_t *to, const uint8_t *from, size_t length)
{
    uint8_t turned[8];
    uint64_t mask, word;
    size_t i = 0;

    for (size_t k = 0; k < sizeof(turned); k++)
        turned[k] = reader->mask[(reader->mask_at + k) % MASK_BYTES];
    memcpy(&mask, turned, sizeof(mask));
    for (; length - i >= sizeof(word); i += sizeof(word)) {
        memcpy(&word, from + i, sizeof(word));
        word ^= mask;
        memcpy(to + i, &word, sizeof(word));
    }
    for (; i < length; i++)
        to[i] = from[i] ^ turned[i % sizeof(turned)];
    reader->mask_at = (uint8_t)((reader->mask_at + length) % MASK_BYTES);
}

static void read_payload(struct frame_reader *reader, struct frame_input *input)
{
    size_t length = input->length - input->at;
    uint8_t *to = input->bytes + input->payload;

    if (length > reader->left)
        length = (size_t)reader->left;
    if (is_control(reader->opcode)) {
        to = reader->control + reader->control_length;
        reader->control_length = (uint8_t)(reader->control_length + length);
    } else {
        input->payload += length;
    }
    unmask(reader, to, input->bytes + input->at, length);
    input->at += length;
    reader->left -= length;
}

/* What a client's close frame is answered with: its own code, if it may say that one. */
static enum frame_event judge_close(struct frame_reader *reader)
{
    unsigned code;

    reader->code = FRAME_CODE_NONE;
    if (reader->control_length == 0)
        return FRAME_CLOSE;
    code = reader->control_length < 2 ? 0 : (unsigned)reader->control[0] << 8 | reader->control[1];
    reader->code = (uint16_t)code;
    if ((code >= 3000 && code <= 4999) || (code >= 1000 && code <= 1003) ||
        (code >= 1007 && code <= 1014))
        return FRAME_CLOSE;
    reader->code = FRAME_CODE_PROTOCOL;
    return FRAME_BROKEN;
}

enum frame_event frame_read(struct frame_reader *reader, struct frame_input *input)
{
    for (;;) {
        if (!reader->is_payload) {
            unsigned code = read_header(reader, input);

            reader->code = (uint16_t)code;
            if (code)
                return FRAME_BROKEN;
            if (!reader->is_payload)
                return FRAME_MORE;
        }
        read_payload(reader, input);
        if (reader->left)
            return FRAME_MORE;
        reader->is_payload = false;
        reader->header_length = 0;
        if (reader->opcode == FRAME_OP_PING)
            return FRAME_PING;
        if (reader->opcode == FRAME_OP_CLOSE)
            return judge_close(reader);
    }
}

size_t frame_header(uint8_t header[FRAME_HEADER_MAX], enum frame_opcode opcode, size_t length)
{
    size_t bytes = length < LENGTH_16 ? 0 : length <= UINT16_MAX ? 2 : 8;

    header[0] = (uint8_t)(HEADER_FIN | opcode);
    header[1] = (uint8_t)(bytes == 8 ? LENGTH_64 : bytes == 2 ? LENGTH_16 : length);
    for (size_t i = 0; i < bytes; i++)
        header[2 + i] = (uint8_t)((uint64_t)length >> (8 * (bytes - 1 - i)));
    return 2 + bytes;
}

size_t frame_close(uint8_t frame[4], unsigned code)
{
    size_t length = code == FRAME_CODE_NONE ? 0 : 2;

    frame[0] = HEADER_FIN | FRAME_OP_CLOSE;
    frame[1] = (uint8_t)length;
    frame[2] = (uint8_t)(code >> 8);
    frame[3] = (uint8_t)(code & 0xff);
    return 2 + length;
}
