/* SPDX-License-Identifier: MIT */
/* Any topic and any id: what is taken apart is what was put together. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/panic.h"
#include "core/topic.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_topic(const char *text)
{
    struct topic_up up;

    if (topic_parse_up(text, &up) != 0)
        return;
    ASSERT(strlen(up.id) >= 1 && strlen(up.id) <= TOPIC_ID_MAX);
    ASSERT(topic_is_encoded_id(up.id, strlen(up.id)));
    ASSERT(up.event > text && up.event < text + strlen(text));
}

static void check_id(const char *text)
{
    char encoded[TOPIC_ID_MAX + 1], raw[TOPIC_ID_MAX + 1], topic[TOPIC_BYTES_MAX];
    struct topic_up up;
    char *down;

    if (topic_decode_id(text, raw) == 0) {
        ASSERT(topic_encode_id(raw, encoded) == 0 && strcmp(encoded, text) == 0);
    }
    if (topic_encode_id(text, encoded) != 0)
        return;
    ASSERT(topic_decode_id(encoded, raw) == 0 && strcmp(raw, text) == 0);
    down =
        topic_down(TOPIC_USER, encoded, "x", topic) + strlen("notify/v1/users/") + strlen(encoded);
    memmove(down, "/up/x", 6);
    ASSERT(topic_parse_up(topic, &up) == 0 && strcmp(up.id, encoded) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = xstrndup((const char *)data, size);

    check_topic(text);
    check_id(text);
    free(text);
    return 0;
}
