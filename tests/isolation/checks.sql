-- What no row may ever hold: a value that stands for "none" or "now" where it is also compared,
-- ordered or added to.  In the databases of tests only, where it fails at the first insert.
ALTER TABLE delivery ADD CONSTRAINT due_is_a_time
    CHECK (due_at > '2020-01-01Z' AND due_at < '2200-01-01Z');
ALTER TABLE scheduled ADD CONSTRAINT due_is_a_time
    CHECK (due_at > '2020-01-01Z' AND (due_at < '2200-01-01Z' OR (due_at = 'infinity' AND head <> 0)));
ALTER TABLE delivery ADD CONSTRAINT epoch_only_when_leased CHECK ((state = 1) = (epoch IS NOT NULL));
ALTER TABLE delivery ADD CONSTRAINT ids_are_real CHECK (id > 0 AND notification > 0 AND head >= 0);
ALTER TABLE scheduled ADD CONSTRAINT ids_are_real CHECK (id > 0 AND notification > 0 AND head >= 0);
ALTER TABLE delivery ADD CONSTRAINT recipient_is_named CHECK (recipient <> '' OR recipient_kind = 2);
ALTER TABLE scheduled ADD CONSTRAINT recipient_is_named CHECK (recipient <> '' OR recipient_kind = 2);
ALTER TABLE notification ADD CONSTRAINT times_are_times
    CHECK (created_at > '2020-01-01Z' AND (expires_at IS NULL OR isfinite(expires_at)));
ALTER TABLE notification ADD CONSTRAINT texts_are_texts
    CHECK (service <> '' AND type <> '' AND collapse_key <> '' AND retry <> '');
ALTER TABLE attempt ADD CONSTRAINT at_is_a_time CHECK (at > '2020-01-01Z' AND isfinite(at));
ALTER TABLE attempt ADD CONSTRAINT texts_are_texts
    CHECK (code <> '' AND provider_id <> '' AND user_id <> '');
ALTER TABLE dead_letter ADD CONSTRAINT died_is_a_time CHECK (died_at > '2020-01-01Z' AND isfinite(died_at));
ALTER TABLE dead_letter ADD CONSTRAINT texts_are_texts
    CHECK (code <> '' AND user_id <> '' AND reason > 0);
ALTER TABLE inbox ADD CONSTRAINT ids_are_real CHECK (seq > 0 AND delivery > 0 AND notification > 0);
ALTER TABLE inbox_user ADD CONSTRAINT counts_are_counts
    CHECK (last_seq >= 0 AND unread >= 0 AND unseen >= 0);
ALTER TABLE inbox_expiry ADD CONSTRAINT expires_is_a_time CHECK (isfinite(expires_at));
ALTER TABLE sent ADD CONSTRAINT texts_are_texts
    CHECK (provider_id <> '' AND user_id <> '' AND code <> '' AND at > '2020-01-01Z' AND isfinite(at));
ALTER TABLE callback_event ADD CONSTRAINT at_is_a_time CHECK (at > '1970-01-02Z' AND isfinite(at));
ALTER TABLE callback_event ADD CONSTRAINT texts_are_texts CHECK (key <> '' AND code <> '');
ALTER TABLE bridge ADD CONSTRAINT told_is_a_time
    CHECK (epoch > 0 AND node > 0 AND told_until > '2020-01-01Z' AND isfinite(told_until));
ALTER TABLE untold ADD CONSTRAINT since_is_a_time CHECK (since > '2020-01-01Z' AND isfinite(since));
ALTER TABLE destination ADD CONSTRAINT texts_are_texts CHECK (name <> '' AND adapter <> '');
ALTER TABLE target ADD CONSTRAINT texts_are_texts CHECK (user_id <> '' AND address <> '');
ALTER TABLE suppression ADD CONSTRAINT address_is_named CHECK (address <> '');
ALTER TABLE collapse ADD CONSTRAINT key_is_named CHECK (service <> '' AND key <> '');
ALTER TABLE request_key ADD CONSTRAINT day_is_a_day
    CHECK (day = '1970-01-01' OR day > '2020-01-01');
ALTER TABLE alert ADD CONSTRAINT since_is_a_time CHECK (isfinite(since));
