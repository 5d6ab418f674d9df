-- What the repeatable part of the schema was last made from. Making it again takes every view from its readers for a
-- moment, so it is made only when its text or the flavour has changed.
CREATE TABLE derived_schema (
    only_row boolean     PRIMARY KEY DEFAULT true CHECK (only_row),
    digest   uuid        NOT NULL,
    made_at  timestamptz NOT NULL DEFAULT now()
);
