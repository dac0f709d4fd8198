/* SPDX-License-Identifier: MIT */
/*
 * Any bytes as the head of a request: the end of the head is found however it comes, each is
 * granted or refused for a reason, and the answer is whole and has nothing of the request in it.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/panic.h"
#include "websocket/handshake.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const origins[] = {"https://app.example.org"};
    static const char *const paths[] = {"/mqtt", "/"};
    static const struct handshake_rules rules = {paths, 2, origins, 1};
    char *bytes = xmalloc(size); /* so that the sanitizer sees its bounds */
    struct handshake handshake;
    struct buf answer = {0};
    size_t head;

    if (size)
        memcpy(bytes, data, size);
    head = handshake_head(bytes, size, 0);
    for (size_t cut = 0; cut < head; cut++) {
        ASSERT(handshake_head(bytes, cut, 0) == 0);
        ASSERT(handshake_head(bytes, size, cut) == head);
    }
    handshake_judge(&rules, bytes, head, &handshake);
    ASSERT(handshake.status == 101 ? strlen(handshake.accept) == 28 && handshake.subprotocol
                                   : handshake.why != NULL);
    ASSERT(handshake.status == 101 || (handshake.status >= 400 && handshake.status < 600));
    handshake_answer(&handshake, &answer);
    ASSERT(answer.length == strlen(answer.data) && strstr(answer.data, "\r\n\r\n"));
    buf_fini(&answer);
    free(bytes);
    return 0;
}
