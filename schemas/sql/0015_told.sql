-- What providers report later, told for certain, and failures among it that become dead letters.

-- The epoch that has to tell the service what an event moved; null when the broker has it, or
-- nothing was moved.  Whoever finds one whose epoch is over tells it in its place.
ALTER TABLE callback_event ADD COLUMN teller bigint;
CREATE INDEX callback_event_untold ON callback_event (teller) WHERE teller IS NOT NULL;

-- An attempt of outcome 12 (reported) is no try.  With state 5 it takes back the delivery's `sent`:
-- the provider said later that it had failed, and it is in `dead_letter`.  With state 4 the
-- provider took that back: it had arrived after all, and is no dead letter any more.
CREATE OR REPLACE VIEW conservation AS
SELECT a.accepted, f.in_flight, t.sent, t.delivered, x.dead, t.suppressed, t.expired, t.cancelled,
       a.accepted - f.in_flight - x.dead
           - t.sent - t.delivered - t.suppressed - t.expired - t.cancelled AS missing
FROM (SELECT coalesce(sum(deliveries), 0)::bigint AS accepted FROM notification) a,
     (SELECT (SELECT count(*) FROM delivery) + (SELECT count(*) FROM scheduled) AS in_flight) f,
     (SELECT count(*) AS dead FROM dead_letter WHERE is_dead) x,
     (SELECT count(*) FILTER (WHERE state = 3) - count(*) FILTER (WHERE outcome = 12 AND state = 5)
                 AS sent,
             count(*) FILTER (WHERE state = 4) AS delivered,
             count(*) FILTER (WHERE state = 6) AS suppressed,
             count(*) FILTER (WHERE state = 7) AS expired,
             count(*) FILTER (WHERE state = 8) AS cancelled
      FROM attempt WHERE state IS NOT NULL) t;
