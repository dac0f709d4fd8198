/* SPDX-License-Identifier: MIT */
/*
 * crash - labelled places where a test build can be made to die
 *
 * TOCSIN_CRASH_AT=label:n kills the process with SIGKILL when the label is passed for the n-th
 * time.  Compiled in by the debug and asan presets alone.
 */
#ifndef TOCSIN_BASE_CRASH_H
#define TOCSIN_BASE_CRASH_H

#ifdef TOCSIN_CRASH_POINTS
void crash_point(const char *label);
#else
static inline void crash_point(const char *label)
{
    (void)label;
}
#endif

#endif
