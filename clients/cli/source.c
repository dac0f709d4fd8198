/* SPDX-License-Identifier: MIT */
#include "source.h"

#include "exact.h"
#include "say.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define READ_BYTES 65536

struct source {
    int fd; /* -1: nothing to read, or no more */
    struct buf buf;
    size_t at;      /* of buf: where the next line begins */
    size_t scanned; /* of buf: no newline between `at` and here */
    unsigned long line;
    bool is_skipping; /* inside a line that is too long */
    char *read_error;
    json_t *array; /* an array being handed out, or NULL */
    size_t array_at;
    unsigned long array_line;
    json_t *document; /* not yet handed out */
};

static struct source *source_new(int fd)
{
    struct source *src = xcalloc(1, sizeof(*src));

    src->fd = fd;
    buf_add(&src->buf, "", 0);
    return src;
}

struct source *source_of(json_t *object)
{
    struct source *src = source_new(-1);

    src->document = object;
    return src;
}

/* New: the file as one JSON document, or NULL when it is not one. */
static json_t *read_document(int fd)
{
    struct stat st;
    struct buf text = {0};
    json_t *doc = NULL;

    if (fstat(fd, &st) || !S_ISREG(st.st_mode) || st.st_size > SOURCE_DOCUMENT_MAX)
        return NULL;
    text.data = xcalloc(1, (size_t)st.st_size + 1);
    text.cap = (size_t)st.st_size + 1;
    for (off_t at = lseek(fd, 0, SEEK_CUR); at >= 0 && at < st.st_size;) {
        ssize_t got = pread(fd, text.data + text.len, (size_t)(st.st_size - at), at);

        if (got <= 0)
            break;
        text.len += (size_t)got;
        at += got;
    }
    if (text.len)
        doc = exact_load(text.data, text.len, JSON_REJECT_DUPLICATES, NULL);
    buf_fini(&text);
    return doc;
}

struct source *source_open(const char *path)
{
    int fd = strcmp(path, "-") == 0 ? dup(STDIN_FILENO) : open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0) {
        say_error("%s: %s", path, strerror(errno));
        return NULL;
    }
    json_t *doc = read_document(fd);
    if (!doc)
        return source_new(fd);
    close(fd);
    return source_of(doc);
}

int source_fd(const struct source *src)
{
    return src->fd;
}

static void end_input(struct source *src)
{
    close(src->fd);
    src->fd = -1;
}

void source_fill(struct source *src)
{
    char chunk[READ_BYTES];
    ssize_t got = read(src->fd, chunk, sizeof(chunk));

    if (got < 0 && (errno == EINTR || errno == EAGAIN))
        return;
    if (got < 0)
        src->read_error = xasprintf("cannot read on: %s", strerror(errno));
    if (got <= 0) {
        end_input(src);
        return;
    }
    buf_cut(&src->buf, src->at);
    src->scanned -= src->at;
    src->at = 0;
    buf_add(&src->buf, chunk, (size_t)got);
    if (src->buf.len > SOURCE_LINE_MAX && !memchr(chunk, '\n', (size_t)got)) {
        /* Whatever this line is, it is too long; remember only that. */
        src->is_skipping = true;
        buf_cut(&src->buf, src->buf.len);
        src->scanned = 0;
    }
}

static enum source_result bad(struct source_item *item, char *error)
{
    item->error = error;
    return SOURCE_BAD;
}

static enum source_result next_of_array(struct source *src, struct source_item *item)
{
    json_t *value = json_array_get(src->array, src->array_at++);

    item->line = src->array_line;
    item->index = src->array_at;
    if (!json_is_object(value))
        return bad(item, xstrdup("not a JSON object"));
    item->object = json_incref(value);
    return SOURCE_ITEM;
}

/* Takes `value`: an object is the item, an array becomes the next items. */
static enum source_result take_value(struct source *src, json_t *value, unsigned long line,
                                     struct source_item *item)
{
    item->line = line;
    if (json_is_object(value)) {
        item->object = value;
        return SOURCE_ITEM;
    }
    if (json_is_array(value) && json_array_size(value) > 0) {
        src->array = value;
        src->array_at = 0;
        src->array_line = line;
        return next_of_array(src, item);
    }
    json_decref(value);
    return bad(item, xstrdup("not a JSON object, nor an array of them"));
}

static bool is_blank(const char *text, size_t len)
{
    while (len > 0 && strchr(" \t\r", text[len - 1]) && text[len - 1])
        len--;
    return len == 0;
}

static enum source_result take_line(struct source *src, const char *text, size_t len,
                                    struct source_item *item)
{
    json_error_t where;

    item->line = src->line;
    if (len > SOURCE_LINE_MAX)
        return bad(item, xasprintf("longer than %u bytes", SOURCE_LINE_MAX));
    json_t *value = exact_load(text, len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &where);
    if (!value) {
        char *why = clean_text(where.text);
        char *error = xasprintf("%s (column %d)", why, where.column);
        free(why);
        return bad(item, error);
    }
    return take_value(src, value, src->line, item);
}

/* Moves on by one line, which stays in the buffer; false when there is none yet. */
static bool cut_line(struct source *src, const char **line, size_t *len)
{
    char *newline = memchr(src->buf.data + src->scanned, '\n', src->buf.len - src->scanned);
    size_t end = newline ? (size_t)(newline - src->buf.data) : src->buf.len;

    if (!newline && src->fd >= 0) {
        src->scanned = src->buf.len;
        return false;
    }
    if (!newline && end == src->at && !src->is_skipping)
        return false;
    src->line++;
    *line = src->buf.data + src->at;
    *len = end - src->at;
    src->at = src->scanned = newline ? end + 1 : end;
    return true;
}

static enum source_result next_line(struct source *src, struct source_item *item)
{
    enum source_result result = SOURCE_AGAIN;
    const char *line;
    size_t len;

    while (result == SOURCE_AGAIN && cut_line(src, &line, &len)) {
        if (src->line == 1 && len >= 3 && memcmp(line, "\xef\xbb\xbf", 3) == 0) {
            line += 3; /* a byte order mark */
            len -= 3;
        }
        if (src->is_skipping) {
            src->is_skipping = false;
            item->line = src->line;
            result = bad(item, xasprintf("longer than %u bytes", SOURCE_LINE_MAX));
        } else if (!is_blank(line, len)) {
            result = take_line(src, line, len, item);
        }
    }
    return result;
}

enum source_result source_next(struct source *src, struct source_item *item)
{
    *item = (struct source_item){0};
    if (src->array) {
        if (src->array_at < json_array_size(src->array))
            return next_of_array(src, item);
        json_decref(src->array);
        src->array = NULL;
    }
    if (src->document) {
        json_t *document = src->document;
        src->document = NULL;
        return take_value(src, document, 0, item);
    }
    enum source_result result = next_line(src, item);
    if (result != SOURCE_AGAIN || src->fd >= 0)
        return result;
    if (src->read_error) {
        char *error = src->read_error;
        src->read_error = NULL;
        item->line = src->line + 1;
        return bad(item, error);
    }
    return SOURCE_END;
}

void source_close(struct source *src)
{
    if (!src)
        return;
    if (src->fd >= 0)
        close(src->fd);
    json_decref(src->array);
    json_decref(src->document);
    free(src->read_error);
    buf_fini(&src->buf);
    free(src);
}
