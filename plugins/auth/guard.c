/* SPDX-License-Identifier: MIT */
/*
 * guard - refuses brokers that it could not protect
 *
 * With per_listener_settings true a plugin guards one listener only, and the
 * broker never calls TICK, so nobody would ever expire.  With
 * use_identity_as_username or use_subject_as_username a listener takes the
 * name out of a certificate (or a pre-shared key's identity) and asks nobody:
 * such a client would be in without a token, under any client id, and take
 * over the sessions of others.  There is no call to ask for these settings:
 * the broker's own configuration file tells.
 *
 * That file may be out of reach.  So nothing rests on this alone: without
 * TICK nobody is let in, and a name without our seal may do nothing.
 */
#include "plugin.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

enum { CONFIG_MAX = 1 << 20, COMMAND_MAX = 8192 };

static const struct {
    const char *key, *why;
} forbidden[] = {
    {"per_listener_settings", "which would leave listeners unguarded"},
    {"use_identity_as_username", "which lets clients of that listener in without a token"},
    {"use_subject_as_username", "which lets clients of that listener in without a token"},
    {"use_username_as_clientid", "which makes every client id one that is refused"},
};

enum { FORBIDDEN = sizeof(forbidden) / sizeof(forbidden[0]) };

/* What the files say so far. */
struct scan {
    bool is_on[FORBIDDEN];
    bool has_missed; /* a file could not be read */
    bool is_persistent;
    char location[2048], file[256]; /* of the database */
    struct broker_facts *facts;
};

/* The value of `key` on this line, or NULL. */
static const char *value_of(const char *line, const char *key)
{
    size_t len = strlen(key);

    line += strspn(line, " \t");
    if (strncmp(line, key, len) != 0 || (line[len] != ' ' && line[len] != '\t'))
        return NULL;
    return line + len + strspn(line + len, " \t");
}

static bool is_true(const char *value)
{
    return strncasecmp(value, "true", 4) == 0 || *value == '1';
}

/* "2w" and the like in milliseconds; 0 when it is nothing of that kind. */
static int64_t expiration_of(const char *value)
{
    static const struct {
        char unit;
        int64_t hours;
    } units[] = {{'h', 1}, {'d', 24}, {'w', 168}, {'m', 720}, {'y', 8760}};
    char *end;
    long number = strtol(value, &end, 10);

    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++)
        if (*end == units[i].unit && number > 0 && number < 100000)
            return number * units[i].hours * 3600000;
    return 0;
}

static void scan_file(struct scan *scan, const char *path, bool may_include);

static void scan_dir(struct scan *scan, const char *dir)
{
    struct dirent **names = NULL;
    char path[4096];
    int count = scandir(dir, &names, NULL, alphasort);

    scan->has_missed = scan->has_missed || count < 0;
    for (int i = 0; i < count; i++) {
        size_t len = strlen(names[i]->d_name);
        snprintf(path, sizeof(path), "%s/%s", dir, names[i]->d_name);
        if (len > 5 && strcmp(names[i]->d_name + len - 5, ".conf") == 0)
            scan_file(scan, path, false);
        free(names[i]);
    }
    free(names);
}

static void scan_line(struct scan *scan, const char *line, bool may_include)
{
    const char *value;

    for (int i = 0; i < FORBIDDEN; i++)
        if ((value = value_of(line, forbidden[i].key)))
            /* The first is the broker's, so its last line counts; the others are a listener's. */
            scan->is_on[i] = is_true(value) || (i > 0 && scan->is_on[i]);
    if ((value = value_of(line, "persistence")))
        scan->is_persistent = is_true(value);
    if ((value = value_of(line, "persistence_location")))
        snprintf(scan->location, sizeof(scan->location), "%s", value);
    if ((value = value_of(line, "persistence_file")))
        snprintf(scan->file, sizeof(scan->file), "%s", value);
    if ((value = value_of(line, "persistent_client_expiration")))
        scan->facts->expiration_ms = expiration_of(value);
    if (may_include && (value = value_of(line, "include_dir")))
        scan_dir(scan, value);
}

static void scan_file(struct scan *scan, const char *path, bool may_include)
{
    char err[FILE_ERROR_SIZE], *rest = NULL;
    size_t len;
    char *text = file_read(path, CONFIG_MAX, false, &len, err);

    scan->has_missed = scan->has_missed || !text;
    for (char *line = text ? strtok_r(text, "\r\n", &rest) : NULL; line;
         line = strtok_r(NULL, "\r\n", &rest))
        scan_line(scan, line, may_include);
    free(text);
}

/* Reads the files after each -c or --config-file of /proc/self/cmdline, as the broker does; the
 * last one, or NULL when there is none. */
static const char *scan_command(struct scan *scan, const char *command, size_t len)
{
    const char *end = command + len, *path = NULL;

    for (const char *arg = command; arg < end; arg += strlen(arg) + 1)
        if (strcmp(arg, "-c") == 0 || strcmp(arg, "--config-file") == 0) {
            arg += strlen(arg) + 1;
            if (arg >= end)
                break;
            path = arg;
            scan_file(scan, path, true);
        }
    return path;
}

/* The broker's command line, terminated; its length, or 0. */
static size_t read_command(char command[COMMAND_MAX + 1])
{
    int fd = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
    ssize_t len = fd < 0 ? -1 : read(fd, command, COMMAND_MAX);

    if (fd >= 0)
        close(fd);
    command[len > 0 ? len : 0] = '\0';
    return len > 0 ? (size_t)len : 0;
}

/* Is there, or may there be, a database of sessions? */
static bool has_database(const struct scan *scan)
{
    char path[sizeof(scan->location) + sizeof(scan->file) + 2];

    if (!scan->is_persistent || *scan->location == '\0')
        return scan->is_persistent;
    snprintf(path, sizeof(path), "%s/%s", scan->location,
             *scan->file ? scan->file : "mosquitto.db");
    return access(path, F_OK) == 0;
}

int guard_check(struct broker_facts *facts, char err[FILE_ERROR_SIZE])
{
    char command[COMMAND_MAX + 1];
    struct scan scan = {.facts = facts};
    size_t len = read_command(command);

    *facts = (struct broker_facts){0};
    const char *path = scan_command(&scan, command, len);
    if (!path || scan.has_missed)
        mosquitto_log_printf(MOSQ_LOG_WARNING,
                             "tocsin: cannot read all of the broker's configuration to see that no "
                             "listener lets clients in by certificate alone");
    facts->has_database = has_database(&scan);
    facts->is_known = path && !scan.has_missed;
    for (int i = 0; i < FORBIDDEN; i++)
        if (scan.is_on[i]) {
            snprintf(err, FILE_ERROR_SIZE, "%.300s sets %s true, %s: set it to false", path,
                     forbidden[i].key, forbidden[i].why);
            return -1;
        }
    return 0;
}
