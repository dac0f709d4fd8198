-- Whose address a delivery goes to, where the request named a user and their targets were looked
-- up; nobody's where it named the address, and for in_app, whose recipient is the user.
--
-- In `delivery` an empty text and not null: one byte, where the first null of a row that has none
-- would cost it eight.  The colder tables have nulls in every row anyway.
ALTER TABLE delivery ADD COLUMN user_id text NOT NULL DEFAULT '';
ALTER TABLE scheduled ADD COLUMN user_id text NOT NULL DEFAULT '';
ALTER TABLE attempt ADD COLUMN user_id text;
ALTER TABLE sent ADD COLUMN user_id text;
ALTER TABLE dead_letter ADD COLUMN user_id text;
CREATE INDEX dead_letter_user ON dead_letter (user_id, delivery)
    WHERE is_dead AND user_id IS NOT NULL;
