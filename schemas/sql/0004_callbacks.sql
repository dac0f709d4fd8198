-- What providers report of messages that they took.
--
-- Both tables are written once a message and once an event, found by key, and emptied from their
-- old end in small bites.

-- A message that a provider took and may report on: from its id to our delivery.  Filled by the
-- statement that settles the delivery, only for destinations whose provider sends callbacks.
-- `report` is the highest rank heard (bridge/core/report.h): it only grows.
CREATE TABLE sent (
    provider_id    text NOT NULL,
    destination    int NOT NULL,
    delivery       bigint NOT NULL,
    notification   bigint NOT NULL,
    at             timestamptz NOT NULL,
    changed_at     timestamptz,
    number         smallint NOT NULL,
    channel        smallint NOT NULL,
    recipient_kind smallint NOT NULL,
    report         smallint NOT NULL DEFAULT 10,
    reason         smallint NOT NULL DEFAULT 0,
    recipient      text NOT NULL,
    code           text,
    PRIMARY KEY (provider_id, destination)
) WITH (fillfactor = 80);
CREATE INDEX sent_at ON sent (at);

-- What a provider said, as it said it, once.  fold_at: when it is to be folded into `sent`; null
-- when that is done, or its message was not ours.
CREATE TABLE callback_event (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    received_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    fold_at     timestamptz DEFAULT clock_timestamp(),
    at          timestamptz,
    destination int NOT NULL,
    report      smallint NOT NULL,
    reason      smallint NOT NULL,
    key         text NOT NULL,
    provider_id text NOT NULL,
    name        text NOT NULL,
    code        text,
    raw         bytea NOT NULL,
    UNIQUE (destination, key)
) WITH (fillfactor = 90);
CREATE INDEX callback_event_due ON callback_event (fold_at) WHERE fold_at IS NOT NULL;
CREATE INDEX callback_event_received ON callback_event (received_at);
