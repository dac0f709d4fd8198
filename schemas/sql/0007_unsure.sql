-- An attempt of the delivery was sent in full and not answered: it may have had its effect.  Where
-- the provider drops repeats, only a repeat there, under the same key, cannot have a second one.
ALTER TABLE delivery ADD COLUMN is_unsure boolean NOT NULL DEFAULT false;
ALTER TABLE scheduled ADD COLUMN is_unsure boolean NOT NULL DEFAULT false;
