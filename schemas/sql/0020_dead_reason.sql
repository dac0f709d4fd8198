-- A reason mostly says the channel, and is asked for without it: in the order of ids, as it is read.
DROP INDEX dead_letter_reason;
CREATE INDEX dead_letter_reason ON dead_letter (reason, delivery);
