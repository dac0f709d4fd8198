-- What was asked for at once was due since 1970, and passed over by claims that begin near the time
-- of what was claimed last.  It is due since it was accepted.
UPDATE delivery SET due_at = to_timestamp((id >> 22) / 1000.0) WHERE due_at < '2020-01-01Z';
