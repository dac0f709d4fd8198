-- Events that cannot be matched by the provider's id of the message, and events that cannot be read.

-- `delivery`: our own id where the provider hands it back; the fold looks the message up by it when
-- provider_id is ''.  `is_unread`: proved, but not understood: kept as it came (raw) for people to
-- look at, and never folded.
ALTER TABLE callback_event
    ADD COLUMN delivery  bigint,
    ADD COLUMN is_unread boolean NOT NULL DEFAULT false;
CREATE INDEX callback_event_unread ON callback_event (id) WHERE is_unread;

-- Addresses are brought into one form before they reach the database (bridge/core/address.h), and
-- compared here as bytes.  What was kept before and is ASCII has that form in lower case.
UPDATE delivery SET recipient = lower(recipient COLLATE "C")
    WHERE channel = 3 AND recipient_kind = 4 AND recipient <> lower(recipient COLLATE "C");
UPDATE scheduled SET recipient = lower(recipient COLLATE "C")
    WHERE channel = 3 AND recipient_kind = 4 AND recipient <> lower(recipient COLLATE "C");
UPDATE sent SET recipient = lower(recipient COLLATE "C")
    WHERE channel = 3 AND recipient_kind = 4 AND recipient <> lower(recipient COLLATE "C");
UPDATE dead_letter SET recipient = lower(recipient COLLATE "C")
    WHERE channel = 3 AND recipient_kind = 4 AND recipient <> lower(recipient COLLATE "C");
