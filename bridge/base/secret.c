/* SPDX-License-Identifier: MIT */
#include "base/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"

#define SECRET_FILE_MAX (64 * 1024)

void secret_fini(struct secret *secret)
{
    if (secret->bytes) {
        explicit_bzero(secret->bytes, secret->length);
        free(secret->bytes);
    }
    secret->bytes = NULL;
    secret->length = 0;
}

void secret_set(struct secret *secret, const char *bytes, size_t length)
{
    char *copy = xmalloc(length + 1);

    if (length)
        memcpy(copy, bytes, length);
    copy[length] = '\0';
    secret_fini(secret);
    secret->bytes = copy;
    secret->length = length;
}

static int read_all(int fd, char *bytes, size_t capacity, size_t *length)
{
    *length = 0;
    while (*length < capacity) {
        ssize_t got = read(fd, bytes + *length, capacity - *length);

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return ERR_IO;
        if (got == 0)
            return 0;
        *length += (size_t)got;
    }
    return ERR_TOO_LARGE;
}

static int check_file(int fd, const char *path, char *why, size_t why_bytes)
{
    struct stat st;

    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        snprintf(why, why_bytes, "%s is not a regular file", path);
        return ERR_IO;
    }
    if (st.st_mode & (S_IRGRP | S_IWGRP | S_IROTH | S_IWOTH)) {
        snprintf(why, why_bytes,
                 "%s can be read or written by others (mode %04o): run chmod 600 on it", path,
                 (unsigned)(st.st_mode & 07777));
        return ERR_REFUSED;
    }
    return 0;
}

int secret_read_file(struct secret *secret, const char *path, char *why, size_t why_bytes)
{
    char *bytes = NULL;
    size_t length = 0;
    int err;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);

    if (fd < 0) {
        err = errno == ENOENT ? ERR_NOT_FOUND : ERR_IO;
        snprintf(why, why_bytes, "cannot open %s: %s", path, strerror(errno));
        return err;
    }
    err = check_file(fd, path, why, why_bytes);
    if (err)
        goto out;
    bytes = xmalloc(SECRET_FILE_MAX + 1);
    err = read_all(fd, bytes, SECRET_FILE_MAX + 1, &length);
    if (err) {
        snprintf(why, why_bytes, err == ERR_IO ? "cannot read %s" : "%s is larger than 64 KiB",
                 path);
        goto out;
    }
    if (length && bytes[length - 1] == '\n')
        length--;
    if (length == 0) {
        snprintf(why, why_bytes, "%s is empty", path);
        err = ERR_INVALID;
        goto out;
    }
    secret_set(secret, bytes, length);
out:
    if (bytes) {
        explicit_bzero(bytes, SECRET_FILE_MAX + 1);
        free(bytes);
    }
    close(fd);
    return err;
}

void secret_guard_process(void)
{
    static const struct rlimit none = {0, 0};
    const char *allowed = getenv("TOCSIN_ALLOW_CORE");

    if (allowed && strcmp(allowed, "1") == 0)
        return;
    (void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    (void)setrlimit(RLIMIT_CORE, &none);
}
