/* SPDX-License-Identifier: MIT */
#include "base/log.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log_limit.h"
#include "base/timefmt.h"

/* PIPE_BUF: a pipe that polls writable takes this much without blocking, and in one piece. */
#define LINE_BYTES 4096
#define TEXT_MAX   256
#define TAIL_ROOM  32 /* kept free for " cut=true", "}" and the newline */

enum sink { SINK_UNKNOWN, SINK_FILE, SINK_SOCKET, SINK_OTHER };

/* The one piece of process-wide state; atomic because work on pool threads may die with a log. */
static _Atomic int log_level = LOG_LEVEL_INFO;
static _Atomic int log_format = LOG_FORMAT_TEXT;
static _Atomic int log_sink = SINK_UNKNOWN;
static _Atomic uint64_t log_drops;
static _Atomic uint64_t log_drops_told;
static _Atomic bool log_has_panicked;
/* Pool threads hardly ever log: one that finds this taken writes its line without a limit. */
static atomic_flag log_limit_lock = ATOMIC_FLAG_INIT;
static struct log_limit log_limits;

struct line {
    char text[LINE_BYTES];
    size_t length;
    bool is_full;
};

int log_level_parse(const char *name, enum log_level *level)
{
    static const char *const names[] = {"debug", "info", "warn", "error"};

    for (int i = 0; i < (int)(sizeof names / sizeof *names); i++)
        if (strcmp(name, names[i]) == 0) {
            *level = (enum log_level)i;
            return 0;
        }
    return ERR_INVALID;
}

void log_init(enum log_level level, enum log_format format)
{
    struct stat st;
    int sink = SINK_OTHER;

    if (fstat(STDERR_FILENO, &st) == 0) {
        if (S_ISREG(st.st_mode))
            sink = SINK_FILE;
        else if (S_ISSOCK(st.st_mode))
            sink = SINK_SOCKET;
    }
    log_level = (int)level;
    log_format = (int)format;
    log_sink = sink;
    memset(&log_limits, 0, sizeof log_limits);
}

void log_set_level(enum log_level level)
{
    log_level = (int)level;
}

uint64_t log_dropped(void)
{
    return log_drops;
}

static void line_add(struct line *line, const char *bytes, size_t length)
{
    if (line->is_full || length > LINE_BYTES - TAIL_ROOM - line->length) {
        line->is_full = true;
        return;
    }
    memcpy(line->text + line->length, bytes, length);
    line->length += length;
}

static void line_text(struct line *line, const char *text)
{
    line_add(line, text, strlen(text));
}

static void __attribute__((format(printf, 2, 3)))
line_printf(struct line *line, const char *format, ...)
{
    char text[64];
    va_list args;
    int length;

    va_start(args, format);
    length = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (length > 0 && (size_t)length < sizeof text)
        line_add(line, text, (size_t)length);
}

/* Length of the well-formed UTF-8 sequence at text, or 0. */
static size_t utf8_length(const unsigned char *text, size_t left)
{
    static const unsigned least[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t length = text[0] < 0x80   ? 1
                    : text[0] < 0xc2 ? 0
                    : text[0] < 0xe0 ? 2
                    : text[0] < 0xf0 ? 3
                    : text[0] < 0xf5 ? 4
                                     : 0;
    unsigned code;

    if (length <= 1 || length > left)
        return length > left ? 0 : length;
    code = text[0] & (0x7fu >> length);
    for (size_t i = 1; i < length; i++) {
        if ((text[i] & 0xc0) != 0x80)
            return 0;
        code = code << 6 | (text[i] & 0x3f);
    }
    if (code < least[length] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000))
        return 0;
    return length;
}

/* A quoted JSON string, good in both formats; what is not UTF-8 becomes U+FFFD. */
static void line_quoted(struct line *line, const char *text, size_t length, bool is_cut)
{
    const unsigned char *at = (const unsigned char *)text;
    size_t i = 0;

    line_add(line, "\"", 1);
    while (i < length) {
        size_t step = utf8_length(at + i, length - i);

        if (step == 0) {
            line_text(line, "\xef\xbf\xbd");
            i++;
            continue;
        }
        if (at[i] < 0x20 || at[i] == 0x7f)
            line_printf(line, "\\u%04x", at[i]);
        else if (at[i] == 0xc2 && at[i + 1] < 0xa0) /* C1 controls steer terminals too */
            line_printf(line, "\\u%04x", at[i + 1]);
        else if (at[i] == '"' || at[i] == '\\')
            line_printf(line, "\\%c", at[i]);
        else
            line_add(line, text + i, step);
        i += step;
    }
    line_text(line, is_cut ? "...\"" : "\"");
}

static bool is_bare(const char *text, size_t length)
{
    for (size_t i = 0; i < length; i++)
        if (text[i] <= ' ' || text[i] >= 0x7f || text[i] == '"' || text[i] == '=' ||
            text[i] == '\\')
            return false;
    return length > 0;
}

static void line_value(struct line *line, const char *text)
{
    size_t length = strnlen(text, TEXT_MAX + 1);
    bool is_cut = length > TEXT_MAX;

    if (is_cut) {
        length = TEXT_MAX;
        while (length && ((unsigned char)text[length] & 0xc0) == 0x80)
            length--; /* not in the middle of a character */
    }
    if (log_format == LOG_FORMAT_TEXT && !is_cut && is_bare(text, length))
        line_add(line, text, length);
    else
        line_quoted(line, text, length, is_cut);
}

static void line_field(struct line *line, const struct log_field *field)
{
    bool is_json = log_format == LOG_FORMAT_JSON;
    size_t start = line->length;
    char masked[TEXT_MAX];

    line_text(line, is_json ? ",\"" : " ");
    line_text(line, field->name);
    if (is_json)
        line_text(line, field->kind == LOG_KIND_MS ? "_ms\":" : "\":");
    else
        line_text(line, "=");
    switch (field->kind) {
    case LOG_KIND_STR:
        line_value(line, field->value.text ? field->value.text : "");
        break;
    case LOG_KIND_ADDR:
        log_mask(field->value.text ? field->value.text : "", masked, sizeof masked);
        line_value(line, masked);
        break;
    case LOG_KIND_I64:
        line_printf(line, "%" PRId64, field->value.i64);
        break;
    case LOG_KIND_MS:
        line_printf(line, is_json ? "%" PRId64 : "%" PRId64 "ms", field->value.i64);
        break;
    case LOG_KIND_U64:
        line_printf(line, "%" PRIu64, field->value.u64);
        break;
    case LOG_KIND_ID:
        line_printf(line, is_json ? "\"%016" PRIx64 "\"" : "%016" PRIx64, field->value.u64);
        break;
    }
    if (line->is_full)
        line->length = start;
}

static void line_build(struct line *line, enum log_level level, const char *event,
                       const struct log_field *fields, unsigned count)
{
    static const char *const levels[] = {"debug", "info", "warn", "error"};
    bool is_json = log_format == LOG_FORMAT_JSON;
    char now[TIMEFMT_BYTES];

    line->length = 0;
    line->is_full = false;
    line_text(line, is_json ? "{\"time\":\"" : "");
    line_text(line, timefmt_wall(clock_machine_us() / 1000, now));
    line_text(line, is_json ? "\",\"level\":\"" : " ");
    line_text(line, levels[level]);
    line_text(line, is_json ? "\",\"event\":\"" : " ");
    line_text(line, event);
    line_text(line, is_json ? "\"" : "");
    for (unsigned i = 0; i < count && !line->is_full; i++)
        line_field(line, &fields[i]);
    if (line->is_full) { /* TAIL_ROOM has been kept for this */
        const char *cut = is_json ? ",\"cut\":true" : " cut=true";

        memcpy(line->text + line->length, cut, strlen(cut));
        line->length += strlen(cut);
    }
    if (is_json)
        line->text[line->length++] = '}';
    line->text[line->length++] = '\n';
}

/* One write that cannot block; false when the line did not go out whole. */
static bool line_write(const struct line *line)
{
    struct pollfd ready = {.fd = STDERR_FILENO, .events = POLLOUT};
    ssize_t wrote;

    if (log_sink == SINK_SOCKET) {
        wrote = send(STDERR_FILENO, line->text, line->length, MSG_DONTWAIT | MSG_NOSIGNAL);
    } else {
        if (log_sink != SINK_FILE &&
            (poll(&ready, 1, 0) != 1 || (ready.revents & (POLLOUT | POLLERR)) != POLLOUT))
            return false;
        do
            wrote = write(STDERR_FILENO, line->text, line->length);
        while (wrote < 0 && errno == EINTR);
    }
    return wrote == (ssize_t)line->length;
}

/* When writing works again, says how many lines are missing. */
static void tell_drops(void)
{
    uint64_t drops = log_drops;
    struct log_field field = LOG_U64("count", drops - log_drops_told);
    struct line line;

    line_build(&line, LOG_LEVEL_WARN, "log.dropped", &field, 1);
    if (line_write(&line))
        log_drops_told = drops;
}

static void write_line(enum log_level level, const char *event, const struct log_field *fields,
                       unsigned count)
{
    struct line line;

    if (log_drops != log_drops_told)
        tell_drops();
    line_build(&line, level, event, fields, count);
    if (!line_write(&line))
        log_drops++;
}

/* The lock is held. */
static void write_suppressed(int64_t now_s)
{
    const struct log_limit_slot *slot;
    uint64_t count;

    while ((slot = log_limit_report(&log_limits, now_s, &count)) != NULL) {
        struct log_field fields[] = {LOG_STR("of", slot->event), LOG_U64("lines", count)};

        write_line(slot->level, "log.suppressed", fields, 2);
    }
}

void log_write(enum log_level level, const char *event, const struct log_field *fields,
               unsigned count)
{
    int64_t now_s = clock_boot_us() / 1000000;
    bool is_taken = true;

    if ((int)level < log_level)
        return;
    if (level > LOG_LEVEL_DEBUG && !atomic_flag_test_and_set(&log_limit_lock)) {
        write_suppressed(now_s);
        is_taken = log_limit_take(&log_limits, level, event, fields, count, now_s);
        atomic_flag_clear(&log_limit_lock);
    }
    if (is_taken)
        write_line(level, event, fields, count);
}

void log_tick(void)
{
    if (!log_limits.suppressed || atomic_flag_test_and_set(&log_limit_lock))
        return;
    write_suppressed(clock_boot_us() / 1000000);
    atomic_flag_clear(&log_limit_lock);
}

void log_panic(const char *file, int line, const char *why)
{
    struct log_field fields[] = {LOG_STR("file", file), LOG_INT("line", line), LOG_STR("why", why)};

    write_line(LOG_LEVEL_ERROR, "panic.raised", fields, 3);
    log_has_panicked = true;
    abort();
}

static const char *crash_name(int signo)
{
    switch (signo) {
    case SIGABRT:
        return "SIGABRT";
    case SIGSEGV:
        return "SIGSEGV";
    case SIGBUS:
        return "SIGBUS";
    case SIGFPE:
        return "SIGFPE";
    default:
        return "SIGILL";
    }
}

static const char *crash_reason(int signo, const siginfo_t *info)
{
    if (info->si_code == SI_USER || (info->si_code == SI_TKILL && info->si_pid != getpid()))
        return "another process sent the signal: systemd does so when the watchdog's time is over";
    if (signo == SIGABRT)
        return "a library called abort(): it gave up, and said why above or not at all";
    return "the processor refused an instruction or an access to memory";
}

/* Only what may be called in a signal handler: no allocation, no stdio, no lock. */
static void on_crash(int signo, siginfo_t *info, void *context)
{
    struct log_field fields[] = {LOG_STR("signal", crash_name(signo)),
                                 LOG_STR("why", crash_reason(signo, info))};
    struct line line;

    (void)context;
    if (!log_has_panicked) {
        line_build(&line, LOG_LEVEL_ERROR, "process.crashed", fields, 2);
        (void)line_write(&line);
    }
    raise(signo); /* pending until this handler, which is no longer installed, has returned */
}

void log_crashes(void)
{
    static const int signals[] = {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL};
    struct sigaction action = {.sa_sigaction = on_crash,
                               .sa_flags = SA_SIGINFO | (int)SA_RESETHAND};
    struct sigaction before;

    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
        if (sigaction(signals[i], NULL, &before) == 0 && !(before.sa_flags & SA_SIGINFO) &&
            before.sa_handler == SIG_DFL)
            sigaction(signals[i], &action, NULL);
}

void fatal(const char *event, const char *why)
{
    struct log_field field = LOG_STR("why", why);

    write_line(LOG_LEVEL_ERROR, event, &field, 1);
    exit(EXIT_FAILURE);
}
