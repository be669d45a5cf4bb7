-- What HubSpot forbids to the token: of each object, and all of it.
ALTER TABLE sync_cursors ADD COLUMN forbidden TEXT;
ALTER TABLE sync_cursors ADD COLUMN forbidden_code TEXT;
-- Whether the object's records can be read: 0 while HubSpot forbids it.
ALTER TABLE sync_cursors ADD COLUMN is_readable INTEGER NOT NULL DEFAULT 1;
ALTER TABLE sync_daemon ADD COLUMN forbidden TEXT;
-- HubSpot's time of the record's version that the last attempt, or a lost one, went over: what it brings is later.
ALTER TABLE sync_outbox ADD COLUMN sent_over TEXT;
ALTER TABLE sync_sent ADD COLUMN sent_over TEXT;
-- The row that has a unique value which this entry's record is to have, until a change of that row's own is done.
ALTER TABLE sync_outbox ADD COLUMN taken_by INTEGER;
-- Whether the last attempt of a create carried no key of ours: no look by key finds what it made.
ALTER TABLE sync_outbox ADD COLUMN sent_keyless INTEGER NOT NULL DEFAULT 0;

-- Whatever sets an event apart is found by the index: a body may have thousands that are alike but for one thing.
DROP INDEX sync_inbox_event;
CREATE INDEX sync_inbox_event ON sync_inbox (hs_id, occurred_at, event_type, property, event_id, others);
-- Fields of writes in whose gap, between the read before them and the write, somebody may have edited the record: what
-- was read, sent and answered, and HubSpot's versions of the record on both sides.
CREATE TABLE sync_gaps (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    object TEXT NOT NULL,
    hs_id INTEGER NOT NULL,
    local_id INTEGER NOT NULL,
    property TEXT NOT NULL,
    base_value TEXT,
    base_known INTEGER NOT NULL,
    sent_value TEXT,
    answered_value TEXT,
    read_version TEXT NOT NULL,
    -- NULL where the answer was lost.
    written_version TEXT,
    noted_at TEXT NOT NULL,
    -- When the property's history is asked for; NULL where only an event may still tell.
    look_at TEXT,
    -- Whether the history is asked for although webhooks of the property arrive.
    seen INTEGER NOT NULL
) STRICT;
CREATE INDEX sync_gaps_record ON sync_gaps (object, hs_id);
CREATE INDEX sync_gaps_due ON sync_gaps (object, look_at) WHERE look_at IS NOT NULL;
CREATE INDEX sync_gaps_noted ON sync_gaps (noted_at);

-- When a removal that was refused is tried again, and what refused it.
ALTER TABLE sync_removals ADD COLUMN due_at TEXT;
ALTER TABLE sync_removals ADD COLUMN problem TEXT;
-- Why a record could not be taken, until the read is done that tries again.
ALTER TABLE sync_reads ADD COLUMN problem TEXT;
CREATE INDEX sync_reads_problem ON sync_reads (object) WHERE problem IS NOT NULL;
-- What stands in the place of a table of ours was made by a program: it is kept under another name until somebody drops it.
CREATE TABLE sync_set_aside (
    table_name TEXT NOT NULL PRIMARY KEY,
    -- The table in whose place it stood.
    place TEXT NOT NULL,
    at TEXT NOT NULL,
    problem TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- The largest `local_id` that any row of the object had: SQLite's own note of it goes with a dropped table.
ALTER TABLE sync_objects ADD COLUMN last_local_id INTEGER NOT NULL DEFAULT 0;

-- What programs did past the triggers, in words, and until when that is told.
CREATE TABLE sync_bypassed (
    object TEXT NOT NULL,
    until TEXT NOT NULL,
    at TEXT NOT NULL,
    problem TEXT NOT NULL,
    PRIMARY KEY (object, until)
) STRICT, WITHOUT ROWID;
-- Rows that stay here although HubSpot does not have them, until a program writes them again: their create was discarded, or
-- their record was erased.
CREATE TABLE sync_excluded (
    object TEXT NOT NULL,
    local_id INTEGER NOT NULL,
    PRIMARY KEY (object, local_id)
) STRICT, WITHOUT ROWID;
