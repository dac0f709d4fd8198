-- Upkeep that one bad day does not stop, a conservation view that counts whole notifications, and
-- a role for bridges that may change rows and nothing else.

-- ---- conservation across the end of a kept day ----

-- Notifications are dropped by the day they were accepted, attempts by the day they ended.  From
-- this id on both are complete; it only grows.
CREATE TABLE conservation_since (
    is_only  boolean PRIMARY KEY DEFAULT true CHECK (is_only),
    first_id bigint NOT NULL
) WITH (fillfactor = 20);

-- What has been dropped so far lies before the oldest day that is left.
INSERT INTO conservation_since (first_id)
SELECT CASE WHEN EXISTS (SELECT FROM notification_default n WHERE n.id < oldest.id)
            THEN oldest.id ELSE 0 END
FROM (SELECT (extract(epoch FROM min(to_date(substring(c.relname FROM '_(\d{8})$'), 'YYYYMMDD'))
                      ::timestamp) * 1000)::bigint << 22 AS id
      FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
      WHERE i.inhparent = 'notification'::regclass AND c.relname ~ '_\d{8}$') oldest;

-- Of what was accepted before that, only what is not over is left: it is counted as accepted, too.
CREATE OR REPLACE VIEW conservation AS
SELECT a.accepted, f.in_flight, t.sent, t.delivered, x.dead, t.suppressed, t.expired, t.cancelled,
       a.accepted - f.in_flight - x.dead
           - t.sent - t.delivered - t.suppressed - t.expired - t.cancelled AS missing
FROM (SELECT coalesce((SELECT sum(deliveries) FROM notification
                       WHERE id >= (SELECT first_id FROM conservation_since)), 0)::bigint
             + (SELECT count(*) FROM delivery
                WHERE notification < (SELECT first_id FROM conservation_since))
             + (SELECT count(*) FROM scheduled
                WHERE notification < (SELECT first_id FROM conservation_since))
             + (SELECT count(*) FROM dead_letter
                WHERE is_dead AND notification < (SELECT first_id FROM conservation_since))
             AS accepted) a,
     (SELECT (SELECT count(*) FROM delivery) + (SELECT count(*) FROM scheduled) AS in_flight) f,
     (SELECT count(*) AS dead FROM dead_letter WHERE is_dead) x,
     (SELECT count(*) FILTER (WHERE state = 3) - count(*) FILTER (WHERE outcome = 12 AND state = 5)
                 AS sent,
             count(*) FILTER (WHERE state = 4) AS delivered,
             count(*) FILTER (WHERE state = 6) AS suppressed,
             count(*) FILTER (WHERE state = 7) AS expired,
             count(*) FILTER (WHERE state = 8) AS cancelled
      FROM attempt WHERE state IS NOT NULL
                         AND notification >= (SELECT first_id FROM conservation_since)) t;

-- ---- partitions ----

-- A request id of a day that has no partition is stored all the same.
CREATE TABLE request_key_default PARTITION OF request_key DEFAULT;

-- The first values of a day's partition and of the next one's.
CREATE FUNCTION partition_bounds(parent text, day date, OUT lo text, OUT hi text)
LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    lo := day::text;
    hi := (day + 1)::text;
    IF parent = 'notification' THEN
        lo := ((extract(epoch FROM day::timestamp) * 1000)::bigint << 22)::text;
        hi := ((extract(epoch FROM (day + 1)::timestamp) * 1000)::bigint << 22)::text;
    ELSIF parent = 'attempt' THEN
        lo := lo || ' 00:00:00+00';
        hi := hi || ' 00:00:00+00';
    END IF;
END $$;

-- Makes one day's partition where rows of that day lie in the default partition already: moves
-- them, if they are few.  Many stay where they are, and retention trims them there; the days
-- after that one are made all the same.
CREATE FUNCTION make_partition_of_rows(parent text, day date) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    name  text := parent || '_' || to_char(day, 'YYYYMMDD');
    spare text := parent || '_default';
    key   text := CASE parent WHEN 'notification' THEN 'id' WHEN 'attempt' THEN 'at' ELSE 'day' END;
    b     record;
    many  bigint;
BEGIN
    SELECT * INTO b FROM partition_bounds(parent, day);
    EXECUTE format('LOCK TABLE %I IN ACCESS EXCLUSIVE MODE', spare);
    EXECUTE format('SELECT count(*) FROM (SELECT FROM %I WHERE %I >= %L AND %I < %L LIMIT 20001) x',
                   spare, key, b.lo, key, b.hi) INTO many;
    IF many > 20000 THEN
        RETURN false;
    END IF;
    EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING DEFAULTS)', name, parent);
    EXECUTE format('WITH moved AS (DELETE FROM %I WHERE %I >= %L AND %I < %L RETURNING *)'
                   ' INSERT INTO %I SELECT * FROM moved', spare, key, b.lo, key, b.hi, name);
    EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
                   parent, name, b.lo, b.hi);
    RETURN true;
END $$;

-- Makes one day's partition; false: it is there, or that day stays in the default partition.
CREATE FUNCTION make_partition(parent text, day date) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    name text := parent || '_' || to_char(day, 'YYYYMMDD');
    b    record;
BEGIN
    IF to_regclass(name) IS NOT NULL THEN
        RETURN false;
    END IF;
    SELECT * INTO b FROM partition_bounds(parent, day);
    BEGIN
        EXECUTE format('CREATE TABLE %I PARTITION OF %I FOR VALUES FROM (%L) TO (%L)',
                       name, parent, b.lo, b.hi);
        RETURN true;
    EXCEPTION WHEN check_violation THEN
        RETURN make_partition_of_rows(parent, day);
    END;
END $$;

CREATE OR REPLACE FUNCTION make_partitions(parent text, first date, last date) RETURNS int
LANGUAGE plpgsql AS $$
DECLARE
    d    date;
    made int := 0;
BEGIN
    PERFORM pg_advisory_xact_lock(7406263);
    FOR d IN SELECT generate_series(first, last, '1 day')::date LOOP
        made := made + make_partition(parent, d)::int;
    END LOOP;
    RETURN made;
END $$;

-- The days that must exist today, each table's nearest first.  Seven days ahead, so that a week
-- without upkeep harms nothing; request ids may be dated eight days ahead.
CREATE FUNCTION wanted_partitions() RETURNS TABLE (parent text, day date) LANGUAGE sql STABLE AS $$
    SELECT w.parent, t.today + n
    FROM (SELECT (now() AT TIME ZONE 'UTC')::date AS today) t,
         (VALUES ('notification', -1, 7), ('attempt', -1, 7), ('request_key', -15, 9))
             AS w(parent, first, last),
         generate_series(w.first, w.last) AS n
    ORDER BY abs(n), w.parent
$$;

-- Each day by itself: what goes wrong with one stops no other.  How many were made; -1: some locks
-- were not to be had, try again later; -2: something else, which the server's log names.
DROP FUNCTION keep_partitions_gently(int);
DROP FUNCTION keep_partitions();
CREATE FUNCTION keep_partitions() RETURNS int LANGUAGE plpgsql AS $$
DECLARE
    w       record;
    made    int := 0;
    waits   text[] := '{}';
    has_bad boolean := false;
BEGIN
    PERFORM pg_advisory_xact_lock(7406263);
    FOR w IN SELECT * FROM wanted_partitions() LOOP
        CONTINUE WHEN w.parent = ANY (waits);
        BEGIN
            made := made + make_partition(w.parent, w.day)::int;
        EXCEPTION
            WHEN lock_not_available OR deadlock_detected THEN
                waits := waits || w.parent; -- once: while we wait for it, others wait behind us
            WHEN OTHERS THEN
                RAISE WARNING 'no partition of % for %: %', w.parent, w.day, SQLERRM;
                has_bad := true;
        END;
    END LOOP;
    RETURN CASE WHEN has_bad THEN -2 WHEN cardinality(waits) > 0 THEN -1 ELSE made END;
END $$;

CREATE FUNCTION keep_partitions_gently(wait_ms int) RETURNS int LANGUAGE plpgsql SECURITY DEFINER
AS $$
BEGIN
    PERFORM set_config('lock_timeout', wait_ms::text, true);
    RETURN keep_partitions();
EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
    RETURN -1;
END $$;

-- For how many days after this one every table has its partition.
CREATE FUNCTION partitions_ahead() RETURNS int LANGUAGE sql VOLATILE AS $$
    SELECT coalesce(min(day) FILTER (WHERE NOT is_there) - 1 - min(today),
                    max(day) - min(today))::int
    FROM (SELECT w.day, (now() AT TIME ZONE 'UTC')::date AS today,
                 EXISTS (SELECT FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
                         WHERE i.inhparent = to_regclass(w.parent)
                               AND c.relname = w.parent || '_' || to_char(w.day, 'YYYYMMDD'))
                     AS is_there
          FROM wanted_partitions() w) d
    WHERE day > today
$$;

-- Takes one partition of its parent away.  What of its notifications is still needed (a delivery
-- that is not over, a dead letter) goes to the default partition: nothing waits for a content that
-- was dropped.
CREATE OR REPLACE FUNCTION drop_partition(parent text, partition text, day date) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    lo bigint := (extract(epoch FROM day::timestamp) * 1000)::bigint << 22;
    hi bigint := (extract(epoch FROM (day + 1)::timestamp) * 1000)::bigint << 22;
    -- A notification's deliveries have the ids after its own, some of them past midnight; and an
    -- attempt of this day may be of an id that a clock some seconds ahead has made.
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
    END IF;
    EXECUTE format('DROP TABLE %I', partition);
    IF parent IN ('notification', 'attempt') THEN
        UPDATE conservation_since SET first_id = past WHERE first_id < past;
    END IF;
END $$;

-- Drops the oldest partition that can be dropped of a day more than keep_days ago (request keys:
-- 15).  1: one was dropped, there may be more; 0: there is none; -1: the locks were not to be had;
-- -2: something else, which the server's log names.  One that cannot be dropped holds up no other.
DROP FUNCTION drop_old_partition(int, int);
CREATE FUNCTION drop_old_partition(keep_days int, wait_ms int) RETURNS int LANGUAGE plpgsql
SECURITY DEFINER AS $$
DECLARE
    p      record;
    answer int := 0;
BEGIN
    IF NOT pg_try_advisory_xact_lock(7406263) THEN
        RETURN -1;
    END IF;
    PERFORM set_config('lock_timeout', wait_ms::text, true);
    FOR p IN
        SELECT c.relname, to_date(substring(c.relname FROM '_(\d{8})$'), 'YYYYMMDD') AS day,
               parent.relname AS parent
        FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
             JOIN pg_class parent ON parent.oid = i.inhparent
        WHERE parent.oid IN ('notification'::regclass, 'attempt'::regclass, 'request_key'::regclass)
              AND c.relname ~ '_\d{8}$'
              AND to_date(substring(c.relname FROM '_(\d{8})$'), 'YYYYMMDD')
                  < (now() AT TIME ZONE 'UTC')::date
                    - CASE WHEN parent.relname = 'request_key' THEN 15 ELSE keep_days END
        ORDER BY day, parent.relname
    LOOP
        IF has_long_reader(p.parent) THEN
            answer := least(answer, -1);
            CONTINUE;
        END IF;
        BEGIN
            PERFORM drop_partition(p.parent, p.relname, p.day);
            RETURN 1;
        EXCEPTION
            WHEN lock_not_available OR deadlock_detected THEN
                RETURN -1; -- others have waited behind us for as long as they may
            WHEN OTHERS THEN
                RAISE WARNING 'partition % cannot be dropped: %', p.relname, SQLERRM;
                answer := -2;
        END;
    END LOOP;
    RETURN answer;
END $$;

-- ---- a role for bridges ----

-- Partitions are made and dropped with the owner's rights; in whose schema is settled here, since
-- a caller could otherwise put tables of its own in their way.
DO $$
DECLARE
    f text;
BEGIN
    FOREACH f IN ARRAY ARRAY['keep_partitions_gently(int)', 'drop_old_partition(int, int)'] LOOP
        EXECUTE format('ALTER FUNCTION %s SET search_path = %I, pg_temp', f, current_schema());
        EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', f);
    END LOOP;
END $$;

-- What a bridge's own role needs, given by the owner of the tables: it may read and change rows, of
-- the audit only read and add.  To be run again after a migration, which may bring tables.
CREATE FUNCTION grant_bridge(bridge_role text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    s text := current_schema();
BEGIN
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO %I', s, bridge_role);
    EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA %I TO %I',
                   s, bridge_role);
    EXECUTE format('GRANT USAGE ON ALL SEQUENCES IN SCHEMA %I TO %I', s, bridge_role);
    EXECUTE format('REVOKE UPDATE, DELETE ON audit FROM %I', bridge_role);
    EXECUTE format('REVOKE INSERT, UPDATE, DELETE ON schema_version FROM %I', bridge_role);
    EXECUTE format('REVOKE INSERT, DELETE ON conservation_since FROM %I', bridge_role);
    EXECUTE format('GRANT EXECUTE ON FUNCTION keep_partitions_gently(int),'
                   ' drop_old_partition(int, int) TO %I', bridge_role);
END $$;
REVOKE EXECUTE ON FUNCTION grant_bridge(text) FROM PUBLIC;

SELECT keep_partitions();
