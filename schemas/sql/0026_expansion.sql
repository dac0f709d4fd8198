-- A request that is accepted and whose deliveries are not all made yet, because they are many.  The
-- bridge that reads the requests lane makes them, one slice of recipients in a transaction, in turns by
-- service.  A row leaves with its last slice.
CREATE TABLE expansion (
    notification bigint PRIMARY KEY,
    service      text NOT NULL,
    accepted_ms  bigint NOT NULL,   -- wall: the time that its `ttl` counts from
    next         int NOT NULL,      -- the first recipient that has no deliveries yet
    next_id      bigint NOT NULL,   -- the id of the next delivery
    request      bytea NOT NULL     -- the request as it came
) WITH (fillfactor = 50);
CREATE INDEX expansion_turn ON expansion (service, notification);

-- How often the lane's reader was lost without having given the lane back since it last acknowledged.
ALTER TABLE lane ADD COLUMN crashes int NOT NULL DEFAULT 0;

-- The message that a lane's reader has in hand while it reads one by one after a crash, by its
-- digest, and at how many crashes it was in hand: one that is at too many is set aside.
ALTER TABLE lane
    ADD COLUMN in_hand bytea,
    ADD COLUMN in_hand_crashes int NOT NULL DEFAULT 0;
