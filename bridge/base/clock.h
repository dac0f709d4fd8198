/* SPDX-License-Identifier: MIT */
/*
 * clock - the only place that reads a clock
 *
 * core/ never calls these: it is handed the time.  Boot time counts suspension, so that a
 * machine that slept knows its leases are over.  Units are in the names.
 *
 * Wall time is the database's: what it says with each heartbeat, carried on by the boot clock in
 * between.  So all bridges and all rows agree on when something is due or has expired, and a
 * machine whose own clock is set wrong, or is set while we run, neither sends early nor late.
 * Until the database has first been heard it is this machine's.
 */
#ifndef TOCSIN_BASE_CLOCK_H
#define TOCSIN_BASE_CLOCK_H
#include <stdint.h>

int64_t clock_boot_ms(void); /* CLOCK_BOOTTIME; never goes back */
int64_t clock_boot_us(void);
int64_t clock_wall_ms(void); /* since 1970 */
int64_t clock_wall_us(void);
int64_t clock_machine_us(void); /* what this machine believes; for log lines */
/*
 * The least and the most that the database's clock can have said at that moment of the boot clock.
 * While it has lately been set, or is another's after a failover, both of its times count.
 */
int64_t clock_wall_least_us(int64_t boot_us);
int64_t clock_wall_most_us(int64_t boot_us);
/*
 * Somebody whose clock counts said wall_us, at a moment between these two of the boot clock.  An
 * offset that this allows is kept, so that wall time does not tremble with every answer.
 */
void clock_steer(int64_t wall_us, int64_t asked_boot_us, int64_t answered_boot_us);

#endif
