/* SPDX-License-Identifier: MIT */
/*
 * crash - labelled places where a test build can be made to die
 *
 * TOCSIN_CRASH_AT=label:n kills the process with SIGKILL when the label is passed for the n-th
 * time, TOCSIN_CRASH_AT=label=text when it is passed with bytes that contain the text.  Compiled in
 * by the debug and asan presets alone.
 */
#ifndef TOCSIN_BASE_CRASH_H
#define TOCSIN_BASE_CRASH_H

#include <stddef.h>

#ifdef TOCSIN_CRASH_POINTS
void crash_point(const char *label);
/* bytes: what is at work here. */
void crash_point_for(const char *label, const void *bytes, size_t length);
#else
static inline void crash_point(const char *label)
{
    (void)label;
}
static inline void crash_point_for(const char *label, const void *bytes, size_t length)
{
    (void)label, (void)bytes, (void)length;
}
#endif

#endif
