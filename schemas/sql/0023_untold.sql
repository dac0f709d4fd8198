-- What epochs that are over have settled and may not have told: since when, and the epoch that
-- tells it in their place.  When that is over too, another takes the row over; it leaves when the
-- broker has all of it.
CREATE TABLE untold (
    epoch  bigint PRIMARY KEY,
    since  timestamptz NOT NULL,
    teller bigint NOT NULL
) WITH (fillfactor = 20);

-- told_until is exact: not a moment later than the first thing that may be untold.  Programs
-- before this column left it to the reader to subtract five seconds.
ALTER TABLE bridge ADD COLUMN is_told_exact boolean NOT NULL DEFAULT false;
