/* SPDX-License-Identifier: MIT */
/*
 * log - one event per line on standard error, and the two ways to die
 *
 * The event is a constant "noun.verb"; everything else is typed fields.  There is no printf
 * in the interface, so nothing personal or secret can be formatted into a line: addresses go
 * through LOG_ADDR, which masks ("+4917*****21", "a***@example.org", "tok:9f3c..."), and
 * secrets and payloads have no field at all.  Text fields are escaped and cut at 256 bytes.
 * A line that cannot be written at once is dropped and counted; logging never blocks.
 * One event writes at most ten lines a second (base/log_limit.h), `debug` excepted: the rest are
 * counted, and `log.suppressed` says how many there were once the second is over.
 *
 * The level, format (key=value or JSON) and drop counter are the one piece of process-wide
 * state, set by log_init() before anything else runs.
 */
#ifndef TOCSIN_BASE_LOG_H
#define TOCSIN_BASE_LOG_H
#include "base/err.h"
#include "base/panic.h"
#include <stdint.h>

enum log_level { LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARN, LOG_LEVEL_ERROR };
enum log_format { LOG_FORMAT_TEXT, LOG_FORMAT_JSON };
enum log_kind { LOG_KIND_STR, LOG_KIND_I64, LOG_KIND_U64, LOG_KIND_ID, LOG_KIND_MS, LOG_KIND_ADDR };

struct log_field {
    const char *name;
    enum log_kind kind;
    union {
        const char *text;
        int64_t i64;
        uint64_t u64;
    } value;
};

#define LOG_STR(n, v)  ((struct log_field){(n), LOG_KIND_STR, {.text = (v)}})
#define LOG_INT(n, v)  ((struct log_field){(n), LOG_KIND_I64, {.i64 = (int64_t)(v)}})
#define LOG_U64(n, v)  ((struct log_field){(n), LOG_KIND_U64, {.u64 = (uint64_t)(v)}})
#define LOG_ID(n, v)   ((struct log_field){(n), LOG_KIND_ID, {.u64 = (uint64_t)(v)}}) /* hex16 */
#define LOG_MS(n, v)   ((struct log_field){(n), LOG_KIND_MS, {.i64 = (int64_t)(v)}})
#define LOG_ADDR(n, v) ((struct log_field){(n), LOG_KIND_ADDR, {.text = (v)}}) /* masked */

/* debug, info, warn or error; nothing else. */
NODISCARD int log_level_parse(const char *name, enum log_level *level);
void log_init(enum log_level level, enum log_format format);
void log_set_level(enum log_level level);
void log_write(enum log_level level, const char *event, const struct log_field *fields,
               unsigned count);
uint64_t log_dropped(void);
/* Writes the counts of suppressed lines that are due; the loop calls it in every turn. */
void log_tick(void);

#define LOG_FIELDS(...)                        \
    ((const struct log_field[]){__VA_ARGS__}), \
        (unsigned)(sizeof((const struct log_field[]){__VA_ARGS__}) / sizeof(struct log_field))
/* Each takes an event and at least one field. */
#define log_debug(event, ...) log_write(LOG_LEVEL_DEBUG, (event), LOG_FIELDS(__VA_ARGS__))
#define log_info(event, ...)  log_write(LOG_LEVEL_INFO, (event), LOG_FIELDS(__VA_ARGS__))
#define log_warn(event, ...)  log_write(LOG_LEVEL_WARN, (event), LOG_FIELDS(__VA_ARGS__))
#define log_error(event, ...) log_write(LOG_LEVEL_ERROR, (event), LOG_FIELDS(__VA_ARGS__))

/* Writes the masked form of an address into out, NUL-terminated; also used for receipts. */
void log_mask(const char *address, char *out, unsigned out_bytes);

/*
 * From here on a signal that ends the process for a fault (SIGABRT, SIGSEGV, SIGBUS, SIGFPE,
 * SIGILL) writes one line first, `process.crashed`: libraries call abort() without a word.  A
 * signal that has a handler already, as under AddressSanitizer, is left alone; panics have their
 * own line.
 */
void log_crashes(void);
/* Cannot start or cannot go on: logs and exits with 1. */
void fatal(const char *event, const char *why) __attribute__((noreturn));

#endif
