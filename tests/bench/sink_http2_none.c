/* SPDX-License-Identifier: MIT */
#include "sink_http2.h"

#include <stdio.h>

int sink_http2_open(struct sink *sink, uint16_t *port, const char *cert_file, const char *key_file)
{
    (void)sink;
    (void)port;
    (void)cert_file;
    (void)key_file;
    fputs("sink: built without libnghttp2-dev, so there is no HTTP/2\n", stderr);
    return -1;
}
