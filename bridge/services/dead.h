/* SPDX-License-Identifier: MIT */
/*
 * dead - one message on the dead-letter topic for each delivery that has died
 *
 * notify/v1/dlq/{channel}/{reason}; published after the commit.  Admins see the target as it is.
 */
#ifndef TOCSIN_SERVICES_DEAD_H
#define TOCSIN_SERVICES_DEAD_H
#include "base/buf.h"
#include "core/task.h"

#include <stdint.h>

#define DEAD_TOPIC_BYTES 128
/* topic holds DEAD_TOPIC_BYTES; appends the payload. */
void dead_write(const struct task *task, const struct outcome *outcome, int attempts,
                const char *destination, int64_t now_wall_ms, char *topic, struct buf *payload);

#endif
