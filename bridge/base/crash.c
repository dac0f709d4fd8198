/* SPDX-License-Identifier: MIT */
#include "base/crash.h"

#ifdef TOCSIN_CRASH_POINTS
#include <signal.h>
#include <stdlib.h>
#include <string.h>

void crash_point(const char *label)
{
    static unsigned passed;
    const char *where = getenv("TOCSIN_CRASH_AT");
    const char *colon = where ? strchr(where, ':') : NULL;
    size_t length = strlen(label);

    if (!colon || (size_t)(colon - where) != length || strncmp(where, label, length) != 0)
        return;
    if (++passed == (unsigned)strtoul(colon + 1, NULL, 10))
        raise(SIGKILL);
}

void crash_point_for(const char *label, const void *bytes, size_t length)
{
    const char *where = getenv("TOCSIN_CRASH_AT");
    const char *sign = where ? strchr(where, '=') : NULL;

    if (!sign || !bytes || (size_t)(sign - where) != strlen(label) ||
        strncmp(where, label, strlen(label)) != 0)
        return;
    if (memmem(bytes, length, sign + 1, strlen(sign + 1)))
        raise(SIGKILL);
}
#else
typedef int crash_is_compiled_out;
#endif
