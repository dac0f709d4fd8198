/* SPDX-License-Identifier: MIT */
/*
 * Any HTML: without anything to do it comes out as it went in; a replaced link is found again in
 * its place, and nothing but links has changed.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/panic.h"
#include "core/html.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static unsigned found;

static const char *leave(void *ctx, const char *url)
{
    (void)ctx, (void)url;
    found++;
    return NULL;
}

static const char *replace(void *ctx, const char *url)
{
    (void)ctx;
    ASSERT(url);
    return "https://x.example/t?a=1&b=\"2\"";
}

static const char *expect(void *ctx, const char *url)
{
    ASSERT(strcmp(url, replace(ctx, url)) == 0);
    found--;
    return NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *html = (const char *)data;
    struct buf same = {0}, changed = {0}, again = {0};

    found = 0;
    html_rewrite(&same, html, size, leave, NULL, NULL);
    ASSERT(same.length == size && (!size || memcmp(same.data, data, size) == 0));
    html_rewrite(&changed, html, size, replace, NULL, "<i>");
    html_rewrite(&again, buf_text(&changed), changed.length, expect, NULL, NULL);
    ASSERT(found == 0);
    ASSERT(again.length == changed.length && memcmp(again.data, changed.data, changed.length) == 0);
    buf_fini(&same);
    buf_fini(&changed);
    buf_fini(&again);
    return 0;
}
