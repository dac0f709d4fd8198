-- A row of an index has at most 2,704 bytes, and a push token may have 4,096: a delivery to such a
-- one could not end, and was refused with a collapse_key.

-- Only those of users are looked for by their recipient.
DROP INDEX dead_letter_recipient;
CREATE INDEX dead_letter_recipient ON dead_letter (recipient, delivery) WHERE recipient_kind = 0;

-- As many characters as tell nearly all recipients apart; statements compare all of them besides.
ALTER TABLE collapse DROP CONSTRAINT collapse_pkey;
CREATE INDEX collapse_key
    ON collapse (service, key, channel, recipient_kind, left(recipient, 128), delivery);
