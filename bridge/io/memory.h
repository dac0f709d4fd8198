/* SPDX-License-Identifier: MIT */
/*
 * memory - gives back what only the start, or a burst, needed
 *
 * Thirty shared libraries run their initialisers once, and every page of code they touch stays
 * resident for as long as there is no pressure.  Dropping the clean, file-backed code pages costs
 * a few soft faults later, for those that are really used; what is left is the working set.
 */
#ifndef TOCSIN_IO_MEMORY_H
#define TOCSIN_IO_MEMORY_H

void memory_trim(void);
/* Gives back what was freed, and nothing else: some milliseconds when that is much. */
void memory_give_back(void);

#endif
