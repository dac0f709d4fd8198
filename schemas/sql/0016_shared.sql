-- When the last of what was told to many was cut by retention; and a way to trim inboxes.
ALTER TABLE shared_head ADD COLUMN cut_at timestamptz NOT NULL DEFAULT '-infinity';
