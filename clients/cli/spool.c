/* SPDX-License-Identifier: MIT */
#include "spool.h"

#include "ids.h"
#include "request.h"
#include "say.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define NAME_MAX_LEN 40
#define TMP_PREFIX   ".tmp-"
#define TMP_STALE_S  86400 /* left by a crash in the middle of a write: never published */

struct spool {
    char *dir;
    int dir_fd, lock_fd;
    uint64_t last_key;
    bool is_unsynced;
    uint64_t *keys; /* waiting: [at, count) */
    size_t at, count, cap;
};

static void key_name(uint64_t key, char out[NAME_MAX_LEN])
{
    snprintf(out, NAME_MAX_LEN, "%016" PRIx64 ".json", key);
}

static int complain(const struct spool *spool, const char *name)
{
    say_error("spool %s/%s: %s", spool->dir, name, strerror(errno));
    return -1;
}

static void add_key(struct spool *spool, uint64_t key)
{
    if (spool->at > 4096 && spool->at > spool->count / 2) {
        memmove(spool->keys, spool->keys + spool->at,
                (spool->count - spool->at) * sizeof(*spool->keys));
        spool->count -= spool->at;
        spool->at = 0;
    }
    if (spool->count == spool->cap) {
        spool->cap = spool->cap ? spool->cap * 2 : 256;
        spool->keys = xrealloc(spool->keys, spool->cap * sizeof(*spool->keys));
    }
    spool->keys[spool->count++] = key;
}

static int write_all(int fd, const char *data, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, data, len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        data += n;
        len -= (size_t)n;
    }
    return 0;
}

/* A whole file under its final name or not at all; fails with EEXIST rather than replace. */
static int write_file(struct spool *spool, const char *name, const char *data, size_t len)
{
    char tmp[NAME_MAX_LEN];
    uint64_t unique;

    random_bytes(&unique, sizeof(unique));
    snprintf(tmp, sizeof(tmp), TMP_PREFIX "%016" PRIx64, unique);
    int fd = openat(spool->dir_fd, tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return -1;
    int rc = write_all(fd, data, len) || fsync(fd) ? -1 : 0;
    int saved = errno;
    if (close(fd) && rc == 0) {
        rc = -1;
        saved = errno;
    }
    if (rc == 0 && renameat2(spool->dir_fd, tmp, spool->dir_fd, name, RENAME_NOREPLACE) == 0)
        return 0;
    if (rc == 0)
        saved = errno;
    unlinkat(spool->dir_fd, tmp, 0);
    errno = saved;
    return -1;
}

static int check_owner(struct spool *spool, const struct principal *p)
{
    char *mine = xasprintf("%s/%s\n", p->kind_name, p->id);
    char theirs[ENCODED_ID_MAX + 16] = "";
    int rc = 0;

    if (write_file(spool, "owner", mine, strlen(mine)) && errno != EEXIST) {
        rc = complain(spool, "owner");
        goto out;
    }
    int fd = openat(spool->dir_fd, "owner", O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? -1 : read(fd, theirs, sizeof(theirs) - 1);
    if (fd >= 0)
        close(fd);
    if (got < 0) {
        rc = complain(spool, "owner");
    } else if (strcmp(mine, theirs) != 0) {
        theirs[strcspn(theirs, "\n")] = '\0';
        char *clean = clean_text(theirs);
        say_error("spool %s belongs to %s, the token to %s/%s", spool->dir, clean, p->kind_name,
                  p->id);
        free(clean);
        rc = -1;
    }
out:
    free(mine);
    return rc;
}

static int by_age(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

static void remove_stale(struct spool *spool, const char *name)
{
    struct stat st;

    if (fstatat(spool->dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
        st.st_mtime < time(NULL) - TMP_STALE_S)
        unlinkat(spool->dir_fd, name, 0);
}

/* Finds what earlier runs left. */
static int scan(struct spool *spool)
{
    int fd = openat(spool->dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);

    if (!dir)
        return complain(spool, "");
    for (struct dirent *entry; (entry = readdir(dir));) {
        char *end;
        uint64_t key = strtoull(entry->d_name, &end, 16);

        if (end == entry->d_name + 16 && strcmp(end, ".json") == 0)
            add_key(spool, key);
        else if (strncmp(entry->d_name, TMP_PREFIX, strlen(TMP_PREFIX)) == 0)
            remove_stale(spool, entry->d_name);
    }
    closedir(dir);
    if (spool->count)
        qsort(spool->keys, spool->count, sizeof(*spool->keys), by_age);
    return 0;
}

static int open_dirs(struct spool *spool)
{
    if (mkdir(spool->dir, 0700) && errno != EEXIST)
        return complain(spool, "");
    spool->dir_fd = open(spool->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (spool->dir_fd < 0)
        return complain(spool, "");
    if (mkdirat(spool->dir_fd, "rejected", 0700) && errno != EEXIST)
        return complain(spool, "rejected");
    spool->lock_fd = openat(spool->dir_fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    return spool->lock_fd < 0 ? complain(spool, "lock") : 0;
}

struct spool *spool_open(const char *dir, const struct principal *owner)
{
    struct spool *spool = xcalloc(1, sizeof(*spool));

    spool->dir = xstrdup(dir);
    spool->dir_fd = spool->lock_fd = -1;
    if (open_dirs(spool) || check_owner(spool, owner))
        goto fail;
    if (flock(spool->lock_fd, LOCK_EX | LOCK_NB) == 0) {
        if (scan(spool))
            goto fail;
    } else {
        say_error("spool %s is in use: leaving what is in it to that run", dir);
    }
    return spool;
fail:
    spool_close(spool);
    return NULL;
}

static uint64_t fresh_key(struct spool *spool)
{
    struct timespec ts;

    clock_gettime(CLOCK_REALTIME, &ts);
    uint64_t key = (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
    if (key <= spool->last_key)
        key = spool->last_key + 1;
    return spool->last_key = key;
}

int spool_put(struct spool *spool, const char *json, size_t len, uint64_t *key)
{
    char name[NAME_MAX_LEN];

    do {
        *key = fresh_key(spool);
        key_name(*key, name);
        if (write_file(spool, name, json, len) == 0) {
            spool->is_unsynced = true;
            add_key(spool, *key);
            return 0;
        }
    } while (errno == EEXIST); /* another run had the same microsecond */
    return complain(spool, name);
}

int spool_sync(struct spool *spool)
{
    if (spool->is_unsynced && fsync(spool->dir_fd))
        return complain(spool, "");
    spool->is_unsynced = false;
    return 0;
}

uint64_t spool_take(struct spool *spool)
{
    return spool->at < spool->count ? spool->keys[spool->at++] : 0;
}

size_t spool_waiting(const struct spool *spool)
{
    return spool->count - spool->at;
}

char *spool_read(struct spool *spool, uint64_t key, size_t *len)
{
    char name[NAME_MAX_LEN];
    char *text = xcalloc(1, REQUEST_BYTES_MAX + 2);

    key_name(key, name);
    int fd = openat(spool->dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    *len = 0;
    for (ssize_t got = 1; fd >= 0 && got > 0 && *len <= REQUEST_BYTES_MAX; *len += (size_t)got) {
        got = read(fd, text + *len, REQUEST_BYTES_MAX + 1 - *len);
        if (got < 0)
            break;
    }
    if (fd < 0) {
        free(text);
        return NULL;
    }
    close(fd);
    return text;
}

void spool_remove(struct spool *spool, uint64_t key)
{
    char name[NAME_MAX_LEN];

    key_name(key, name);
    if (unlinkat(spool->dir_fd, name, 0) && errno != ENOENT)
        (void)complain(spool, name); /* it will be sent again, to no effect */
}

void spool_reject(struct spool *spool, uint64_t key)
{
    char name[NAME_MAX_LEN], moved[NAME_MAX_LEN + 16];

    key_name(key, name);
    snprintf(moved, sizeof(moved), "rejected/%s", name);
    if (renameat(spool->dir_fd, name, spool->dir_fd, moved) && errno != ENOENT)
        (void)complain(spool, name);
}

void spool_close(struct spool *spool)
{
    if (!spool)
        return;
    if (spool->lock_fd >= 0)
        close(spool->lock_fd);
    if (spool->dir_fd >= 0)
        close(spool->dir_fd);
    free(spool->keys);
    free(spool->dir);
    free(spool);
}
