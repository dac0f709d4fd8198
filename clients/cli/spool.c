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

#define NAME_MAX_LEN 64
#define SUFFIX       ".jsonl"
#define BATCH_MAX    256        /* requests in one file */
#define BATCH_BYTES  (1u << 20) /* and bytes, about */
#define FILE_MAX     (BATCH_BYTES + 2 * REQUEST_BYTES_MAX)
#define TMP_PREFIX   ".tmp-"
#define TMP_STALE_S  86400 /* left by a crash in the middle of a write: never published */

struct spool_batch {
    struct spool_batch *next; /* in spool->batches */
    uint64_t key;
    size_t left; /* requests given out or to be, and not finished */
};

struct spool {
    char *dir;
    int dir_fd, lock_fd;
    uint64_t last_key;
    struct buf fresh; /* put and not yet synced */
    size_t fresh_count;
    uint64_t *keys; /* files not yet begun: [at, count) */
    size_t at, count, cap;
    struct spool_batch *batches;
    struct spool_batch *current; /* the one being given out, or NULL */
    struct buf text;             /* its file */
    size_t text_at;
    unsigned index;
};

static void key_name(uint64_t key, char out[NAME_MAX_LEN])
{
    snprintf(out, NAME_MAX_LEN, "%016" PRIx64 SUFFIX, key);
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

        if (end == entry->d_name + 16 && strcmp(end, SUFFIX) == 0)
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

/* Writes what was put as one file. */
static int write_batch(struct spool *spool)
{
    char name[NAME_MAX_LEN];

    do {
        uint64_t key = fresh_key(spool);

        key_name(key, name);
        if (write_file(spool, name, spool->fresh.data, spool->fresh.len) == 0) {
            add_key(spool, key);
            buf_cut(&spool->fresh, spool->fresh.len);
            spool->fresh_count = 0;
            return 0;
        }
    } while (errno == EEXIST); /* another run had the same microsecond */
    return complain(spool, name);
}

int spool_put(struct spool *spool, const char *json, size_t len)
{
    buf_add(&spool->fresh, json, len);
    buf_add(&spool->fresh, "\n", 1);
    spool->fresh_count++;
    return spool->fresh_count >= BATCH_MAX || spool->fresh.len >= BATCH_BYTES ? spool_sync(spool)
                                                                              : 0;
}

int spool_sync(struct spool *spool)
{
    if (spool->fresh_count == 0)
        return 0;
    if (write_batch(spool))
        return -1;
    return fsync(spool->dir_fd) ? complain(spool, "") : 0;
}

/* The file's content into *text; false when it is gone or unreadable. */
static bool read_batch(const struct spool *spool, uint64_t key, struct buf *text)
{
    char name[NAME_MAX_LEN], chunk[16384];
    ssize_t got = 0;

    key_name(key, name);
    int fd = openat(spool->dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    while (fd >= 0 && text->len < FILE_MAX && (got = read(fd, chunk, sizeof(chunk))) > 0)
        buf_add(text, chunk, (size_t)got);
    if ((fd < 0 && errno != ENOENT) || got < 0)
        (void)complain(spool, name);
    if (fd >= 0)
        close(fd);
    return fd >= 0 && got >= 0;
}

static size_t count_lines(const struct buf *text)
{
    size_t lines = 0;

    for (size_t i = 0; i < text->len; i++)
        lines += text->data[i] == '\n' || i + 1 == text->len;
    return lines;
}

/* Begins the next file that is there; false when there is none. */
static bool begin_batch(struct spool *spool)
{
    while (spool->at < spool->count) {
        uint64_t key = spool->keys[spool->at++];

        buf_fini(&spool->text);
        spool->text_at = 0;
        spool->index = 0;
        if (!read_batch(spool, key, &spool->text))
            continue; /* another run has finished it meanwhile */
        struct spool_batch *batch = xcalloc(1, sizeof(*batch));
        batch->key = key;
        batch->left = count_lines(&spool->text);
        batch->next = spool->batches;
        spool->batches = batch;
        if (batch->left == 0) {
            batch->left = 1;
            spool_done(spool, batch); /* empty: nobody's */
            continue;
        }
        spool->current = batch;
        return true;
    }
    return false;
}

bool spool_has_more(const struct spool *spool)
{
    return spool->current || spool->at < spool->count;
}

bool spool_next(struct spool *spool, struct spool_item *item)
{
    if (!spool->current && !begin_batch(spool))
        return false;
    const char *start = spool->text.data + spool->text_at;
    const char *newline = memchr(start, '\n', spool->text.len - spool->text_at);
    size_t len = newline ? (size_t)(newline - start) : spool->text.len - spool->text_at;

    *item = (struct spool_item){start, len, spool->current, ++spool->index};
    spool->text_at += newline ? len + 1 : len;
    if (spool->text_at >= spool->text.len)
        spool->current = NULL;
    return true;
}

size_t spool_count(const struct spool *spool)
{
    size_t lines = 0;

    if (spool->current)
        lines = count_lines(&spool->text) - spool->index;
    for (size_t i = spool->at; i < spool->count; i++) {
        struct buf text = {0};

        if (read_batch(spool, spool->keys[i], &text))
            lines += count_lines(&text);
        buf_fini(&text);
    }
    return lines;
}

void spool_done(struct spool *spool, struct spool_batch *batch)
{
    char name[NAME_MAX_LEN];
    struct spool_batch **at = &spool->batches;

    if (--batch->left > 0)
        return;
    key_name(batch->key, name);
    if (unlinkat(spool->dir_fd, name, 0) && errno != ENOENT)
        (void)complain(spool, name); /* it will be sent again, to no effect */
    while (*at != batch)
        at = &(*at)->next;
    *at = batch->next;
    free(batch);
}

void spool_reject(struct spool *spool, struct spool_batch *batch, unsigned index, const char *text,
                  size_t len)
{
    char name[NAME_MAX_LEN];

    snprintf(name, sizeof(name), "rejected/%016" PRIx64 "-%u.json", batch->key, index);
    if (write_file(spool, name, text, len) && errno != EEXIST)
        (void)complain(spool, name); /* nothing can be done with it anyway */
    spool_done(spool, batch);
}

void spool_close(struct spool *spool)
{
    if (!spool)
        return;
    if (spool->lock_fd >= 0)
        close(spool->lock_fd);
    if (spool->dir_fd >= 0)
        close(spool->dir_fd);
    while (spool->batches) {
        struct spool_batch *batch = spool->batches;
        spool->batches = batch->next;
        free(batch);
    }
    buf_fini(&spool->fresh);
    buf_fini(&spool->text);
    free(spool->keys);
    free(spool->dir);
    free(spool);
}
