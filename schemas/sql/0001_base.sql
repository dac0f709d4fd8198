-- The tables of Tocsin.  docs/database.md says what each is for and how it is kept small.
--
-- Hot and cold are apart: `notification` is written once and never updated, `delivery` is
-- narrow and near empty, `attempt` is append-only.  Nothing that grows is updated, and what
-- grows is dropped by partition.

-- A bridge that is alive.  One row a process; its epoch is the fence on all it has leased.
-- A row that is gone means that the epoch is over.
CREATE SEQUENCE epoch_sequence;
CREATE TABLE bridge (
    epoch       bigint PRIMARY KEY,
    node        int NOT NULL UNIQUE,
    name        text,
    host        text NOT NULL,
    started_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    lease_until timestamptz NOT NULL
) WITH (fillfactor = 20);

-- Milliseconds and a counter: never repeated, also after a failover that lost the sequence's
-- last values.
CREATE FUNCTION next_epoch() RETURNS bigint LANGUAGE sql VOLATILE AS $$
    SELECT ((extract(epoch FROM clock_timestamp()) * 1000)::bigint << 16)
           | (nextval('epoch_sequence') & 65535)
$$;

-- An ingest session and the epoch that reads it.
CREATE TABLE lane (
    name  text PRIMARY KEY,
    epoch bigint
) WITH (fillfactor = 20);
INSERT INTO lane (name) VALUES ('requests'), ('users'), ('admins');

-- A destination's number, the same for all bridges.
CREATE TABLE destination (
    id      int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name    text NOT NULL UNIQUE,
    channel smallint NOT NULL,
    adapter text NOT NULL
);

-- Which request ids were seen.  `day` is a function of the key, so that the key is unique over
-- all partitions: the date in a UUIDv7, or 1970-01-01 for every other id.  `key` is 48 bits of
-- UUIDv7 time and 80 of a hash of service and id, or 128 of the hash.
CREATE TABLE request_key (
    day          date NOT NULL,
    key          uuid NOT NULL,
    digest       bigint NOT NULL,
    notification bigint NOT NULL,
    PRIMARY KEY (day, key)
) PARTITION BY RANGE (day);
CREATE TABLE request_key_any PARTITION OF request_key
    FOR VALUES FROM ('1970-01-01') TO ('1970-01-02') PARTITION BY HASH (key);
CREATE TABLE request_key_any_0 PARTITION OF request_key_any FOR VALUES WITH (MODULUS 4, REMAINDER 0);
CREATE TABLE request_key_any_1 PARTITION OF request_key_any FOR VALUES WITH (MODULUS 4, REMAINDER 1);
CREATE TABLE request_key_any_2 PARTITION OF request_key_any FOR VALUES WITH (MODULUS 4, REMAINDER 2);
CREATE TABLE request_key_any_3 PARTITION OF request_key_any FOR VALUES WITH (MODULUS 4, REMAINDER 3);
CREATE INDEX ON request_key_any USING brin (notification);

-- What is to be told.  Never updated.
CREATE TABLE notification (
    id           bigint NOT NULL,
    service      text NOT NULL,
    request      text NOT NULL,
    type         text NOT NULL,
    priority     smallint NOT NULL,
    receipts     smallint NOT NULL,
    deliveries   int NOT NULL,
    created_at   timestamptz NOT NULL,
    expires_at   timestamptz,
    collapse_key text,
    retry        text,
    content      bytea NOT NULL,
    PRIMARY KEY (id)
) PARTITION BY RANGE (id);
CREATE TABLE notification_default PARTITION OF notification DEFAULT;

-- What is still to be done.  state: 0 ready, 1 leased, 2 held.
CREATE TABLE delivery (
    id             bigint PRIMARY KEY,
    notification   bigint NOT NULL,
    due_at         timestamptz NOT NULL,
    epoch          bigint,
    seq            bigint NOT NULL DEFAULT 0,
    destination    int NOT NULL,
    channel        smallint NOT NULL,
    priority       smallint NOT NULL,
    state          smallint NOT NULL,
    attempts       smallint NOT NULL DEFAULT 0,
    crashes        smallint NOT NULL DEFAULT 0,
    last_reason    smallint NOT NULL DEFAULT 0,
    recipient_kind smallint NOT NULL,
    recipient      text NOT NULL
) WITH (fillfactor = 80, vacuum_truncate = off,
        autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000,
        autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 100000,
        autovacuum_vacuum_cost_delay = 0,
        autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 100000);
CREATE INDEX delivery_ready ON delivery (destination, priority, due_at, id) WHERE state = 0;

-- The same for what is due in more than ten minutes; a chore moves it over in time.
CREATE TABLE scheduled (LIKE delivery INCLUDING DEFAULTS);
ALTER TABLE scheduled ADD PRIMARY KEY (id);
CREATE INDEX scheduled_due ON scheduled (due_at);

-- What was done: one row a try.  `state` is set on the row that ends the delivery.
CREATE TABLE attempt (
    at           timestamptz NOT NULL,
    delivery     bigint NOT NULL,
    notification bigint NOT NULL,
    epoch        bigint NOT NULL,
    destination  int NOT NULL,
    status       int NOT NULL,
    number       smallint NOT NULL,
    channel      smallint NOT NULL,
    outcome      smallint NOT NULL,
    reason       smallint NOT NULL,
    segments     smallint NOT NULL,
    state        smallint,
    recipient_kind smallint NOT NULL,
    recipient    text NOT NULL,
    code         text,
    provider_id  text,
    detail       text
) PARTITION BY RANGE (at);
CREATE TABLE attempt_default PARTITION OF attempt DEFAULT;
CREATE INDEX ON attempt USING brin (delivery) WITH (pages_per_range = 16);
CREATE INDEX ON attempt USING brin (at) WITH (pages_per_range = 16);

-- What could not be done.  status: 0 pending_review, 1 retrying, 2 resolved, 3 ignored.
-- is_dead is false while a retry is under way or has ended well.
CREATE TABLE dead_letter (
    delivery       bigint PRIMARY KEY,
    notification   bigint NOT NULL,
    service        text NOT NULL,
    request        text NOT NULL,
    type           text NOT NULL,
    seq            bigint NOT NULL,
    destination    int NOT NULL,
    channel        smallint NOT NULL,
    priority       smallint NOT NULL,
    attempts       smallint NOT NULL,
    reason         smallint NOT NULL,
    status         smallint NOT NULL DEFAULT 0,
    is_dead        boolean NOT NULL DEFAULT true,
    recipient_kind smallint NOT NULL,
    recipient      text NOT NULL,
    died_at        timestamptz NOT NULL,
    changed_at     timestamptz,
    changed_by     text,
    code           text,
    detail         text,
    note           text
);
CREATE INDEX dead_letter_reason ON dead_letter (channel, reason, delivery) WHERE is_dead;
CREATE INDEX dead_letter_recipient ON dead_letter (recipient, delivery) WHERE is_dead;
CREATE INDEX dead_letter_service ON dead_letter (service, delivery) WHERE is_dead;
CREATE INDEX dead_letter_retrying ON dead_letter (delivery) WHERE status = 1;

-- A user's inbox and its counters.  state: 0 unread, 1 read, 2 archived, 3 deleted.
CREATE TABLE inbox_user (
    user_id  text PRIMARY KEY,
    last_seq bigint NOT NULL,
    unread   bigint NOT NULL,
    unseen   bigint NOT NULL
) WITH (fillfactor = 50, autovacuum_vacuum_cost_delay = 0);
CREATE TABLE inbox (
    user_id  text NOT NULL,
    seq      bigint NOT NULL,
    delivery bigint NOT NULL,
    state    smallint NOT NULL DEFAULT 0,
    PRIMARY KEY (user_id, seq)
) WITH (fillfactor = 90);

-- What could not be stored as it was: kept for people, out of the way of the rest.
CREATE TABLE ingest_reject (
    at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    topic   text NOT NULL,
    why     text NOT NULL,
    payload bytea NOT NULL
);

-- Every change an admin made.
CREATE TABLE audit (
    id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    admin  text NOT NULL,
    action text NOT NULL,
    params text NOT NULL,
    result text NOT NULL
);

-- Makes the day partitions of one table from `first` to `last`; safe to run twice.
-- A notification's id starts with its milliseconds since 1970, shifted by 22 bits.
CREATE FUNCTION make_partitions(parent text, first date, last date) RETURNS int
LANGUAGE plpgsql AS $$
DECLARE
    d    date;
    lo   text;
    hi   text;
    made int := 0;
BEGIN
    PERFORM pg_advisory_xact_lock(7406263);
    FOR d IN SELECT generate_series(first, last, '1 day')::date LOOP
        CONTINUE WHEN to_regclass(format('%s_%s', parent, to_char(d, 'YYYYMMDD'))) IS NOT NULL;
        lo := d::text;
        hi := (d + 1)::text;
        IF parent = 'notification' THEN
            lo := ((extract(epoch FROM d::timestamp) * 1000)::bigint << 22)::text;
            hi := ((extract(epoch FROM (d + 1)::timestamp) * 1000)::bigint << 22)::text;
        ELSIF parent = 'attempt' THEN
            lo := lo || ' 00:00:00+00';
            hi := hi || ' 00:00:00+00';
        END IF;
        EXECUTE format('CREATE TABLE %I PARTITION OF %I FOR VALUES FROM (%L) TO (%L)',
                       parent || '_' || to_char(d, 'YYYYMMDD'), parent, lo, hi);
        made := made + 1;
    END LOOP;
    RETURN made;
END $$;

-- What must exist today; run at migration and daily.  Seven days ahead, so that a week without
-- upkeep harms nothing.
CREATE FUNCTION keep_partitions() RETURNS int LANGUAGE sql AS $$
    SELECT make_partitions('notification', t.today - 1, t.today + 7)
         + make_partitions('attempt', t.today - 1, t.today + 7)
         + make_partitions('request_key', t.today - 15, t.today + 8)
    FROM (SELECT (now() AT TIME ZONE 'UTC')::date AS today) t
$$;
SELECT keep_partitions();

-- Drops the partitions of days more than keep_days ago.  Request keys have their own term.
CREATE FUNCTION drop_partitions(keep_days int) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
    p       record;
    dropped int := 0;
BEGIN
    PERFORM pg_advisory_xact_lock(7406263);
    FOR p IN
        SELECT c.relname, to_date(substring(c.relname FROM '_(\d{8})$'), 'YYYYMMDD') AS day,
               parent.relname AS parent
        FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
             JOIN pg_class parent ON parent.oid = i.inhparent
        WHERE parent.relname IN ('notification', 'attempt', 'request_key')
              AND c.relname ~ '_\d{8}$'
    LOOP
        CONTINUE WHEN p.day >= (now() AT TIME ZONE 'UTC')::date
                               - CASE WHEN p.parent = 'request_key' THEN 15 ELSE keep_days END;
        EXECUTE format('DROP TABLE %I', p.relname);
        dropped := dropped + 1;
    END LOOP;
    RETURN dropped;
END $$;

-- Conservation: accepted = in_flight + the final states.  Zero in `missing`, always.
CREATE VIEW conservation AS
SELECT a.accepted, f.in_flight, t.sent, t.delivered, x.dead, t.suppressed, t.expired, t.cancelled,
       a.accepted - f.in_flight - x.dead
           - t.sent - t.delivered - t.suppressed - t.expired - t.cancelled AS missing
FROM (SELECT coalesce(sum(deliveries), 0)::bigint AS accepted FROM notification) a,
     (SELECT (SELECT count(*) FROM delivery) + (SELECT count(*) FROM scheduled) AS in_flight) f,
     (SELECT count(*) AS dead FROM dead_letter WHERE is_dead) x,
     (SELECT count(*) FILTER (WHERE state = 3) AS sent,
             count(*) FILTER (WHERE state = 4) AS delivered,
             count(*) FILTER (WHERE state = 6) AS suppressed,
             count(*) FILTER (WHERE state = 7) AS expired,
             count(*) FILTER (WHERE state = 8) AS cancelled
      FROM attempt WHERE state IS NOT NULL) t;
