/* SPDX-License-Identifier: MIT */
/*
 * migrate - brings a database to this program's schema
 *
 * The scripts of schemas/sql are compiled in, so a program cannot meet the wrong ones.  Each
 * runs in one transaction under an advisory lock: running twice, or twice at once, is safe.  A
 * database that is newer than the program is refused.  Blocking: for --migrate only.
 */
#ifndef TOCSIN_STORE_MIGRATE_H
#define TOCSIN_STORE_MIGRATE_H
#include "base/err.h"
#include <stddef.h>

/* *from and *to get the versions before and after; why gets a sentence on failure. */
NODISCARD int store_migrate(const char *conninfo, const char *password_file, int *from, int *to,
                            char *why, size_t why_bytes);

/* The version this program wants. */
int store_schema_version(void);

/* Generated from schemas/sql by CMake: in order, ended by a NULL name. */
struct migration {
    const char *name, *sql;
};
extern const struct migration store_migrations[];

#endif
