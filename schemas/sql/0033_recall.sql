-- What was called back (request.cancel, request.retract, an acknowledgement) or replaced while a bridge
-- had it in memory: the bridge that has it, or claims it later, ends it in place of sending it.  id is a
-- notification's or a delivery's; reason 0 ends as cancelled, 24 as replaced.
CREATE TABLE recall (
    id bigint PRIMARY KEY,
    reason smallint NOT NULL,
    at timestamptz NOT NULL
);
CREATE INDEX recall_at ON recall (at);
