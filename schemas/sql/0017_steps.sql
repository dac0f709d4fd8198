-- Channels one after the other.  What one recipient gets in this way has the same head: their in-app
-- delivery, which is what they acknowledge, or else the first of all.  0: it goes by itself.
--
-- A step that is to come is in `scheduled`, held (2): due when the one before was not acknowledged
-- for so long, or never of itself ('infinity').  `reached`: the channel before it that was sent by,
-- or -1; it matters there alone.
ALTER TABLE delivery ADD COLUMN reached smallint NOT NULL DEFAULT -1;
ALTER TABLE delivery ADD COLUMN head bigint NOT NULL DEFAULT 0;
ALTER TABLE scheduled ADD COLUMN reached smallint NOT NULL DEFAULT -1;
ALTER TABLE scheduled ADD COLUMN head bigint NOT NULL DEFAULT 0;
CREATE INDEX delivery_head ON delivery (head) WHERE head <> 0;
CREATE INDEX scheduled_head ON scheduled (head, id) WHERE head <> 0;
