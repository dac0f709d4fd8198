-- Rows pass through these tables, in at one end and out at the other.  By default a fifth of a table
-- is dead before autovacuum comes to it, and stays that much larger for good; a twentieth will do.
-- Queues that run empty keep their pages, as `delivery` does: to give them back, vacuum would lock
-- the table for a moment.
ALTER TABLE inbox SET (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 2000);
ALTER TABLE dead_letter SET (autovacuum_vacuum_scale_factor = 0.05);
ALTER TABLE sent SET (autovacuum_vacuum_scale_factor = 0.05);
ALTER TABLE callback_event SET (autovacuum_vacuum_scale_factor = 0.05);
ALTER TABLE shared_mark SET (autovacuum_vacuum_scale_factor = 0.05);
ALTER TABLE scheduled SET (autovacuum_vacuum_scale_factor = 0.05, vacuum_truncate = off);
ALTER TABLE inbox_expiry SET (autovacuum_vacuum_scale_factor = 0.05, vacuum_truncate = off);
ALTER TABLE collapse SET (autovacuum_vacuum_scale_factor = 0.05, vacuum_truncate = off);
ALTER TABLE request_key_any_0 SET (autovacuum_vacuum_scale_factor = 0.05);
ALTER TABLE request_key_any_1 SET (autovacuum_vacuum_scale_factor = 0.05);
ALTER TABLE request_key_any_2 SET (autovacuum_vacuum_scale_factor = 0.05);
ALTER TABLE request_key_any_3 SET (autovacuum_vacuum_scale_factor = 0.05);
