-- The log: stored bytes are the truth and are hashed as stored.
CREATE TABLE entries (
    seq   INTEGER PRIMARY KEY,
    bytes BLOB NOT NULL,    -- one canonical JSON object
    leaf  BLOB NOT NULL,    -- SHA-256(0x00 || bytes)
    run   BLOB              -- 16 bytes of the run's id; NULL: a fact of the log itself
) STRICT;
CREATE INDEX entries_of_run ON entries (run, seq) WHERE run IS NOT NULL;

-- The newest signed head: one row.
CREATE TABLE head (
    id   INTEGER PRIMARY KEY CHECK (id = 1),
    size INTEGER NOT NULL,
    root BLOB NOT NULL,
    note TEXT NOT NULL      -- C2SP tlog-checkpoint
) STRICT;

-- Heads that are kept for ever: those at which the key changed, signed by both.
CREATE TABLE boundaries (
    size INTEGER PRIMARY KEY,
    note TEXT NOT NULL
) STRICT;

-- The tree at some sizes, from which the tail is recomputed; checked against the head, not trusted.
CREATE TABLE frontiers (
    size  INTEGER PRIMARY KEY,
    nodes BLOB NOT NULL
) STRICT;

-- Outputs and other large values, by the SHA-256 of what they decompress to.
CREATE TABLE blobs (
    digest BLOB PRIMARY KEY,
    bytes  INTEGER NOT NULL,
    zstd   BLOB             -- NULL: in the file blobs/<2 hex>/<64 hex>.zst
) STRICT;

-- Read table: follows from the entries and changes with them.
CREATE TABLE runs (
    id               BLOB PRIMARY KEY,
    runbook          TEXT NOT NULL,
    version          TEXT NOT NULL,
    kind             TEXT NOT NULL,
    title            TEXT NOT NULL,
    digest           BLOB NOT NULL,
    requester        TEXT NOT NULL,
    requester_method TEXT NOT NULL,
    trigger          TEXT NOT NULL,
    ticket           TEXT,
    reason           TEXT,
    plan_digest      BLOB,
    targets          TEXT NOT NULL,
    state            TEXT NOT NULL,
    outcome          TEXT,
    verdict          TEXT,
    created_at       INTEGER NOT NULL,  -- milliseconds since 1970
    started_at       INTEGER,
    finished_at      INTEGER,
    epoch            INTEGER NOT NULL,
    owner_pid        INTEGER NOT NULL,
    owner_start      INTEGER NOT NULL,
    owner_boot       TEXT NOT NULL,
    owner_host       TEXT NOT NULL,
    first_seq        INTEGER NOT NULL,
    last_seq         INTEGER NOT NULL,
    log_size         INTEGER,           -- head of the commit that holds run.finished
    log_root         BLOB
) STRICT;
CREATE INDEX runs_unfinished ON runs (id) WHERE state <> 'finished';
