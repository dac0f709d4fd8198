-- Tries that cost no attempt: the provider could not be reached, asked for a pause, or refused our
-- settings.  Their number lets the wait grow and end; the time of the last one shows whether others
-- were taken meanwhile, in which case a message that is refused again is at fault itself.
ALTER TABLE delivery
  ADD COLUMN deferrals smallint NOT NULL DEFAULT 0,
  ADD COLUMN deferred_at timestamptz;
