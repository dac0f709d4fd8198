-- What was begun and may have been sent: looked up by the claim of every delivery that was leased
-- in a crash.  The block range index alone made that a walk through what the day had appended.
CREATE INDEX attempt_started ON attempt (delivery) WHERE outcome = 8 AND state IS NULL;
