/* SPDX-License-Identifier: MIT */
/*
 * panic - a broken invariant is the end
 *
 * Apart from log.h, so that core/, which may not log, can still say what must hold.
 */
#ifndef TOCSIN_BASE_PANIC_H
#define TOCSIN_BASE_PANIC_H

/* Logs file and line, aborts.  In release builds too. */
#define panic(why)        log_panic(__FILE__, __LINE__, (why))
#define ASSERT(condition) ((condition) ? (void)0 : panic(#condition))
void log_panic(const char *file, int line, const char *why) __attribute__((noreturn));

#endif
