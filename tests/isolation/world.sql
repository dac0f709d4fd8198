-- What the specs are written with.  Ids count from a base of this very second, as real ones would.
CREATE EXTENSION IF NOT EXISTS plpgsql;
ALTER TABLE audit DISABLE TRIGGER audit_is_final;
CREATE TABLE iso_base AS SELECT ((extract(epoch FROM now()) * 1000)::bigint << 22) AS base;
CREATE TABLE iso_answer (place int, session text, step text, row jsonb);
CREATE FUNCTION iso_id(i bigint) RETURNS bigint LANGUAGE sql STABLE AS
    $$ SELECT base + i FROM iso_base $$;
CREATE FUNCTION iso_number(id bigint) RETURNS bigint LANGUAGE sql STABLE AS
    $$ SELECT id - base FROM iso_base $$;

CREATE FUNCTION iso_wipe() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    t text;
    found_one boolean;
BEGIN
    FOR t IN SELECT c.oid::regclass::text FROM pg_class c
             WHERE c.relnamespace = 'public'::regnamespace AND NOT c.relispartition
                   AND c.relkind IN ('r', 'p') AND c.relname NOT IN ('iso_base', 'schema_version')
             ORDER BY c.relname  -- admin_pause before destination
    LOOP
        EXECUTE 'SELECT EXISTS (SELECT FROM ' || t || ')' INTO found_one;
        IF found_one THEN
            EXECUTE 'DELETE FROM ' || t;
        END IF;
    END LOOP;
    INSERT INTO lane (name) VALUES ('requests'), ('users'), ('admins');
    INSERT INTO shared_head (last_seq, cut_seq) VALUES (0, 0);
    INSERT INTO conservation_since (first_id) VALUES (0);
    INSERT INTO destination (id, name, channel, adapter) OVERRIDING SYSTEM VALUE
        VALUES (1, 'mail', 3, 'log'), (2, 'text', 2, 'log'), (7, 'in_app', 0, 'in_app');
END $$;

ALTER TABLE destination ALTER COLUMN id RESTART WITH 100;

-- A bridge that lives.
CREATE FUNCTION iso_bridge(e bigint) RETURNS void LANGUAGE sql AS $$
    INSERT INTO bridge (epoch, node, name, host, lease_until)
        VALUES (e, (e % 1000)::int, 'b' || e, 'h', now() + '1 hour')
$$;

-- A request n whose deliveries are made later.
CREATE FUNCTION iso_defer(n bigint) RETURNS void LANGUAGE sql AS $$
    INSERT INTO notification (id, service, request, type, priority, receipts, deliveries,
                              created_at, content)
        VALUES (iso_id(n), 's', 'r' || n, 't', 2, 1, 0, now(), '{"title":"t"}');
    INSERT INTO expansion (notification, service, accepted_ms, next, next_id, request)
        VALUES (iso_id(n), 's', 0, 0, iso_id(n + 1), '{}')
$$;

-- A notification n with `many` deliveries n+1..: mails, or with channel 0 in-app for users u1..
CREATE FUNCTION iso_accept(n bigint, many int, st int DEFAULT 0, ep bigint DEFAULT NULL,
                           ch int DEFAULT 3, due interval DEFAULT '-1 minute',
                           pri int DEFAULT 2) RETURNS void LANGUAGE sql AS $$
    INSERT INTO notification (id, service, request, type, priority, receipts, deliveries,
                              created_at, content)
        VALUES (iso_id(n), 's', 'r' || n, 't', pri, 1, many, now(), '{"title":"t"}');
    INSERT INTO delivery (id, notification, due_at, epoch, seq, destination, channel, priority,
                          state, recipient_kind, recipient)
        SELECT iso_id(n + i), iso_id(n), now() + due + i * interval '1 ms', ep, 0,
               CASE ch WHEN 0 THEN 7 WHEN 2 THEN 2 ELSE 1 END, ch, pri, st,
               CASE ch WHEN 0 THEN 0 ELSE 4 END, CASE ch WHEN 0 THEN 'u' || i
               ELSE 'r' || i || '@example.com' END
        FROM generate_series(1, many) i;
    INSERT INTO inbox_user (user_id, last_seq, unread, unseen)
        SELECT 'u' || i, 1, 1, 1 FROM generate_series(1, many) i WHERE ch = 0
        ON CONFLICT (user_id) DO UPDATE SET last_seq = inbox_user.last_seq + 1,
            unread = inbox_user.unread + 1, unseen = inbox_user.unseen + 1;
    INSERT INTO inbox (user_id, seq, delivery, notification)
        SELECT 'u' || i, (SELECT last_seq FROM inbox_user WHERE user_id = 'u' || i),
               iso_id(n + i), iso_id(n) FROM generate_series(1, many) i WHERE ch = 0;
    UPDATE delivery d SET seq = i.seq FROM inbox i WHERE i.delivery = d.id AND ch = 0
        AND d.notification = iso_id(n);
$$;

-- Delivery n+i of it dead: its row, and the attempt that ended it.
CREATE FUNCTION iso_kill(d bigint, r int DEFAULT 4) RETURNS void LANGUAGE sql AS $$
    INSERT INTO dead_letter (delivery, notification, service, request, type, seq, destination,
            channel, priority, attempts, reason, recipient_kind, recipient, died_at)
        SELECT x.id, x.notification, 's', n.request, 't', x.seq, x.destination, x.channel,
               x.priority, 1, r, x.recipient_kind, x.recipient, now() - interval '1 second'
        FROM delivery x JOIN notification n ON n.id = x.notification WHERE x.id = iso_id(d);
    INSERT INTO attempt (at, delivery, notification, epoch, destination, status, number, channel,
            outcome, reason, segments, state, recipient_kind, recipient)
        SELECT clock_timestamp() - interval '1 second', id, notification, 1, destination, 500, 1,
               channel, 2, r, 0, 5, recipient_kind, recipient FROM delivery WHERE id = iso_id(d);
    DELETE FROM delivery WHERE id = iso_id(d);
$$;

-- Moves a delivery into `scheduled`: held as a step that is to come, or due at some time.
CREATE FUNCTION iso_schedule(d bigint, due timestamptz, st int DEFAULT 0, h bigint DEFAULT 0)
    RETURNS void LANGUAGE sql AS $$
    INSERT INTO scheduled (id, notification, due_at, destination, channel, priority, state,
                           recipient_kind, recipient, head)
        SELECT id, notification, due, destination, channel, priority, st, recipient_kind,
               recipient, h FROM delivery WHERE id = iso_id(d);
    DELETE FROM delivery WHERE id = iso_id(d);
$$;

-- What is wrong, whatever was run.
CREATE FUNCTION iso_wrong() RETURNS TABLE (what text, detail text) LANGUAGE sql STABLE AS $$
    SELECT 'conservation', to_jsonb(c)::text FROM conservation c WHERE missing <> 0
    UNION ALL
    SELECT 'a delivery is in one place, or has one end', iso_number(id) || ': ' || sum(n)
        FROM (SELECT id, notification, 1 AS n FROM delivery
              UNION ALL SELECT id, notification, 1 FROM scheduled
              UNION ALL SELECT delivery, notification, 1 FROM dead_letter WHERE is_dead
              UNION ALL SELECT delivery, notification, CASE WHEN state <> 5 THEN 1
                  WHEN outcome = 12 THEN -1 ELSE 0 END FROM attempt WHERE state IS NOT NULL) x
        WHERE notification >= (SELECT first_id FROM conservation_since)
        GROUP BY id HAVING sum(n) <> 1
    UNION ALL
    SELECT 'an inbox counts what is in it', to_jsonb(u)::text || to_jsonb(i)::text
        FROM inbox_user u LEFT JOIN LATERAL (
            SELECT count(*) FILTER (WHERE state = 0) AS unread,
                   count(*) FILTER (WHERE state < 3 AND NOT is_seen) AS unseen,
                   coalesce(max(seq), 0) AS last
            FROM inbox WHERE user_id = u.user_id) i ON true
        WHERE u.unread <> i.unread OR u.unseen <> i.unseen OR u.last_seq < i.last
    UNION ALL
    SELECT 'a notification is stored with its key', iso_number(k.notification)::text
        FROM request_key k WHERE NOT EXISTS (SELECT FROM notification n WHERE n.id = k.notification)
              AND k.notification >= iso_id(0)
    UNION ALL
    SELECT 'a delivery has its notification', iso_number(d.id)::text FROM delivery d
        WHERE NOT EXISTS (SELECT FROM notification n WHERE n.id = d.notification)
    UNION ALL
    SELECT 'due before it was accepted', iso_number(id)::text || ' ' || due_at FROM delivery
        WHERE due_at < to_timestamp((id >> 22) / 1000.0) - interval '2 minutes'
    UNION ALL
    SELECT 'the living lose no lease', a.session || ' ' || iso_number((a.row->>0)::bigint)
        FROM iso_answer a JOIN bridge b ON b.name = 'b' || substring(a.session FROM '\d+')
        WHERE a.step IN ('claim', 'wake') AND b.lease_until > clock_timestamp()
              AND NOT EXISTS (SELECT FROM delivery d WHERE d.id = (a.row->>0)::bigint
                              AND d.state = 1 AND d.epoch = b.epoch)
              AND NOT EXISTS (SELECT FROM attempt t WHERE t.delivery = (a.row->>0)::bigint
                              AND t.at > now() - interval '1 minute' AND t.state IN (4, 8, 6))
              AND NOT EXISTS (SELECT FROM iso_answer l WHERE l.session = a.session
                              AND l.place > a.place AND l.step NOT IN ('claim', 'wake')
                              AND l.row->>0 = a.row->>0)
$$;

-- A gate inside a statement: with iso.waits set, it stands where it asks the clock and where it
-- begins to update or delete, until the lock 77 is free.  What runs into it has its snapshot
-- already.  Sessions look here first (search_path).
CREATE SCHEMA iso;
CREATE FUNCTION iso.wait() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF current_setting('iso.waits', true) = 'yes' THEN
        PERFORM pg_advisory_lock_shared(77);
        PERFORM pg_advisory_unlock_shared(77);
    END IF;
END $$;
CREATE FUNCTION iso.clock_timestamp() RETURNS timestamptz LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    PERFORM iso.wait();
    RETURN pg_catalog.clock_timestamp();
END $$;
CREATE FUNCTION iso.wait_before() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM iso.wait();
    RETURN NULL;
END $$;
DO $$
DECLARE
    t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['bridge', 'callback_event', 'dead_letter', 'delivery', 'lane', 'scheduled',
                             'sent', 'untold']
    LOOP
        EXECUTE format('CREATE TRIGGER iso_wait BEFORE UPDATE OR DELETE ON %I FOR EACH STATEMENT'
                       ' WHEN (current_setting(''iso.waits'', true) = ''yes'')'
                       ' EXECUTE FUNCTION iso.wait_before()', t);
    END LOOP;
END $$;

-- What most pairs of statements can meet on: something of everything.
CREATE FUNCTION iso_standard() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM iso_bridge(2), iso_bridge(3);
    PERFORM iso_accept(100, 4), iso_accept(110, 3, 1, 2), iso_accept(120, 3, 1, 3),
            iso_accept(130, 3, 1, 1), iso_accept(140, 2, 2);
    -- In-app: under way, waiting for their users, and dead since nobody came.
    PERFORM iso_accept(200, 3, 1, 2, 0), iso_accept(210, 3, 0, NULL, 0),
            iso_accept(220, 3, 0, NULL, 0), iso_accept(230, 2, 1, 3, 0);
    UPDATE delivery SET last_reason = 1, state = 2 WHERE notification = iso_id(210);
    UPDATE delivery SET last_reason = 2 WHERE notification = iso_id(220);
    PERFORM iso_kill(i, 1) FROM generate_series(221, 222) i;
    -- Dead letters: pending, marked for a retry, back in the queue, back with a bridge.
    PERFORM iso_accept(300, 6);
    PERFORM iso_kill(i) FROM generate_series(301, 305) i;
    UPDATE dead_letter SET status = 1 WHERE delivery IN (iso_id(303), iso_id(304));
    UPDATE dead_letter SET status = 1, is_dead = false WHERE delivery = iso_id(305);
    INSERT INTO delivery (id, notification, due_at, destination, channel, priority, state,
            epoch, recipient_kind, recipient, desk)
        SELECT delivery, notification, now() - interval '1 minute', destination, channel, 0, 1, 2,
               recipient_kind, recipient, 1 FROM dead_letter WHERE delivery = iso_id(305);
    -- Due later, due now, and steps: 411 under way with 412 and 413 to come; 421 with 422 in time.
    PERFORM iso_accept(400, 3), iso_accept(410, 3, 1, 2), iso_accept(420, 2, 1, 3);
    PERFORM iso_schedule(401, now() - interval '1 second'),
            iso_schedule(402, now() + interval '1 hour'),
            iso_schedule(412, 'infinity', 2, iso_id(411)), iso_schedule(413, 'infinity', 2, iso_id(411)),
            iso_schedule(422, now() + interval '1 hour', 2, iso_id(421));
    UPDATE delivery SET head = id WHERE id IN (iso_id(411), iso_id(421));
    -- Sent, reported and to be reported.
    PERFORM iso_accept(500, 3);
    INSERT INTO attempt (at, delivery, notification, epoch, destination, status, number, channel,
            outcome, reason, segments, state, recipient_kind, recipient, provider_id)
        SELECT clock_timestamp() - interval '1 second', id, notification, 1, 1, 200, 1, 3, 0, 0, 0, 3, 4, recipient,
               'p' || iso_number(id) FROM delivery WHERE notification = iso_id(500);
    INSERT INTO sent (provider_id, destination, delivery, notification, at, number, channel,
            recipient_kind, recipient)
        SELECT 'p' || iso_number(id), 1, id, notification, clock_timestamp(), 1, 3, 4, recipient
        FROM delivery WHERE notification = iso_id(500);
    DELETE FROM delivery WHERE notification = iso_id(500);
    INSERT INTO callback_event (received_at, destination, report, reason, key, provider_id, name, raw)
        VALUES (now() - interval '1 second', 1, 20, 4, 'k1', 'p501', 'failed', ''),
               (now() - interval '1 second', 1, 40, 0, 'k2', 'p502', 'delivered', '');
    INSERT INTO callback_event (received_at, fold_at, destination, report, reason, key, provider_id, name, raw,
            teller) VALUES (now(), NULL, 1, 30, 0, 'k3', 'p503', 'delivered', '', 1);
    INSERT INTO untold VALUES (1, now() - interval '1 minute', 1);
    -- Collapse keys, expiries, what is shared, people.
    PERFORM iso_accept(600, 2, 0, NULL, 0);
    INSERT INTO collapse (service, key, channel, recipient_kind, recipient, delivery)
        SELECT 's', 'key', 0, 0, 'u1', iso_id(i) FROM (VALUES (601), (211)) v(i);
    INSERT INTO inbox_expiry VALUES (now() - interval '1 second', iso_id(602));
    INSERT INTO notification (id, service, request, type, priority, receipts, deliveries,
            created_at, content) VALUES (iso_id(700), 's', 'r700', 't', 2, 1, 0, now(), '{}');
    INSERT INTO shared (seq, delivery, notification, role) VALUES (1, iso_id(701), iso_id(700), '');
    UPDATE shared_head SET last_seq = 1;
    INSERT INTO target (user_id, channel, kind, token, address)
        VALUES ('u1', 3, 4, 'r1@example.com', 'r1@example.com'), ('u1', 1, 5, 't1', 't1');
    INSERT INTO suppression (channel, address, reason, source)
        VALUES (3, 'r9@example.com', 19, 'keyword'), (2, '+1555', 19, 'keyword');
    INSERT INTO ingest_reject (at, topic, why, payload) VALUES (now() - interval '40 days', 't', 'w', '');
    INSERT INTO request_key (day, key, digest, notification) VALUES
        ('1970-01-01', md5('old')::uuid, 1, 5), ('1970-01-01', md5('new')::uuid, 1, iso_id(100));
    INSERT INTO bridge_destination VALUES (1, 1, 0), (2, 1, 0);
    INSERT INTO queue_flow VALUES (now() - interval '1 day', 1, 1, 1, 1, 1, 1, 1);
    INSERT INTO admin_pause (destination, paused_by) VALUES (2, 'root');
    UPDATE lane SET epoch = CASE name WHEN 'users' THEN 1 WHEN 'admins' THEN 2 END;
    PERFORM iso_defer(900);
END $$;
