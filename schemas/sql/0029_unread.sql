-- Events that cannot be matched by the provider's id of the message, and events that cannot be read.

-- `delivery`: our own id where the provider hands it back; the fold looks the message up by it when
-- provider_id is ''.  `is_unread`: proved, but not understood: kept as it came (raw) for people to
-- look at, and never folded.
ALTER TABLE callback_event
    ADD COLUMN delivery  bigint,
    ADD COLUMN is_unread boolean NOT NULL DEFAULT false;
CREATE INDEX callback_event_unread ON callback_event (id) WHERE is_unread;

-- An address is stored as it is sent, and compared by its key (bridge/core/address.h).  Of an email
-- address (channel 3) the stored form differs from the key in the case of ASCII letters only.
CREATE FUNCTION address_key(channel int, address text) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE channel WHEN 3 THEN lower(address COLLATE "C") ELSE address END
$$;

-- suppression holds keys, as do `token` of a target in email and `recipient` in collapse.
DROP INDEX target_address;
CREATE INDEX target_key ON target (address_key(channel, address), channel);
UPDATE collapse SET recipient = address_key(channel, recipient)
    WHERE channel = 3 AND recipient <> address_key(channel, recipient);
