/* SPDX-License-Identifier: MIT */
#include "revocation.h"

#include "principal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct entry {
    struct map_node node;
    int64_t until_s;
    char key[];
};

int revocations_init(struct revocations *rev)
{
    rev->until_s = INT64_MIN;
    return map_init(&rev->entries);
}

void revocations_fini(struct revocations *rev)
{
    struct map_node *node;

    while ((node = map_pop(&rev->entries)))
        free(MAP_OWNER(node, struct entry, node));
    map_fini(&rev->entries);
}

static int put_key(struct revocations *rev, const char *key, size_t len, int64_t until_s)
{
    struct map_node *node = map_find(&rev->entries, key, len);

    if (node) {
        struct entry *have = MAP_OWNER(node, struct entry, node);
        have->until_s = until_s > have->until_s ? until_s : have->until_s;
        return 0;
    }
    struct entry *entry = malloc(sizeof(*entry) + len + 1);
    if (!entry || rev->entries.count >= REVOCATION_MAX) {
        free(entry);
        return -1;
    }
    entry->until_s = until_s;
    memcpy(entry->key, key, len + 1);
    if (map_add(&rev->entries, &entry->node, entry->key, len) != 0) {
        free(entry);
        return -1;
    }
    return 0;
}

static int put(struct revocations *rev, const char *kind, const char *id, int64_t until_s)
{
    char key[REVOCATION_LINE_MAX];
    int len = snprintf(key, sizeof(key), "%s %s", kind, id);

    return len < 0 || (size_t)len >= sizeof(key) ? -1 : put_key(rev, key, (size_t)len, until_s);
}

/* Copies the next word; false when there is none, but maybe a comment, or it does not fit. */
static bool next_word(const char **at, char *out, size_t size)
{
    *at += strspn(*at, " \t\r");
    size_t len = **at == '#' ? 0 : strcspn(*at, " \t\r\n");
    if (len == 0 || len >= size)
        return false;
    memcpy(out, *at, len);
    out[len] = '\0';
    *at += len;
    return true;
}

static bool parse_time(const char *text, int64_t *out)
{
    char *end;

    if (*text < '0' || *text > '9' || strlen(text) > 12)
        return false;
    *out = strtoll(text, &end, 10);
    return *end == '\0';
}

/* The byte that "%62" stands for; 0 when it stands for none. */
static char hex_byte(const char *at)
{
    char hex[3] = {at[1], at[1] ? at[2] : '\0', '\0'};

    return *at == '%' && strspn(hex, "0123456789abcdefABCDEF") == 2 ? (char)strtol(hex, NULL, 16)
                                                                    : '\0';
}

/* "user/f:1", "user/f%3A1" and "user/%66:1" as "user/f%3A1"; false when no token can have that
 * subject. */
static bool read_subject(const char *text, char out[REVOCATION_LINE_MAX])
{
    const char *slash = strchr(text, '/');
    char kind_name[16], byte[4];
    enum principal_kind kind;
    size_t len = slash ? (size_t)(slash - text) : 0;

    if (len == 0 || len >= sizeof(kind_name))
        return false;
    memcpy(kind_name, text, len);
    kind_name[len] = '\0';
    if (!principal_kind_parse(kind_name, &kind))
        return false;
    memcpy(out, text, ++len);
    size_t start = len;
    for (const char *at = slash + 1; *at; at++) {
        char raw[2] = {hex_byte(at), '\0'};
        if (raw[0])
            at += 2;
        else
            raw[0] = *at;
        size_t size = principal_encode(raw, byte, sizeof(byte));
        if (len + size - start > PRINCIPAL_ID_MAX)
            return false;
        memcpy(out + len, byte, size);
        len += size;
    }
    out[len] = '\0';
    return len > start;
}

int revocations_add(struct revocations *rev, const char *line, char err[FILE_ERROR_SIZE])
{
    char what[8], id[REVOCATION_ID_MAX + 1], time_text[16], subject[REVOCATION_LINE_MAX];
    int64_t until_s = INT64_MAX;
    const char *at = line;
    int rc = -1;

    at += strspn(at, " \t\r");
    if (*at == '\0' || *at == '\n' || *at == '#')
        return 0;
    if (next_word(&at, what, sizeof(what)) && next_word(&at, id, sizeof(id))) {
        bool is_jti = strcmp(what, "jti") == 0, is_sub = strcmp(what, "sub") == 0;
        bool has_time = is_sub && next_word(&at, time_text, sizeof(time_text));
        bool is_right = !has_time || parse_time(time_text, &until_s);

        at += strspn(at, " \t\r");
        is_right = is_right && (*at == '\0' || *at == '\n' || *at == '#');
        if (strcmp(what, "iat") == 0 && is_right && parse_time(id, &until_s)) {
            rev->until_s = until_s > rev->until_s ? until_s : rev->until_s;
            rc = 0;
        } else if (is_jti && is_right) {
            rc = put(rev, what, id, until_s);
        } else if (is_sub && is_right && read_subject(id, subject)) {
            rc = put(rev, what, subject, until_s);
        }
    }
    if (rc != 0)
        snprintf(
            err, FILE_ERROR_SIZE,
            "\"%.80s\" is none of: jti ID | sub KIND/ID [TIME] | iat TIME, where KIND is user, "
            "service, admin or bridge",
            line);
    return rc;
}

int revocations_merge(struct revocations *rev, const struct revocations *more)
{
    int rc = 0;

    rev->until_s = more->until_s > rev->until_s ? more->until_s : rev->until_s;
    for (size_t i = 0; i < more->entries.room; i++)
        for (struct map_node *at = more->entries.slots[i]; at; at = at->next) {
            const struct entry *entry = MAP_OWNER(at, struct entry, node);
            rc |= put_key(rev, entry->key, strlen(entry->key), entry->until_s);
        }
    return rc;
}

int revocations_read(struct revocations *rev, const char *path, char err[FILE_ERROR_SIZE])
{
    char why[FILE_ERROR_SIZE];
    size_t len;
    unsigned number = 1;
    int rc = 0;
    char *text = file_read(path, REVOCATION_FILE_MAX, false, &len, err);

    if (!text)
        return -1;
    for (char *line = text, *next; line < text + len; line = next, number++) {
        char *end = memchr(line, '\n', (size_t)(text + len - line));
        next = end ? end + 1 : text + len;
        if (end)
            *end = '\0';
        end = end ? end : next;
        bool has_nul = memchr(line, '\0', (size_t)(end - line)) != NULL;
        if (has_nul)
            snprintf(why, sizeof(why), "has a NUL byte");
        if ((has_nul || revocations_add(rev, line, why) != 0) && rc == 0) {
            rc = -1;
            snprintf(err, FILE_ERROR_SIZE, "%.200s line %u: %.240s", path, number, why);
        }
    }
    free(text);
    return rc;
}

/* Has somebody left the last line without its end? */
static bool is_line_open(int fd)
{
    char last;
    off_t size = lseek(fd, 0, SEEK_END);

    return size > 0 && pread(fd, &last, 1, size - 1) == 1 && last != '\n';
}

int revocations_append(const char *path, const char *line, char err[FILE_ERROR_SIZE])
{
    char text[REVOCATION_LINE_MAX + 3];
    int fd = open(path, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC, S_IRUSR | S_IWUSR);
    int len = snprintf(text, sizeof(text), "%s%s\n", fd >= 0 && is_line_open(fd) ? "\n" : "", line);
    off_t was = fd >= 0 ? lseek(fd, 0, SEEK_END) : -1;
    ssize_t written = -1;

    if (was >= 0 && len > 0 && (size_t)len < sizeof(text))
        written = write(fd, text, (size_t)len);
    int rc = written == len ? 0 : -1;
    if (written > 0 && rc != 0 && ftruncate(fd, was) != 0)
        snprintf(err, FILE_ERROR_SIZE, "%.200s ends in half a line: %s", path, strerror(errno));
    else if (rc != 0)
        snprintf(err, FILE_ERROR_SIZE, "cannot append to %.200s: %s", path, strerror(errno));
    if (fd >= 0)
        close(fd);
    return rc;
}

bool revocations_match(const struct revocations *rev, const char *subject, const char *jti,
                       int64_t issued_s)
{
    char key[REVOCATION_LINE_MAX];
    struct map_node *node;

    if (issued_s <= rev->until_s)
        return true;
    if (rev->entries.count == 0)
        return false;
    if (jti && *jti) {
        int len = snprintf(key, sizeof(key), "jti %s", jti);
        if (map_find(&rev->entries, key, (size_t)len))
            return true;
    }
    int len = snprintf(key, sizeof(key), "sub %s", subject);
    node = map_find(&rev->entries, key, (size_t)len);
    return node && issued_s <= MAP_OWNER(node, struct entry, node)->until_s;
}
