/* SPDX-License-Identifier: MIT */
/*
 * The access rule on any user name, topic and filter: never reads beyond
 * them, and a granted filter that is a plain topic is a readable topic.  No
 * name is ever taken for one that was sealed.
 * Input: name '\0' topic.
 */
#include "acl.h"
#include "seal.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static unsigned count_levels(const char *topic)
{
    unsigned levels = 1;

    for (; *topic; topic++)
        levels += *topic == '/';
    return levels;
}

static void check(const struct principal *p, const char *topic)
{
    bool may_read = acl_may_read(p, topic), may_subscribe = acl_may_subscribe(p, topic);
    bool may_write = acl_may_write(p, topic, 1, false);

    if (may_read && !may_subscribe && count_levels(topic) <= 4)
        abort(); /* a deeper one is for those who have '#' */
    if (may_subscribe && !strpbrk(topic, "+#") && !may_read)
        abort();
    if ((may_read || may_write) && strpbrk(topic, "+#"))
        abort();
    if (may_subscribe && (strncmp(topic, "$share", 6) == 0 || topic[0] == '#' || topic[0] == '+'))
        abort();
    /* One's own half, spelt out: nobody but the bridge and admins ever gets beyond these. */
    if (may_subscribe && (p->kind == PRINCIPAL_USER || p->kind == PRINCIPAL_SERVICE) &&
        strncmp(topic, "notify/v1/users/", 16) != 0 &&
        strncmp(topic, "notify/v1/services/", 19) != 0 &&
        strncmp(topic, "notify/v1/broadcast/", 20) != 0 &&
        strncmp(topic, "notify/v1/roles/", 16) != 0)
        abort();
    (void)acl_may_write(p, topic, 2, true);
    (void)principal_owns_client_id(p, topic);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static unsigned char key[SEAL_KEY_SIZE];
    static bool has_key;
    char *text = malloc(size + 2);
    struct principal p;

    if (!has_key && seal_init(key) != 0)
        abort();
    has_key = true;
    if (!text)
        return 0;
    memcpy(text, data, size);
    text[size] = text[size + 1] = '\0';
    const char *topic = text + strlen(text) + 1;
    if (topic > text + size)
        topic = text + size;
    if (seal_open(key, text, &p))
        abort();
    if (principal_parse(text, &p))
        check(&p, topic);
    if (principal_parse("\x01u:alice:ops", &p))
        check(&p, topic);
    if (principal_parse("\x01"
                        "b:x:",
                        &p))
        check(&p, topic);
    free(text);
    return 0;
}
