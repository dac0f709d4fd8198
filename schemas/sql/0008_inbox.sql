-- What the inbox needs besides its numbers: the content's place, and what was seen.
-- An entry is found by its delivery as well; the index grows at its right-hand edge only.
ALTER TABLE inbox ADD COLUMN notification bigint NOT NULL DEFAULT 0,
                  ADD COLUMN is_seen boolean NOT NULL DEFAULT false;
CREATE INDEX inbox_delivery ON inbox (delivery);
