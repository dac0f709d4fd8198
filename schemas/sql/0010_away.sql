-- What waits for somebody who was not there, found by them when they come: in-app deliveries whose
-- last attempt ended as user_offline (1) or ack_timeout (2) and that are held or between two tries.
-- What was never tried is in neither index.
CREATE INDEX delivery_waiting ON delivery (recipient, id)
    WHERE last_reason IN (1, 2) AND state IN (0, 2) AND channel = 0 AND recipient_kind = 0;
-- And by when it is given up.
CREATE INDEX delivery_held ON delivery (due_at) WHERE state = 2;
-- The same of dead letters.
CREATE INDEX dead_letter_absent ON dead_letter (recipient, delivery)
    WHERE is_dead AND reason IN (1, 2) AND channel = 0 AND recipient_kind = 0;
