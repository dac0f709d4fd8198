/* SPDX-License-Identifier: MIT */
/*
 * service_manager - tells systemd how we are (sd_notify's protocol: one datagram)
 *
 * Does nothing where NOTIFY_SOCKET is not set.
 */
#ifndef TOCSIN_IO_SERVICE_MANAGER_H
#define TOCSIN_IO_SERVICE_MANAGER_H
#include <stdint.h>

/* "READY=1", "STOPPING=1", "WATCHDOG=1", "RELOADING=1" or "STATUS=...". */
void service_manager_tell(const char *state);
/* How often WATCHDOG=1 is wanted: half of WATCHDOG_USEC; 0 when it is not. */
int64_t service_manager_watchdog_ms(void);

#endif
