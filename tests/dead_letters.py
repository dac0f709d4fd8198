# SPDX-License-Identifier: MIT
"""Dead letters by the thousand, as bridges would have left them, without the days it takes."""


def make(stack, count, first=1, reason=1, destination="twilio", kind="bulk.test", days_ago=0):
    """SMS to numbers of their own, each with a body of its own; `reason` by its number."""
    stack.postgres.sql("""
        with x as (select (extract(epoch from now() - interval '%(days)d days')::bigint * 1000 << 22)
                   - 1000000000 + g * 2 as id, g from generate_series(%(first)d, %(last)d) g),
        d as (select id from destination where name = '%(destination)s'),
        n as (insert into notification (id, service, request, type, priority, receipts, deliveries,
              created_at, content) select x.id, 'bulk', 'bulk-' || g, '%(kind)s', 2, 0, 1, now(),
              convert_to('{"type":"%(kind)s","priority":"normal","title":"t","body":"number ' || g
                         || '"}', 'UTF8') from x),
        a as (insert into attempt (at, delivery, notification, epoch, destination, status, number,
              channel, outcome, reason, segments, state, recipient_kind, recipient)
              select now(), x.id + 1, x.id, 1, d.id, 0, 1, 2, 5, %(reason)d, 0, 5, 5,
              '+1555' || lpad(g::text, 7, '0') from x, d)
        insert into dead_letter (delivery, notification, service, request, type, seq, destination,
              channel, priority, attempts, reason, recipient_kind, recipient, died_at)
        select x.id + 1, x.id, 'bulk', 'bulk-' || g, '%(kind)s', 0, d.id, 2, 2, 1, %(reason)d, 5,
              '+1555' || lpad(g::text, 7, '0'), now() from x, d
        """ % {"first": first, "last": first + count - 1, "reason": reason,
               "destination": destination, "kind": kind, "days": days_ago})
