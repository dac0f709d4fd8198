/* SPDX-License-Identifier: MIT */
#include "file.h"

#include <openssl/crypto.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int check(const struct stat *st, const char *path, size_t max, bool is_secret, char *err)
{
    if (!S_ISREG(st->st_mode))
        snprintf(err, FILE_ERROR_SIZE, "%s is not a regular file", path);
    else if (is_secret && (st->st_mode & (S_IRWXG | S_IRWXO)))
        snprintf(err, FILE_ERROR_SIZE,
                 "%s may be opened by group or others: chmod 600 it and let the broker own it",
                 path);
    else if (st->st_size > (off_t)max)
        snprintf(err, FILE_ERROR_SIZE, "%s is larger than %zu bytes", path, max);
    else
        return 0;
    return -1;
}

static char *slurp(int fd, size_t size, size_t *len)
{
    char *text = malloc(size + 1);
    size_t at = 0;

    while (text && at < size) {
        ssize_t n = read(fd, text + at, size - at);
        if (n == 0)
            break;
        if (n < 0 && errno != EINTR) {
            file_wipe(text, at);
            return NULL;
        }
        at += n > 0 ? (size_t)n : 0;
    }
    if (text)
        text[at] = '\0';
    *len = at;
    return text;
}

char *file_read(const char *path, size_t max, bool is_secret, size_t *len,
                char err[FILE_ERROR_SIZE])
{
    struct stat st;
    char *text = NULL;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a FIFO must not block us */

    if (fd < 0 || fstat(fd, &st) != 0) {
        snprintf(err, FILE_ERROR_SIZE, "cannot read %s: %s", path, strerror(errno));
    } else if (check(&st, path, max, is_secret, err) == 0) {
        text = slurp(fd, (size_t)st.st_size, len);
        if (!text)
            snprintf(err, FILE_ERROR_SIZE, "cannot read %s: %s", path, strerror(errno));
    }
    if (fd >= 0)
        close(fd);
    return text;
}

bool file_has_changed(const char *path, struct file_stamp *stamp)
{
    struct file_stamp now = {0};
    struct stat st;

    if (stat(path, &st) == 0) {
        now.device = (uint64_t)st.st_dev;
        now.inode = (uint64_t)st.st_ino;
        now.size = (uint64_t)st.st_size;
        now.mtime_ns = (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec;
        now.ctime_ns = (int64_t)st.st_ctim.tv_sec * 1000000000 + st.st_ctim.tv_nsec;
    }
    bool changed = memcmp(&now, stamp, sizeof(now)) != 0;
    *stamp = now;
    return changed;
}

void file_wipe(void *data, size_t len)
{
    if (data)
        OPENSSL_cleanse(data, len);
    free(data);
}
