-- What all bridges share of a destination: when the next request may leave, and a provider's
-- "not now".  A rate is a row of moments, each given out once (generic cell rate algorithm).
ALTER TABLE destination ADD COLUMN next_slot timestamptz NOT NULL DEFAULT '-infinity';
ALTER TABLE destination ADD COLUMN paused_until timestamptz NOT NULL DEFAULT '-infinity';
ALTER TABLE destination SET (fillfactor = 50);
