-- What leaves inboxes by itself or by its service, and what is told to many at once.

-- Deliveries with a collapse_key, the newest of each key; an older one stays only until the sweep
-- that ends it.  is_new: no sweep has seen it yet.
CREATE TABLE collapse (
    service        text COLLATE "C" NOT NULL,
    key            text COLLATE "C" NOT NULL,
    channel        smallint NOT NULL,
    recipient_kind smallint NOT NULL,
    recipient      text COLLATE "C" NOT NULL,
    delivery       bigint NOT NULL,
    is_new         boolean NOT NULL DEFAULT true,
    PRIMARY KEY (service, key, channel, recipient_kind, recipient, delivery)
) WITH (fillfactor = 80);
CREATE INDEX collapse_new ON collapse (is_new, delivery);

-- When entries of inboxes expire.
CREATE TABLE inbox_expiry (
    expires_at timestamptz NOT NULL,
    delivery   bigint NOT NULL,
    PRIMARY KEY (expires_at, delivery)
);

-- What was told to everybody, or to a role: one row, whoever may read it.  Its numbers are in the
-- order of commits, since the row of shared_head is locked for each.
CREATE TABLE shared (
    seq          bigint PRIMARY KEY,
    delivery     bigint NOT NULL UNIQUE,
    notification bigint NOT NULL,
    role         text COLLATE "C" NOT NULL,
    shown_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    is_gone      boolean NOT NULL DEFAULT false
);
-- cut_seq: the highest number that retention has taken.
CREATE TABLE shared_head (
    is_only  boolean PRIMARY KEY DEFAULT true CHECK (is_only),
    last_seq bigint NOT NULL,
    cut_seq  bigint NOT NULL
) WITH (fillfactor = 20);
INSERT INTO shared_head (last_seq, cut_seq) VALUES (0, 0);

-- What a user made of one of them: a row only for those who did anything.  As in inbox.
CREATE TABLE shared_mark (
    user_id text NOT NULL,
    seq     bigint NOT NULL,
    state   smallint NOT NULL,
    is_seen boolean NOT NULL,
    PRIMARY KEY (user_id, seq)
) WITH (fillfactor = 90);
CREATE INDEX shared_mark_seq ON shared_mark (seq);
