/* SPDX-License-Identifier: MIT */
/*
 * guard - refuses brokers that it could not protect
 *
 * With per_listener_settings true a plugin guards one listener only, and the
 * broker never calls TICK, so nobody would ever expire.  There is no call to
 * ask for that setting: the broker's own configuration file tells.
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

/* The value of `key` on this line, or NULL. */
static const char *value_of(const char *line, const char *key)
{
    size_t len = strlen(key);

    line += strspn(line, " \t");
    if (strncmp(line, key, len) != 0 || (line[len] != ' ' && line[len] != '\t'))
        return NULL;
    return line + len + strspn(line + len, " \t");
}

static bool scan_file(const char *path, bool may_include);

static bool scan_dir(const char *dir)
{
    struct dirent **names = NULL;
    char path[4096];
    int count = scandir(dir, &names, NULL, alphasort);
    bool found = false;

    for (int i = 0; i < count; i++) {
        size_t len = strlen(names[i]->d_name);
        snprintf(path, sizeof(path), "%s/%s", dir, names[i]->d_name);
        if (len > 5 && strcmp(names[i]->d_name + len - 5, ".conf") == 0)
            found = scan_file(path, false) || found;
        free(names[i]);
    }
    free(names);
    return found;
}

/* Does this file, or one that it includes, turn per_listener_settings on? */
static bool scan_file(const char *path, bool may_include)
{
    char err[FILE_ERROR_SIZE], *rest = NULL;
    size_t len;
    bool found = false;
    char *text = file_read(path, CONFIG_MAX, false, &len, err);

    for (char *line = text ? strtok_r(text, "\r\n", &rest) : NULL; line;
         line = strtok_r(NULL, "\r\n", &rest)) {
        const char *setting = value_of(line, "per_listener_settings");
        const char *dir = value_of(line, "include_dir");
        if (setting)
            found = strncasecmp(setting, "true", 4) == 0 || *setting == '1';
        else if (dir && may_include)
            found = scan_dir(dir) || found;
    }
    free(text);
    return found;
}

/* The path after -c or --config-file in /proc/self/cmdline; NULL when there is none. */
static const char *config_path(char *command, size_t len)
{
    const char *end = command + len;

    for (const char *arg = command; arg < end; arg += strlen(arg) + 1)
        if (strcmp(arg, "-c") == 0 || strcmp(arg, "--config-file") == 0) {
            arg += strlen(arg) + 1;
            return arg < end ? arg : NULL;
        }
    return NULL;
}

int guard_check(char err[FILE_ERROR_SIZE])
{
    char command[COMMAND_MAX + 1];
    int fd = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
    ssize_t len = fd < 0 ? -1 : read(fd, command, COMMAND_MAX);

    if (fd >= 0)
        close(fd);
    if (len <= 0)
        return 0; /* without TICK nobody gets in anyway */
    command[len] = '\0';
    const char *path = config_path(command, (size_t)len);
    if (!path || !scan_file(path, true))
        return 0;
    snprintf(err, FILE_ERROR_SIZE,
             "%.300s sets per_listener_settings true, which would leave listeners unguarded: "
             "set it to false",
             path);
    return -1;
}
