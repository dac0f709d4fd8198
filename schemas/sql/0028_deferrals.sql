-- Tries that cost no attempt: the provider could not be reached, asked for a pause, or refused our
-- settings.  Their number lets the wait grow and end.
ALTER TABLE delivery
  ADD COLUMN deferrals smallint NOT NULL DEFAULT 0;
