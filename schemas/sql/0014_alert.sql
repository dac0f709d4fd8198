-- Which alerts fire, or were resolved, and since when.  kind: bridge/core/alert.h.
CREATE TABLE alert (
    name      text PRIMARY KEY,
    kind      smallint NOT NULL,
    provider  text,
    is_firing boolean NOT NULL,
    since     timestamptz NOT NULL,
    value     float8 NOT NULL,
    threshold float8 NOT NULL
);
