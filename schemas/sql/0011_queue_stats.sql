-- What happened at each destination, as the bridges tell it every five seconds: sums, in steps of
-- ten seconds, kept for some hours.  What a bridge that is killed had not told yet is missing.
CREATE TABLE queue_flow (
    at          timestamptz NOT NULL,
    destination int NOT NULL,
    completed   bigint NOT NULL,
    failed      bigint NOT NULL,
    other       bigint NOT NULL,
    retried     bigint NOT NULL,
    attempts    bigint NOT NULL,
    tries       bigint NOT NULL,
    PRIMARY KEY (at, destination)
) WITH (fillfactor = 50);

-- What a bridge that lives has of a destination.  breaker: 0 closed, 1 open, 2 half open.
CREATE TABLE bridge_destination (
    epoch       bigint NOT NULL,
    destination int NOT NULL,
    breaker     smallint NOT NULL,
    PRIMARY KEY (epoch, destination)
);
