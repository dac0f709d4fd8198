/* SPDX-License-Identifier: MIT */
#include "io/memory.h"

#include <malloc.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

/* One line of /proc/self/maps; only code of a file is dropped: it cannot have been written to. */
static void drop_code(const char *line)
{
    unsigned long from, to;
    char permissions[5];

    if (sscanf(line, "%lx-%lx %4s", &from, &to, permissions) != 3)
        return;
    if (strcmp(permissions, "r-xp") != 0 || !strchr(line, '/'))
        return;
    (void)madvise((void *)(uintptr_t)from, to - from, MADV_DONTNEED);
}

void memory_give_back(void)
{
    malloc_trim(0);
}

void memory_trim(void)
{
    FILE *maps = fopen("/proc/self/maps", "r");
    char line[512];

    malloc_trim(0);
    if (!maps)
        return;
    while (fgets(line, sizeof(line), maps))
        drop_code(line);
    fclose(maps);
}
