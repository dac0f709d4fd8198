-- The dead-letter desk, and an audit that stays as it was written.

-- Who resolved it: 'admin', 'retry' (its retry ended otherwise than dead), 'reconnect' (its user
-- came back), 'age'.  `status` is the desk's word and is_dead the delivery's: with status 1
-- (retrying) is_dead says that it still waits to be put into the queue.  `retries` counts how often
-- it was.  `edited` is the content of the last retry, is_pinned that an admin chose its destination.
ALTER TABLE dead_letter
    ADD COLUMN resolved_by text,
    ADD COLUMN retries     smallint NOT NULL DEFAULT 0,
    ADD COLUMN edited      bigint,
    ADD COLUMN is_pinned   boolean NOT NULL DEFAULT false;

-- People look for all of them, not only for those that are dead.
DROP INDEX dead_letter_reason, dead_letter_recipient, dead_letter_service, dead_letter_retrying,
    dead_letter_user;
CREATE INDEX dead_letter_reason ON dead_letter (channel, reason, delivery);
CREATE INDEX dead_letter_recipient ON dead_letter (recipient, delivery);
CREATE INDEX dead_letter_service ON dead_letter (service, delivery);
CREATE INDEX dead_letter_user ON dead_letter (user_id, delivery) WHERE user_id IS NOT NULL;
CREATE INDEX dead_letter_pending ON dead_letter (died_at) WHERE status = 0;
CREATE INDEX dead_letter_waiting ON dead_letter (destination, delivery) WHERE status = 1 AND is_dead;
CREATE INDEX dead_letter_retrying ON dead_letter (delivery) WHERE status = 1 AND NOT is_dead;

-- What an admin sends in place of a notification's own content, which stays as it is.
CREATE TABLE edited_content (
    id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    admin   text NOT NULL,
    content bytea NOT NULL
);

-- 0 for all that the desk has not sent.  1: an admin's retry; 2: by the destination that the admin
-- chose; 4: with content that the admin wrote (dead_letter.edited).
ALTER TABLE delivery ADD COLUMN desk smallint NOT NULL DEFAULT 0;
ALTER TABLE scheduled ADD COLUMN desk smallint NOT NULL DEFAULT 0;

-- `call` is the caller's id of the call, which may have been carried out in several bites, with a
-- row for each.  `before` and `after` are JSON.
ALTER TABLE audit
    ADD COLUMN call   text,
    ADD COLUMN before text,
    ADD COLUMN after  text;

CREATE FUNCTION audit_is_final() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit is never changed' USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER audit_is_final BEFORE UPDATE OR DELETE OR TRUNCATE ON audit
    FOR EACH STATEMENT EXECUTE FUNCTION audit_is_final();
