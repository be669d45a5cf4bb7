-- Webhooks: what an event said, which read answers it, and records whose data must be erased.

ALTER TABLE sync_inbox ADD COLUMN property TEXT;
-- What the event said of the property; forgotten when the event is done.
ALTER TABLE sync_inbox ADD COLUMN value TEXT;
-- Ids of other records that the event names, separated by spaces.
ALTER TABLE sync_inbox ADD COLUMN others TEXT;
-- The number of the read that answers the event; NULL until it is asked for.
ALTER TABLE sync_inbox ADD COLUMN read_number INTEGER;
-- Whether the event says that its own app made the change.
ALTER TABLE sync_inbox ADD COLUMN own INTEGER NOT NULL DEFAULT 0;

CREATE INDEX sync_inbox_event ON sync_inbox (hs_id, occurred_at);
CREATE INDEX sync_inbox_new ON sync_inbox (id) WHERE state = 'pending' AND read_number IS NULL;

-- How often a read was asked for: one that was asked for again while it ran is not done with its answer.
ALTER TABLE sync_reads ADD COLUMN asked INTEGER NOT NULL DEFAULT 1;

-- Which record each merged one went into: what the file holds under the old ids belongs to the survivor's person.
CREATE TABLE sync_merges (
    object TEXT NOT NULL,
    hs_id INTEGER NOT NULL,
    into_id INTEGER NOT NULL,
    PRIMARY KEY (object, hs_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX sync_merges_into ON sync_merges (object, into_id);

CREATE TABLE sync_erasures (
    object TEXT NOT NULL,
    hs_id INTEGER NOT NULL,
    asked_at TEXT NOT NULL,
    -- When it was done: for a while after that, late events of the record are kept without their values.
    erased_at TEXT,
    PRIMARY KEY (object, hs_id)
) STRICT, WITHOUT ROWID;

-- How webhooks are doing: waiting, healthy or missed; NULL without them.
ALTER TABLE sync_daemon ADD COLUMN webhooks TEXT;
