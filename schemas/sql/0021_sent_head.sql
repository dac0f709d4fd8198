-- What a provider took as one of several steps (0017): its head, so that a failure or a delivery that
-- is reported later moves the steps that are to come.  0: it goes by itself.
ALTER TABLE sent ADD COLUMN head bigint NOT NULL DEFAULT 0;
CREATE INDEX sent_head ON sent (head) WHERE head <> 0;
