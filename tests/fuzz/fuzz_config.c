/* SPDX-License-Identifier: MIT */
/*
 * Any text as the bridge's configuration: refused with file, line and remedy, or read; and what
 * `--print-config` says of it is read again to the same.
 */
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/panic.h"
#include "config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct config *read_text(const void *text, size_t length, char *why, size_t why_bytes)
{
    char path[64];
    int fd = memfd_create("config.yaml", MFD_CLOEXEC);
    struct config *config;

    ASSERT(fd >= 0 && write(fd, text, length) == (ssize_t)length);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    config = config_read(path, why, why_bytes);
    close(fd);
    return config;
}

static void check_print(const struct config *config)
{
    struct buf first = {0}, second = {0};
    char why[CONFIG_WHY_BYTES] = "";
    struct config *again;

    config_print(config, &first);
    again = read_text(first.data, first.length, why, sizeof why);
    if (!again)
        fprintf(stderr, "%s\n%.*s\n", why, (int)first.length, first.data);
    ASSERT(again);
    config_print(again, &second);
    ASSERT(first.length == second.length && memcmp(first.data, second.data, first.length) == 0);
    config_free(again);
    buf_fini(&first);
    buf_fini(&second);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char why[CONFIG_WHY_BYTES];
    struct config *config;

    memset(why, 'x', sizeof why);
    config = read_text(data, size, why, sizeof why);
    if (config) {
        check_print(config);
        config_free(config);
    } else {
        ASSERT(memchr(why, '\0', sizeof why) && why[0] != '\0');
    }
    return 0;
}
