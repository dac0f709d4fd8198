-- Trimming without harm.  Making and dropping a partition locks its parent for a moment, and while
-- it waits for that lock behind a long reader everybody else waits behind it: so it waits for a
-- tenth of a second at most, not at all where such a reader can be seen, and is tried again later.
DROP FUNCTION drop_partitions(int);

CREATE INDEX ON ingest_reject (at);

-- Whether a transaction of more than a second has the table: nobody should queue up behind it.
CREATE FUNCTION has_long_reader(parent text) RETURNS boolean LANGUAGE sql AS $$
    SELECT EXISTS (
        SELECT FROM pg_locks l JOIN pg_stat_activity a USING (pid)
        WHERE l.locktype = 'relation' AND l.granted AND a.pid <> pg_backend_pid()
              AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
              AND l.relation IN (SELECT to_regclass(parent)::oid UNION ALL
                                 SELECT inhrelid FROM pg_inherits
                                 WHERE inhparent = to_regclass(parent)::oid)
              AND a.xact_start < clock_timestamp() - interval '1 second')
$$;

-- How many were made; -1: the locks were not to be had, try again later.
CREATE FUNCTION keep_partitions_gently(wait_ms int) RETURNS int LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('lock_timeout', wait_ms::text, true);
    RETURN keep_partitions();
EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
    RETURN -1;
END $$;

-- Takes one partition of its parent away.  What of its notifications is still needed (a delivery
-- that is not over, a dead letter) goes to the default partition: nothing waits for a content that
-- is gone.
CREATE FUNCTION drop_partition(parent text, partition text, day date) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    lo bigint := (extract(epoch FROM day::timestamp) * 1000)::bigint << 22;
    hi bigint := (extract(epoch FROM (day + 1)::timestamp) * 1000)::bigint << 22;
    -- A notification's deliveries have the ids after its own, some of them past midnight.
    past bigint := hi + (600000::bigint << 22);
    needed bigint[];
BEGIN
    IF parent = 'notification' THEN
        needed := ARRAY(
            SELECT notification FROM delivery
                WHERE id >= lo AND id < past AND notification >= lo AND notification < hi
            UNION SELECT notification FROM scheduled
                WHERE id >= lo AND id < past AND notification >= lo AND notification < hi
            UNION SELECT notification FROM dead_letter
                WHERE delivery >= lo AND delivery < past AND notification >= lo
                      AND notification < hi);
    END IF;
    EXECUTE format('ALTER TABLE %I DETACH PARTITION %I', parent, partition);
    IF cardinality(needed) > 0 THEN
        EXECUTE format('INSERT INTO notification SELECT p.* FROM %I p WHERE p.id = ANY ($1)',
                       partition) USING needed;
        -- The books: of its deliveries, those that are over go with their attempts.
        UPDATE notification_default n SET deliveries =
            (SELECT count(*) FROM delivery x WHERE x.id > n.id
                AND x.id < n.id + (300::bigint << 22) AND x.notification = n.id)
            + (SELECT count(*) FROM scheduled x WHERE x.id > n.id
                AND x.id < n.id + (300::bigint << 22) AND x.notification = n.id)
            + (SELECT count(*) FROM dead_letter x WHERE x.delivery > n.id
                AND x.delivery < n.id + (300::bigint << 22) AND x.notification = n.id
                AND x.is_dead)
            WHERE n.id = ANY (needed);
    END IF;
    EXECUTE format('DROP TABLE %I', partition);
END $$;

-- Drops the oldest partition of a day more than keep_days ago (request keys: 15).  1: one was
-- dropped, there may be more; 0: there is none; -1: the locks were not to be had.
CREATE FUNCTION drop_old_partition(keep_days int, wait_ms int) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
    p record;
BEGIN
    IF NOT pg_try_advisory_xact_lock(7406263) THEN
        RETURN -1;
    END IF;
    SELECT c.relname, to_date(substring(c.relname FROM '_(\d{8})$'), 'YYYYMMDD') AS day,
           parent.relname AS parent INTO p
        FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
             JOIN pg_class parent ON parent.oid = i.inhparent
        WHERE parent.relname IN ('notification', 'attempt', 'request_key')
              AND c.relname ~ '_\d{8}$'
              AND to_date(substring(c.relname FROM '_(\d{8})$'), 'YYYYMMDD')
                  < (now() AT TIME ZONE 'UTC')::date
                    - CASE WHEN parent.relname = 'request_key' THEN 15 ELSE keep_days END
        ORDER BY day, parent.relname LIMIT 1;
    IF NOT FOUND THEN
        RETURN 0;
    END IF;
    IF has_long_reader(p.parent) THEN
        RETURN -1;
    END IF;
    PERFORM set_config('lock_timeout', wait_ms::text, true);
    PERFORM drop_partition(p.parent, p.relname, p.day);
    RETURN 1;
EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
    RETURN -1;
END $$;
