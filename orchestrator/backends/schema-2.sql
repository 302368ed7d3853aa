-- The ledger, version 2: where it stands, and the questions that every transaction asks of the events.

CREATE TABLE tip (
    one          INTEGER PRIMARY KEY CHECK (one = 1),
    commits      INTEGER NOT NULL,  -- transactions so far: it shows whether a commit that failed has happened
    token        INTEGER NOT NULL,  -- no token up to here is given out again, whatever the events say
    closed_seq   INTEGER NOT NULL,  -- the last event when the ledger was last closed in order
    verified_seq INTEGER NOT NULL,  -- the whole chain was found good up to here,
    verified_at  INTEGER NOT NULL,  -- at this time, in microseconds since 1970; 0: never
    code         TEXT NOT NULL      -- the program that wrote the projections
) STRICT;

INSERT INTO tip VALUES (1, 0, 0, 0, 0, 0, '');

-- the newest claim of a task, the newest of all, and the daemon that may write
CREATE INDEX event_fence ON event (plan, task, token) WHERE type = 'lease_granted';
CREATE INDEX event_token ON event (token) WHERE type = 'lease_granted';
CREATE INDEX event_epoch ON event (seq) WHERE type = 'daemon_began';
