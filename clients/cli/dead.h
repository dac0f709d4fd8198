/* SPDX-License-Identifier: MIT */
/*
 * dead - dead letters, their statistics and the audit, as people read them
 *
 * Ownership: results are borrowed.
 */
#ifndef CLI_DEAD_H
#define CLI_DEAD_H
#include <jansson.h>

void show_dead_list(const json_t *result);
void show_dead_entry(const json_t *result);
void show_dead_count(const json_t *result);
void show_dead_stats(const json_t *result);
/* Whichever of retried, resolved and ignored the result says. */
void show_dead_change(const json_t *result);
void show_audit(const json_t *result);
#endif
