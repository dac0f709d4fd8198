-- What is urgent is expanded first; among equals services take turns.
ALTER TABLE expansion ADD COLUMN priority smallint NOT NULL DEFAULT 2;
CREATE INDEX expansion_order ON expansion (priority, service, notification);
DROP INDEX expansion_turn;
