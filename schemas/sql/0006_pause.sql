-- What an admin has stopped: one channel or one destination a row, until it is resumed.
-- destination.paused_until is another thing: a provider's "not now", which ends by itself.
CREATE TABLE admin_pause (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    channel     smallint UNIQUE,
    destination int UNIQUE REFERENCES destination,
    paused_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    paused_by   text NOT NULL,
    note        text,
    CHECK (num_nonnulls(channel, destination) = 1)
);
