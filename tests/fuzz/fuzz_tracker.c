/* SPDX-License-Identifier: MIT */
/*
 * Any URL as a link of a mail: what is made of it leads back to it and nowhere else, in ASCII.
 * And any path behind /t/, which is believed only when it was made by us.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/log.h"
#include "channels/tracker.h"
#include "core/html.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

#define PREFIX "https://news.example" TRACKER_PATH

static struct tracker *tracker;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    static const char key[] = "a secret of some length";
    char path[] = "/tmp/tocsin-fuzz-XXXXXX", why[256];
    struct tracker_config config = {"https://news.example", path, NULL};
    int fd = mkstemp(path);

    (void)argc, (void)argv;
    tracker = tracker_new();
    ASSERT(fd >= 0 && write(fd, key, sizeof key - 1) == (ssize_t)sizeof key - 1);
    close(fd);
    if (tracker_load(tracker, &config, why, sizeof why))
        fatal("fuzz.failed", why);
    unlink(path);
    return 0;
}

static void check_url(const char *url)
{
    ASSERT(strncasecmp(url, "http", 4) == 0);
    for (; *url; url++)
        ASSERT(*url > 0x20 && *url < 0x7f);
}

static void check_made(struct arena *arena, const char *html)
{
    const char *at = html, *start = "\"" PREFIX;

    while ((at = strstr(at, start))) {
        const char *path = at + strlen(start);
        size_t length = strcspn(path, "\"");
        struct tracker_link link;

        if (*path == 'c' || *path == 'u' || *path == 'o') {
            int err = tracker_read(tracker, arena, arena_copy(arena, path, length), &link);

            if (!err && link.kind == TRACKER_CLICK)
                check_url(link.url);
            if (!err && link.kind == TRACKER_UNSUBSCRIBE)
                ASSERT(strcmp(link.address, "a@b.example") == 0 && strcmp(link.type, "t") == 0);
            if (!err)
                ASSERT(link.delivery == 7);
        }
        at = path + length;
    }
}

static void check_link(struct arena *arena, const struct job *job, const char *text)
{
    struct buf html = {0};
    const char *made;

    buf_add_text(&html, "<a href=\"");
    html_escape(&html, text);
    buf_add_text(&html, "\">x</a><a href=\"tocsin:unsubscribe\">out</a>");
    made = tracker_html(tracker, arena, job, html.data);
    ASSERT(strstr(made, "\"" PREFIX "u/") && strstr(made, "\"" PREFIX "o/"));
    check_made(arena, made);
    buf_fini(&html);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena *arena = arena_new(0);
    struct job job = {.delivery = 7,
                      .type = "t",
                      .target = "a@b.example",
                      .tracking = JOB_TRACK_OPENS | JOB_TRACK_CLICKS | JOB_TRACK_UNSUBSCRIBE};
    char *text = arena_copy(arena, (const char *)data, size);
    struct tracker_link link;

    check_link(arena, &job, text);
    /* Nobody but us can have made it: our key is not in the corpus. */
    if (tracker_read(tracker, arena, text, &link) == 0 && link.kind == TRACKER_CLICK)
        check_url(link.url);
    arena_free(arena);
    return 0;
}
