-- The ledger, version 1. Events are the truth; the other tables are written in the same transaction.
-- JSON is ours to spell: json_valid() may not stand in a schema that is not trusted, in SQLite before 3.41.

CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT;

INSERT INTO meta VALUES ('id', lower(hex(randomblob(16))));

CREATE TABLE event (
    seq     INTEGER PRIMARY KEY,
    at      INTEGER NOT NULL,  -- microseconds since 1970, UTC
    type    TEXT NOT NULL,
    plan    TEXT,
    task    TEXT,
    attempt TEXT,
    token   INTEGER,
    data    TEXT NOT NULL CHECK (data GLOB '{*}'),
    prev    BLOB NOT NULL CHECK (length(prev) = 32),
    hash    BLOB NOT NULL CHECK (length(hash) = 32)
) STRICT;

-- the row number ends every index, so both also give the order
CREATE INDEX event_by_plan ON event (plan) WHERE plan IS NOT NULL;
CREATE INDEX event_by_task ON event (task, plan) WHERE task IS NOT NULL;

CREATE TRIGGER event_stays BEFORE UPDATE ON event BEGIN
    SELECT raise(ABORT, 'events are never changed');
END;
CREATE TRIGGER event_remains BEFORE DELETE ON event BEGIN
    SELECT raise(ABORT, 'events are never deleted');
END;

CREATE TABLE effect (
    number    INTEGER PRIMARY KEY,  -- the order in which they were asked for
    key       TEXT NOT NULL UNIQUE,
    kind      TEXT NOT NULL,
    request   TEXT NOT NULL CHECK (request GLOB '{*}'),
    state     TEXT NOT NULL CHECK (state IN ('todo', 'done')),
    asked_seq INTEGER NOT NULL
) STRICT;

CREATE INDEX effect_to_do ON effect (number) WHERE state = 'todo';

CREATE TABLE plan (
    number INTEGER PRIMARY KEY,
    key    TEXT NOT NULL UNIQUE,
    plan   TEXT NOT NULL,
    state  TEXT NOT NULL,
    data   TEXT NOT NULL CHECK (data GLOB '{*}')
) STRICT;

CREATE TABLE task (
    number INTEGER PRIMARY KEY,
    key    TEXT NOT NULL UNIQUE,
    plan   TEXT NOT NULL,
    state  TEXT NOT NULL,
    data   TEXT NOT NULL CHECK (data GLOB '{*}')
) STRICT;

CREATE TABLE item (
    number INTEGER PRIMARY KEY,
    key    TEXT NOT NULL UNIQUE,
    plan   TEXT NOT NULL,
    state  TEXT NOT NULL,
    data   TEXT NOT NULL CHECK (data GLOB '{*}')
) STRICT;

CREATE INDEX task_by_plan ON task (plan);
CREATE INDEX item_by_plan ON item (plan);
