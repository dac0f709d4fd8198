/* SPDX-License-Identifier: MIT */
/*
 * statements - what each statement of store/ that changes deliveries moves, and under what guard
 *
 * The models' moves are these statements'; here they are held against the SQL as it is sent.
 */
#ifndef TOCSIN_TESTS_MODEL_STATEMENTS_H
#define TOCSIN_TESTS_MODEL_STATEMENTS_H

/*
 * Prints each move that a statement makes ("statement claim ready leased") and returns 0; says
 * what is wrong and returns 1 when a statement lacks its guard or makes a move that no arrow
 * joins, or when one that changes deliveries is not known here.
 */
int statements_check(void);

#endif
