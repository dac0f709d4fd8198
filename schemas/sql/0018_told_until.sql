-- Up to when everything a bridge has settled is with the broker, as of its last heartbeat.  Whoever
-- takes over its epoch tells again what came later: a bridge that dies while the broker is away
-- has told nothing for longer than since that heartbeat.
ALTER TABLE bridge ADD COLUMN told_until timestamptz;
