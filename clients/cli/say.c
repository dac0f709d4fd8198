/* SPDX-License-Identifier: MIT */
#include "say.h"

#include "exact.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void say_error(const char *fmt, ...)
{
    va_list ap;

    fflush(stdout); /* keep the order when both go to one terminal */
    fputs("tocsin: ", stderr);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
}

void say(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
}

/* A pipe or a socket at whose other end nobody reads. */
static bool is_unread(void)
{
    struct pollfd out = {.fd = STDOUT_FILENO, .events = POLLOUT};

    return errno == EPIPE || errno == ECONNRESET ||
           (poll(&out, 1, 0) == 1 && (out.revents & (POLLERR | POLLHUP)));
}

enum cli_exit say_flush(void)
{
    errno = 0;
    if (fflush(stdout) == 0 && !ferror(stdout))
        return CLI_OK;
    return is_unread() ? CLI_PIPE : CLI_ERROR;
}

enum cli_exit say_end(enum cli_exit status)
{
    enum cli_exit written = say_flush();

    if (written == CLI_ERROR)
        say_error("the output could not be written: %s",
                  errno ? strerror(errno) : "an earlier write failed; is the disk full?");
    return exit_worse(status, written);
}

/* Decodes one UTF-8 character; its length, or 0 when the bytes are none. */
static size_t decode_utf8(const unsigned char *s, uint32_t *out)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t len = s[0] < 0x80 ? 1 : s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : s[0] >= 0xc2 ? 2 : 0;

    if (len == 0 || s[0] > 0xf4)
        return 0;
    uint32_t c = len == 1 ? s[0] : s[0] & (0xffu >> (len + 1));
    for (size_t i = 1; i < len; i++) {
        if ((s[i] & 0xc0) != 0x80)
            return 0;
        c = c << 6 | (s[i] & 0x3f);
    }
    if (c < least[len] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
        return 0;
    *out = c;
    return len;
}

static bool is_unsafe(uint32_t c)
{
    return c < 0x20 || (c >= 0x7f && c < 0xa0) || c == 0x2028 || c == 0x2029 ||
           (c >= 0x202a && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069) || c == 0x200e ||
           c == 0x200f;
}

char *clean_text(const char *text)
{
    struct buf out = {0};
    const unsigned char *s = (const unsigned char *)(text ? text : "");

    buf_add(&out, "", 0);
    while (*s) {
        uint32_t c = 0;
        size_t len = decode_utf8(s, &c);
        char esc[8];

        if (len == 0) {
            buf_add(&out, "?", 1);
            s++;
            continue;
        }
        if (is_unsafe(c)) {
            int n = snprintf(esc, sizeof(esc), "\\u%04x", (unsigned)c & 0xffff);
            buf_add(&out, esc, (size_t)n);
        } else {
            buf_add(&out, s, len);
        }
        s += len;
    }
    return out.data;
}

/* Every such character is within the first 65,536, so that one \u escape says it. */
void say_json(const json_t *value)
{
    char *text = exact_dump(value, JSON_COMPACT | JSON_ENCODE_ANY);
    char *clean = clean_text(text);

    fputs(clean, stdout);
    putchar('\n');
    free(clean);
    free(text);
}

char *clean_field(const json_t *object, const char *key)
{
    return clean_text(json_string_value(json_object_get(object, key)));
}
