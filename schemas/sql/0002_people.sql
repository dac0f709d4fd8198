-- How users are reached, and who must not be.  docs/people.md says how both are used.

-- A user's address on a channel.  `kind` is the delivery's recipient_kind; `token` is what the
-- user's device calls it (a Web Push endpoint), `address` what the provider is given.  `reason` is
-- why it is not used any more.
CREATE TABLE target (
    user_id    text NOT NULL,
    channel    smallint NOT NULL,
    kind       smallint NOT NULL,
    platform   text NOT NULL DEFAULT '',
    token      text COLLATE "C" NOT NULL,
    address    text COLLATE "C" NOT NULL,
    is_active  boolean NOT NULL DEFAULT true,
    reason     smallint NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT now(),
    changed_at timestamptz NOT NULL DEFAULT now(),
    last_seen  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (user_id, channel, token)
);
CREATE INDEX target_address ON target (address, channel);

-- Addresses that nothing is sent to, whoever they belong to.  An email address is in lower case;
-- `scope` is a notification's type, or '' for all of them.
CREATE TABLE suppression (
    id         bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
    channel    smallint NOT NULL,
    address    text COLLATE "C" NOT NULL,
    scope      text NOT NULL DEFAULT '',
    reason     smallint NOT NULL,
    source     text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (channel, address, scope)
);
