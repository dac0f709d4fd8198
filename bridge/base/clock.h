/* SPDX-License-Identifier: MIT */
/*
 * clock - the only place that reads a clock
 *
 * core/ never calls these: it is handed the time.  Boot time counts suspension, so that a
 * machine that slept knows its leases are over.  Units are in the names.
 */
#ifndef TOCSIN_BASE_CLOCK_H
#define TOCSIN_BASE_CLOCK_H
#include <stdint.h>

int64_t clock_boot_ms(void); /* CLOCK_BOOTTIME; never goes back */
int64_t clock_boot_us(void);
int64_t clock_wall_ms(void); /* since 1970 */
int64_t clock_wall_us(void);

#endif
