/* SPDX-License-Identifier: MIT */
/*
 * audit - audit.list: admins read what admins changed
 *
 * Rows are written by those who change something, in the same transaction where it is one.
 * There is no way here or elsewhere to change one.
 */
#ifndef TOCSIN_SERVICES_AUDIT_H
#define TOCSIN_SERVICES_AUDIT_H
#include "services/asks.h"

/* The store is borrowed for as long as asks lives. */
void audit_open(struct asks *asks, struct store *store);

#endif
