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

-- A device token of Apple's is bytes written as hex, stored and compared in lower case.  Of two
-- spellings of one, the one that was seen last stays.
WITH spelled AS (
    SELECT user_id, token,
           row_number() OVER (PARTITION BY user_id, lower(token)
                              ORDER BY last_seen DESC, changed_at DESC, token) AS place
      FROM target
     WHERE channel = 1
       AND token ~ '^([0-9A-Fa-f]{2}){32,100}$'
)
DELETE FROM target t
 USING spelled s
 WHERE t.channel = 1
   AND t.user_id = s.user_id
   AND t.token = s.token
   AND s.place > 1;
UPDATE target
   SET token = lower(token),
       address = CASE WHEN lower(address) = lower(token) THEN lower(address) ELSE address END
 WHERE channel = 1
   AND token ~ '^([0-9A-Fa-f]{2}){32,100}$'
   AND (token <> lower(token) OR address <> lower(address));
INSERT INTO suppression (channel, address, scope, reason, source, created_at)
    SELECT channel, lower(address), scope, reason, source, created_at
      FROM suppression
     WHERE channel = 1
       AND address ~ '^([0-9A-Fa-f]{2}){32,100}$'
       AND address <> lower(address)
    ON CONFLICT DO NOTHING;
DELETE FROM suppression
 WHERE channel = 1
   AND address ~ '^([0-9A-Fa-f]{2}){32,100}$'
   AND address <> lower(address);
