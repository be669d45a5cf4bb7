-- hubsyncd's own tables. Mirror tables, triggers and the two status views are made from the mapping (store/shape).
-- Names that begin with `_sync_` are hubsyncd's own business; what begins with `sync_` is for people, and its documented names
-- and columns are a contract: columns are only ever added at the end.

-- What the file remembers about itself: `database_id`, `portal_id`, `time_zone`, `clock_offset_ms`.
CREATE TABLE _sync_meta (
    name TEXT NOT NULL PRIMARY KEY,
    value TEXT
) STRICT, WITHOUT ROWID;

-- Raised by each daemon that takes the file over; a transaction under an older epoch is refused.
CREATE TABLE _sync_lease (
    id INTEGER PRIMARY KEY CONSTRAINT sync_lease_one_row CHECK (id = 1),
    epoch INTEGER NOT NULL,
    pid INTEGER NOT NULL,
    taken_at TEXT NOT NULL
) STRICT;
INSERT INTO _sync_lease (id, epoch, pid, taken_at) VALUES (1, 0, 0, '1970-01-01T00:00:00.000Z');

-- Open while a mirror table's own trigger writes to the tables below; everybody else is refused.
CREATE TABLE _sync_gate (
    id INTEGER PRIMARY KEY CONSTRAINT sync_gate_one_row CHECK (id = 1),
    open INTEGER NOT NULL
) STRICT;
INSERT INTO _sync_gate (id, open) VALUES (1, 0);

-- The row that an INSERT OR REPLACE is about to overwrite: noted before the insert, used after it.
CREATE TABLE _sync_replaced (
    id INTEGER PRIMARY KEY,
    object TEXT NOT NULL,
    -- The number of the row for which it is noted; below 1 while SQLite is to give one.
    for_id INTEGER NOT NULL DEFAULT -1,
    local_id INTEGER NOT NULL,
    hs_id INTEGER,
    hs_created_at TEXT,
    hs_modified_at TEXT,
    hs_archived INTEGER NOT NULL DEFAULT 0,
    -- Whether the new row is still to be given the ids of this one (0), is given them just now (1), or has them (2).
    taking INTEGER NOT NULL DEFAULT 0,
    -- The key of the row's create, where one waits.
    key TEXT,
    -- The values of its fields.
    row TEXT NOT NULL
) STRICT;

-- What triggers of the user's have written to an inserted row that is still to be given the ids of a noted one.
CREATE TABLE _sync_written (
    object TEXT NOT NULL,
    for_id INTEGER NOT NULL,
    property TEXT NOT NULL,
    value ANY,
    PRIMARY KEY (object, for_id, property)
) STRICT;

-- The fields that a local write has changed, while its trigger works, as the columns hold them; empty at any other time. A CHECK
-- keeps others out, and no key lets a row be found: for both SQLite would make a table of its own at each write.
CREATE TABLE _sync_changed (
    -- What our triggers write here, as they write it to open the gate.
    writer INTEGER
        CONSTRAINT "_sync_changed is kept by hubsyncd: read it, and write to the mirror tables instead [kept-by-hubsyncd]" CHECK (writer IS 20813),
    property TEXT NOT NULL,
    base_value ANY,
    new_value ANY,
    -- What the row holds by now: triggers of the user's may have written to it since.
    held_value ANY,
    -- The entry of which it becomes a field when it is taken out; NULL where it becomes none.
    outbox_id INTEGER,
    base_known INTEGER NOT NULL DEFAULT 0,
    -- Whether a field that is back at its base has nothing left to send.
    may_end INTEGER NOT NULL DEFAULT 0,
    at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
) STRICT;

-- Fields that a trigger of the user's has changed from their base: the write that brought them to it is yet to be told. Of use
-- to one statement only.
CREATE TABLE _sync_left (
    outbox_id INTEGER NOT NULL,
    property TEXT NOT NULL,
    at TEXT NOT NULL,
    times INTEGER NOT NULL,
    PRIMARY KEY (outbox_id, property)
) STRICT;

-- Whatever is compared with more than two values is written out: for `IN (…)` SQLite makes a table of its own at each write.
CREATE TABLE sync_outbox (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    object TEXT NOT NULL,
    local_id INTEGER NOT NULL,
    hs_id INTEGER,
    operation TEXT NOT NULL
        CONSTRAINT sync_outbox_operation CHECK (operation = 'create' OR operation = 'update' OR operation = 'archive' OR operation = 'associate' OR operation = 'disassociate'),
    state TEXT NOT NULL DEFAULT 'pending'
        CONSTRAINT sync_outbox_state CHECK (state = 'pending' OR state = 'in_flight' OR state = 'dead'),
    attempts INTEGER NOT NULL DEFAULT 0,
    enqueued_at TEXT NOT NULL,
    next_attempt_at TEXT,
    last_error TEXT,
    version INTEGER NOT NULL DEFAULT 1,
    waits_for TEXT
        CONSTRAINT sync_outbox_waits_for CHECK (waits_for = 'backfill' OR waits_for = 'guard' OR waits_for = 'answer' OR waits_for = 'create' OR waits_for = 'lock'),
    key TEXT,
    row TEXT,
    to_object TEXT,
    to_local_id INTEGER,
    category TEXT,
    type_id INTEGER,
    label TEXT,
    -- What stands in brackets at the end of `last_error`. A plain column: `.clone` can't copy a table with a calculated one.
    code TEXT,
    -- What HubSpot called the request whose answer was the last.
    correlation_id TEXT,
    -- When the oldest attempt that nobody has answered was made: while it is set, nothing is cut short.
    unanswered_since TEXT,
    -- The person's DELETE, until the daemon has carried it out.
    discarded_at TEXT,
    -- The hold whose approval lets this entry pass the guard.
    approved_hold INTEGER,
    -- HubSpot's time of the record's version that the last attempt, or a lost one, went over: what it brings is later.
    sent_over TEXT,
    -- HubSpot's time of the latest version that was shown of the record while its row is deleted.
    shown_version TEXT,
    -- The row that has a unique value which this entry's record is to have, until a change of that row's own is done.
    taken_by INTEGER,
    -- Whether the last attempt of a create carried no key of ours: no look by key finds what it made.
    sent_keyless INTEGER NOT NULL DEFAULT 0,
    -- Whether nobody named an association's type: it goes out as the pair's default, of which HubSpot may make a primary.
    by_default INTEGER NOT NULL DEFAULT 0,
    CONSTRAINT sync_outbox_archive_has_id CHECK (operation <> 'archive' OR hs_id IS NOT NULL),
    CONSTRAINT sync_outbox_create_has_key CHECK (operation <> 'create' OR key IS NOT NULL),
    CONSTRAINT sync_outbox_association_has_ends CHECK ((operation <> 'associate' AND operation <> 'disassociate') OR (to_object IS NOT NULL AND to_local_id IS NOT NULL))
) STRICT;
CREATE UNIQUE INDEX sync_outbox_record ON sync_outbox (object, local_id)
    WHERE operation NOT IN ('associate', 'disassociate');
-- One entry for each type of a pair; where it is not known yet, for each label. That of a pair of one object serves both directions.
CREATE UNIQUE INDEX sync_outbox_association ON sync_outbox
    (object, local_id, to_object, to_local_id, coalesce(category, ''), coalesce(type_id, 0), coalesce(label, ''))
    WHERE operation IN ('associate', 'disassociate');
CREATE INDEX sync_outbox_to ON sync_outbox (to_object, to_local_id) WHERE to_local_id IS NOT NULL;
CREATE INDEX sync_outbox_hs_id ON sync_outbox (object, hs_id) WHERE hs_id IS NOT NULL;
CREATE INDEX sync_outbox_due ON sync_outbox (object, operation, state, next_attempt_at);
CREATE INDEX sync_outbox_key ON sync_outbox (key) WHERE key IS NOT NULL;
CREATE INDEX sync_outbox_discarded ON sync_outbox (discarded_at) WHERE discarded_at IS NOT NULL;

CREATE TABLE sync_outbox_fields (
    outbox_id INTEGER NOT NULL REFERENCES sync_outbox (id) ON DELETE CASCADE,
    property TEXT NOT NULL,
    -- What the column held, as SQLite holds it.
    base_value ANY,
    changed_at TEXT NOT NULL,
    base_known INTEGER NOT NULL DEFAULT 1 CONSTRAINT sync_outbox_fields_base_known CHECK (base_known IN (0, 1)),
    sent_value TEXT,
    PRIMARY KEY (outbox_id, property)
) STRICT, WITHOUT ROWID;

-- Values of HubSpot's that our writes went over although they were to go only where there is none: they go back with the entry.
CREATE TABLE _sync_owed (
    outbox_id INTEGER NOT NULL,
    property TEXT NOT NULL,
    value TEXT NOT NULL,
    -- What HubSpot holds by our write.
    over TEXT,
    PRIMARY KEY (outbox_id, property)
) STRICT, WITHOUT ROWID;

-- Values sent in updates whose answer was lost: one that comes back late is our own, not somebody's edit.
CREATE TABLE _sync_sent (
    object TEXT NOT NULL,
    local_id INTEGER NOT NULL,
    property TEXT NOT NULL,
    value TEXT,
    sent_at TEXT NOT NULL,
    -- HubSpot's time of the record's version that the update went over.
    sent_over TEXT
) STRICT;
CREATE INDEX _sync_sent_record ON _sync_sent (object, local_id, property);

-- Fields of writes in whose gap, between the read before them and the write, somebody may have edited the record: what
-- was read, sent and answered, and HubSpot's versions of the record on both sides.
CREATE TABLE _sync_gaps (
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
CREATE INDEX _sync_gaps_record ON _sync_gaps (object, hs_id);
CREATE INDEX _sync_gaps_due ON _sync_gaps (object, look_at) WHERE look_at IS NOT NULL;
CREATE INDEX _sync_gaps_noted ON _sync_gaps (noted_at);

-- Rows that stay here although HubSpot does not have them, until a program writes them again: their create was discarded, or
-- their record was erased.
CREATE TABLE _sync_excluded (
    object TEXT NOT NULL,
    local_id INTEGER NOT NULL,
    PRIMARY KEY (object, local_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE sync_inbox (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    event_id INTEGER,
    event_type TEXT NOT NULL,
    object TEXT,
    hs_id INTEGER,
    occurred_at TEXT,
    received_at TEXT NOT NULL,
    state TEXT NOT NULL CONSTRAINT sync_inbox_state CHECK (state IN ('pending', 'done', 'ignored', 'dead')),
    last_error TEXT,
    property TEXT,
    -- What the event said of the property; forgotten when the event is done.
    value TEXT,
    -- Ids of other records that the event names, separated by spaces.
    others TEXT,
    -- The number of the read that answers the event; NULL until it is asked for.
    read_number INTEGER,
    -- Whether the event says that its own app made the change.
    own INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX sync_inbox_state ON sync_inbox (state, received_at);
-- Whatever sets an event apart is found by the index: a body may have thousands that are alike but for one thing.
CREATE INDEX sync_inbox_event ON sync_inbox (hs_id, occurred_at, event_type, property, event_id, others);
CREATE INDEX sync_inbox_new ON sync_inbox (id) WHERE state = 'pending' AND read_number IS NULL;

CREATE TABLE sync_conflicts (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    object TEXT NOT NULL,
    local_id INTEGER NOT NULL,
    hs_id INTEGER,
    property TEXT NOT NULL,
    base_value TEXT,
    local_value TEXT,
    remote_value TEXT,
    policy TEXT NOT NULL CONSTRAINT sync_conflicts_policy CHECK (policy IN ('remote', 'local', 'newest', 'manual')),
    winner TEXT CONSTRAINT sync_conflicts_winner CHECK (winner IN ('local', 'remote', 'value', 'agreed')),
    detected_at TEXT NOT NULL,
    resolved_at TEXT,
    resolution TEXT,
    reason TEXT,
    -- The base of a field that waits for a decision may be unknown, as for an adopted record.
    base_known INTEGER NOT NULL DEFAULT 1,
    -- Of associations that exclude each other at the record where they lead: that record's row.
    to_local_id INTEGER,
    -- When a program wrote the local value, where that was still known.
    local_changed_at TEXT,
    -- When HubSpot's value was set, and by whom, where the decision read that in the property's history.
    remote_changed_at TEXT,
    remote_source_type TEXT,
    remote_source_id TEXT
) STRICT;
CREATE UNIQUE INDEX sync_conflicts_open ON sync_conflicts (object, local_id, property, coalesce(to_local_id, 0)) WHERE resolved_at IS NULL;
CREATE UNIQUE INDEX sync_conflicts_open_to ON sync_conflicts (object, to_local_id) WHERE resolved_at IS NULL AND to_local_id IS NOT NULL;
CREATE INDEX sync_conflicts_waiting ON sync_conflicts (id) WHERE resolved_at IS NULL;
CREATE INDEX sync_conflicts_record ON sync_conflicts (object, local_id, property);

CREATE TABLE sync_holds (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    object TEXT NOT NULL,
    side TEXT NOT NULL CONSTRAINT sync_holds_side CHECK (side IN ('hubspot', 'local')),
    operation TEXT NOT NULL CONSTRAINT sync_holds_operation CHECK (operation IN ('archive', 'remove', 'update', 'clear', 'disassociate')),
    records INTEGER NOT NULL,
    allowed INTEGER NOT NULL,
    held_at TEXT NOT NULL,
    approved_at TEXT,
    -- The stable name of what is held, by its operation.
    code TEXT,
    -- Of a column that is emptied: its property.
    property TEXT,
    -- When the daemon let go what was held at the approval, or what was held vanished by itself.
    settled_at TEXT,
    -- The person's DELETE, until the daemon has taken back what was held.
    discarded_at TEXT
) STRICT;
CREATE UNIQUE INDEX sync_holds_open ON sync_holds (object, side, operation, coalesce(property, ''))
    WHERE approved_at IS NULL AND settled_at IS NULL AND discarded_at IS NULL;

-- Rows that HubSpot no longer has: counted first, and then removed or held (`hold_id`) for an operator's word.
CREATE TABLE _sync_removals (
    object TEXT NOT NULL,
    hs_id INTEGER NOT NULL,
    -- Whether HubSpot's archive shows the record, and since when, if it says so.
    archived INTEGER NOT NULL DEFAULT 0,
    archived_at TEXT,
    seen_at TEXT NOT NULL,
    origin TEXT NOT NULL,
    hold_id INTEGER,
    -- When a removal that was refused is tried again, what refused it, and how often.
    due_at TEXT,
    problem TEXT,
    refusals INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (object, hs_id)
) STRICT, WITHOUT ROWID;

-- Fields that one side emptied and the guard holds: out of their entries, and as they are on each side until an operator's word.
CREATE TABLE _sync_held_clears (
    object TEXT NOT NULL,
    property TEXT NOT NULL,
    local_id INTEGER NOT NULL,
    hs_id INTEGER,
    -- Where they would be emptied.
    side TEXT NOT NULL CONSTRAINT sync_held_clears_side CHECK (side IN ('hubspot', 'local')),
    hold_id INTEGER NOT NULL,
    -- What HubSpot held when the guard held it: the base of the change.
    remote_value ANY,
    changed_at TEXT NOT NULL,
    -- What HubSpot has shown since, where that is something else.
    shown_value ANY,
    PRIMARY KEY (object, local_id, property)
) STRICT, WITHOUT ROWID;
CREATE INDEX _sync_held_clears_hold ON _sync_held_clears (hold_id, local_id);

-- What the guard counts, over its window and across restarts.
CREATE TABLE _sync_guard_log (
    object TEXT NOT NULL,
    side TEXT NOT NULL,
    operation TEXT NOT NULL,
    at TEXT NOT NULL,
    records INTEGER NOT NULL,
    -- Of a column that is emptied: its property.
    property TEXT
) STRICT;
CREATE INDEX _sync_guard_log_window ON _sync_guard_log (object, side, operation, at);

CREATE TABLE sync_history (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at TEXT NOT NULL,
    object TEXT NOT NULL,
    local_id INTEGER,
    hs_id INTEGER,
    property TEXT NOT NULL,
    old_value TEXT,
    new_value TEXT,
    origin TEXT NOT NULL CONSTRAINT sync_history_origin CHECK (origin IN
        ('poll', 'webhook', 'reconcile', 'push', 'conflict', 'absorb', 'discard', 'schema', 'undo', 'rule')),
    -- The run of `sync_runs` that brought it; NULL where none did.
    run_id INTEGER
) STRICT;
CREATE INDEX sync_history_record ON sync_history (object, local_id);
CREATE INDEX sync_history_at ON sync_history (at);
-- Rows that went with their associations, which name other records.
CREATE INDEX sync_history_associations ON sync_history (object)
    WHERE property = '*' AND instr(old_value, '"associations":');

-- Local writes that turned a change back, until HubSpot has acknowledged them: what that is told as. Of an association `value`
-- says which it is, of a whole record nothing.
CREATE TABLE _sync_undone (
    object TEXT NOT NULL,
    local_id INTEGER NOT NULL,
    property TEXT NOT NULL,
    value TEXT NOT NULL,
    at TEXT NOT NULL,
    PRIMARY KEY (object, local_id, property, value)
) STRICT, WITHOUT ROWID;

-- What the mapping file says of single properties: `unkept`, kept out of `sync_history`, and `remote_history`; and of which of them
-- the column has held all of HubSpot's values once: `filled`.
CREATE TABLE _sync_modes (
    object TEXT NOT NULL,
    mode TEXT NOT NULL,
    property TEXT NOT NULL,
    PRIMARY KEY (object, mode, property)
) STRICT, WITHOUT ROWID;

-- HubSpot's own history of chosen properties.
CREATE TABLE property_history (
    object TEXT NOT NULL,
    hs_id INTEGER NOT NULL,
    property TEXT NOT NULL,
    at TEXT NOT NULL,
    value TEXT,
    source_type TEXT,
    source_id TEXT,
    PRIMARY KEY (object, hs_id, property, at)
) STRICT, WITHOUT ROWID;

-- Records whose history is to be read.
CREATE TABLE _sync_histories (
    object TEXT NOT NULL,
    hs_id INTEGER NOT NULL,
    -- How often it was asked for without an answer as new as its row.
    tries INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (object, hs_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX _sync_histories_due ON _sync_histories (object, tries, hs_id);

-- What was pushed lately of properties that are kept out of `sync_history`: our own values that come back, fights and values that move on are told by it.
CREATE TABLE _sync_pushes (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at TEXT NOT NULL,
    object TEXT NOT NULL,
    local_id INTEGER NOT NULL,
    hs_id INTEGER,
    property TEXT NOT NULL,
    old_value TEXT,
    new_value TEXT
) STRICT;
CREATE INDEX _sync_pushes_record ON _sync_pushes (object, local_id);
CREATE INDEX _sync_pushes_at ON _sync_pushes (at);

CREATE TABLE sync_runs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    object TEXT,
    kind TEXT NOT NULL CONSTRAINT sync_runs_kind CHECK (kind IN
        ('backfill', 'poll', 'again', 'reconcile', 'push', 'associations', 'schema', 'history')),
    started_at TEXT NOT NULL,
    finished_at TEXT,
    requests INTEGER NOT NULL DEFAULT 0,
    seen INTEGER NOT NULL DEFAULT 0,
    changed INTEGER NOT NULL DEFAULT 0,
    error TEXT,
    -- What `error` is called.
    code TEXT
) STRICT;
CREATE INDEX sync_runs_last ON sync_runs (object, kind, id);
CREATE INDEX sync_runs_finished ON sync_runs (finished_at);

-- Each attempt of a request to HubSpot, as a ring.
CREATE TABLE sync_calls (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at TEXT NOT NULL,
    method TEXT NOT NULL,
    path TEXT NOT NULL,
    class TEXT NOT NULL,
    -- NULL where no answer came.
    status INTEGER,
    ms INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    records INTEGER,
    code TEXT,
    correlation_id TEXT,
    burst_left INTEGER,
    day_left INTEGER,
    -- The run of `sync_runs` that it belongs to; NULL where it belongs to none, -1 inside the transaction that is finding out.
    run_id INTEGER
) STRICT;
CREATE INDEX sync_calls_at ON sync_calls (at) WHERE code IS NULL;
CREATE INDEX sync_calls_errors ON sync_calls (at) WHERE code IS NOT NULL;
CREATE INDEX sync_calls_unsigned ON sync_calls (id) WHERE run_id = -1;

CREATE TABLE sync_requests (
    hour TEXT NOT NULL,
    class TEXT NOT NULL,
    requests INTEGER NOT NULL DEFAULT 0,
    errors INTEGER NOT NULL DEFAULT 0,
    throttled INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (hour, class)
) STRICT, WITHOUT ROWID;

-- What programs ask of the daemon by SQL.
CREATE TABLE sync_commands (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    command TEXT NOT NULL CONSTRAINT sync_commands_command CHECK (command IN ('refetch', 'reconcile', 'poll', 'backfill', 'pause', 'resume')),
    object TEXT,
    argument TEXT,
    state TEXT NOT NULL DEFAULT 'waiting'
        CONSTRAINT sync_commands_state CHECK (state IN ('waiting', 'running', 'done', 'failed', 'refused')),
    result TEXT,
    finished_at TEXT,
    run_id INTEGER,
    code TEXT
) STRICT;
CREATE INDEX sync_commands_open ON sync_commands (command, object, argument) WHERE state = 'waiting' OR state = 'running';
CREATE INDEX sync_commands_finished ON sync_commands (finished_at) WHERE finished_at IS NOT NULL;

-- How far a command is with each of its objects.
CREATE TABLE _sync_command_work (
    command_id INTEGER NOT NULL,
    object TEXT NOT NULL,
    -- By HubSpot's clock, and by this machine's.
    noticed_at TEXT NOT NULL,
    began_at TEXT NOT NULL,
    -- The last numbers before it.
    history_from INTEGER NOT NULL,
    calls_from INTEGER NOT NULL,
    seen_from INTEGER NOT NULL,
    -- Where a walk of its own goes on, and how many records it has read.
    after TEXT,
    seen INTEGER NOT NULL DEFAULT 0,
    -- What such a walk has changed here, and its requests.
    changed INTEGER NOT NULL DEFAULT 0,
    requests INTEGER NOT NULL DEFAULT 0,
    is_done INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (command_id, object)
) STRICT, WITHOUT ROWID;

-- What is paused, across restarts.
CREATE TABLE _sync_pauses (
    side TEXT NOT NULL PRIMARY KEY CONSTRAINT _sync_pauses_side CHECK (side IN ('push', 'pull')),
    at TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE sync_fields (
    object TEXT NOT NULL,
    property TEXT NOT NULL,
    column_name TEXT NOT NULL,
    type TEXT NOT NULL,
    direction TEXT NOT NULL,
    state TEXT NOT NULL CONSTRAINT sync_fields_state CHECK (state IN ('active', 'filling', 'degraded', 'unmapped')),
    since TEXT NOT NULL,
    problem TEXT,
    hint TEXT,
    -- What `problem` is called.
    code TEXT,
    PRIMARY KEY (object, property)
) STRICT, WITHOUT ROWID;

-- Values of HubSpot's that their column's type can't hold, as HubSpot spells them; the column keeps what it had.
CREATE TABLE sync_unreadable (
    object TEXT NOT NULL,
    property TEXT NOT NULL,
    hs_id INTEGER NOT NULL,
    value TEXT,
    seen_at TEXT NOT NULL,
    PRIMARY KEY (object, property, hs_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX sync_unreadable_record ON sync_unreadable (object, hs_id);

-- Which objects have a mirror table, and under which name it was made.
CREATE TABLE _sync_objects (
    object TEXT NOT NULL PRIMARY KEY,
    table_name TEXT NOT NULL,
    direction TEXT NOT NULL,
    -- Whether the portal has the unique property that keys creates: its name, once known.
    key_property TEXT,
    -- The largest `local_id` that any row of the object had: SQLite's own note of it goes with a dropped table.
    last_local_id INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

-- How far each object is: the first full read, the polled window, the full comparison.
CREATE TABLE _sync_cursors (
    object TEXT NOT NULL PRIMARY KEY,
    backfill TEXT NOT NULL DEFAULT 'waiting'
        CONSTRAINT sync_cursors_backfill CHECK (backfill IN ('waiting', 'running', 'done')),
    backfill_started_at TEXT,
    backfill_rows INTEGER NOT NULL DEFAULT 0,
    backfill_total INTEGER,
    -- By HubSpot's clock: every change up to here is known.
    polled_to TEXT,
    window_from TEXT,
    window_to TEXT,
    window_last_id INTEGER,
    last_poll_at TEXT,
    last_change_at TEXT,
    last_reconcile_at TEXT,
    reconcile_started_at TEXT,
    -- Whether it is at the list of archived records by now.
    reconcile_archived INTEGER NOT NULL DEFAULT 0,
    last_error TEXT,
    last_error_code TEXT,
    last_association_pass_at TEXT,
    -- Where the filling of newly mapped columns stands.
    filling_after TEXT,
    -- What HubSpot forbids to the token of this object.
    forbidden TEXT,
    forbidden_code TEXT,
    -- Whether the object's records can be read: 0 while HubSpot forbids it.
    is_readable INTEGER NOT NULL DEFAULT 1,
    -- When the histories of records were asked for last, and when all of them had been read.
    history_asked_at TEXT,
    last_history_at TEXT
) STRICT, WITHOUT ROWID;

-- What stands in the place of a table of ours was made by a program: it is kept under another name until somebody drops it.
CREATE TABLE _sync_set_aside (
    table_name TEXT NOT NULL PRIMARY KEY,
    -- The table in whose place it stood.
    place TEXT NOT NULL,
    at TEXT NOT NULL,
    problem TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- What programs did past the triggers, in words, and until when that is told.
CREATE TABLE _sync_bypassed (
    object TEXT NOT NULL,
    until TEXT NOT NULL,
    at TEXT NOT NULL,
    problem TEXT NOT NULL,
    PRIMARY KEY (object, until)
) STRICT, WITHOUT ROWID;

-- The ranges of ids in which an object's list is walked, one without an end where its cursor is no record id.
CREATE TABLE _sync_ranges (
    object TEXT NOT NULL,
    walk TEXT NOT NULL
        CONSTRAINT sync_ranges_walk CHECK (walk IN ('backfill', 'reconcile')),
    -- It begins behind this id.
    start_id INTEGER NOT NULL,
    -- With what its next page is asked for; NULL for the list's first.
    after TEXT,
    -- It was read up to this id.
    last_id INTEGER NOT NULL,
    -- Its last id; NULL to the end of the list.
    until_id INTEGER,
    PRIMARY KEY (object, walk, start_id)
) STRICT, WITHOUT ROWID;

-- Walks again over windows that were polled already, because the search index is late: one chain for each delay.
CREATE TABLE _sync_again (
    object TEXT NOT NULL,
    delay_ms INTEGER NOT NULL,
    -- By HubSpot's clock: everything up to here was walked again.
    walked_to TEXT NOT NULL,
    window_to TEXT,
    last_id INTEGER,
    PRIMARY KEY (object, delay_ms)
) STRICT, WITHOUT ROWID;

-- Records that left the mirror lately: an old page or a late search hit must not bring them back.
CREATE TABLE _sync_tombstones (
    object TEXT NOT NULL,
    hs_id INTEGER NOT NULL,
    at TEXT NOT NULL,
    -- When what is still known of a record that is nowhere in HubSpot is erased.
    erase_at TEXT,
    PRIMARY KEY (object, hs_id)
) STRICT, WITHOUT ROWID;

-- Records that the token does not see although their rows are here, and those whose deletion HubSpot has announced, or shows in
-- the list of its archive: until they are shown again.
CREATE TABLE _sync_absent (
    object TEXT NOT NULL,
    hs_id INTEGER NOT NULL,
    at TEXT NOT NULL,
    unseen INTEGER NOT NULL,
    announced INTEGER NOT NULL,
    -- When the record was archived, where HubSpot said so.
    archived_at TEXT,
    PRIMARY KEY (object, hs_id)
) STRICT, WITHOUT ROWID;

-- Records that a window's second walk found different, or that a read must confirm: ids to read from the store.
CREATE TABLE _sync_reads (
    object TEXT NOT NULL,
    hs_id INTEGER NOT NULL,
    origin TEXT NOT NULL,
    due_at TEXT NOT NULL,
    -- How often a read was asked for: one that was asked for again while it ran is not done with its answer.
    asked INTEGER NOT NULL DEFAULT 1,
    -- Why a record could not be taken, until the read is done that tries again, and how often it was tried.
    problem TEXT,
    refusals INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (object, hs_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX _sync_reads_problem ON _sync_reads (object) WHERE problem IS NOT NULL;

-- Records whose associations are to be read, by the pair that they stand at one end of.
CREATE TABLE _sync_links_due (
    pair TEXT NOT NULL,
    -- From the end where its rows start, or from the other one, which tells whose are to be read from there.
    side TEXT NOT NULL CONSTRAINT sync_links_due_side CHECK (side IN ('from', 'to')),
    hs_id INTEGER NOT NULL,
    origin TEXT NOT NULL,
    due_at TEXT NOT NULL,
    -- The number of the last question, of no order: an answer to another one says nothing of what was written since.
    asked INTEGER NOT NULL DEFAULT (random()),
    PRIMARY KEY (pair, side, hs_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX _sync_links_due_at ON _sync_links_due (pair, side, due_at);

-- Associations whose other record is not in the mirror: they become rows when it is.
CREATE TABLE _sync_links_waiting (
    pair TEXT NOT NULL,
    from_hs_id INTEGER NOT NULL,
    to_hs_id INTEGER NOT NULL,
    category TEXT NOT NULL,
    type_id INTEGER NOT NULL,
    label TEXT,
    PRIMARY KEY (pair, from_hs_id, to_hs_id, category, type_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX _sync_links_waiting_to ON _sync_links_waiting (pair, to_hs_id);

-- Associations that an answer missed while one of their records may be gone itself: believed once that was read.
CREATE TABLE _sync_links_missed (
    pair TEXT NOT NULL,
    from_hs_id INTEGER NOT NULL,
    to_hs_id INTEGER NOT NULL,
    PRIMARY KEY (pair, from_hs_id, to_hs_id)
) STRICT, WITHOUT ROWID;

-- With how many records one of `from_object` may have a type, where the portal's people limit that (`association_types` has the types).
CREATE TABLE _sync_link_limits (
    from_object TEXT NOT NULL,
    to_object TEXT NOT NULL,
    category TEXT NOT NULL,
    type_id INTEGER NOT NULL,
    most INTEGER NOT NULL CONSTRAINT _sync_link_limits_most CHECK (most > 0),
    PRIMARY KEY (from_object, to_object, category, type_id)
) STRICT, WITHOUT ROWID;

-- The pairs of the mapping file, and how far the pass over the records of each is.
CREATE TABLE _sync_link_passes (
    pair TEXT NOT NULL PRIMARY KEY,
    -- What is known of a pair is known of its two ends, whatever it is called.
    from_object TEXT NOT NULL,
    to_object TEXT NOT NULL,
    -- Whether its associations are read: a pair that is only pushed has a name here, and no passes.
    pulls INTEGER NOT NULL DEFAULT 1,
    -- When the first pass ended; NULL until all links were read once.
    first_ended_at TEXT,
    last_ended_at TEXT,
    started_at TEXT,
    -- The last record that the pass under way has read.
    last_hs_id INTEGER,
    -- Into how many slices the records fall, and when the last one was due: the rotating pass reads one after the other. NULL in a
    -- pass that goes on at once.
    slices INTEGER,
    slice_due_at TEXT,
    CONSTRAINT _sync_link_passes_pace CHECK ((slices IS NULL) = (slice_due_at IS NULL))
) STRICT, WITHOUT ROWID;

-- Which record each merged one went into: what the file holds under the old ids belongs to the survivor's person.
CREATE TABLE _sync_merges (
    object TEXT NOT NULL,
    hs_id INTEGER NOT NULL,
    into_id INTEGER NOT NULL,
    PRIMARY KEY (object, hs_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX _sync_merges_into ON _sync_merges (object, into_id);

-- Records that must be erased, because HubSpot deleted them for good under a privacy law.
CREATE TABLE _sync_erasures (
    object TEXT NOT NULL,
    hs_id INTEGER NOT NULL,
    asked_at TEXT NOT NULL,
    -- When it was done: for a while after that, late events of the record are kept without their values.
    erased_at TEXT,
    PRIMARY KEY (object, hs_id)
) STRICT, WITHOUT ROWID;

-- The day of the account, as far as it is known.
CREATE TABLE _sync_quota (
    id INTEGER PRIMARY KEY CONSTRAINT sync_quota_one_row CHECK (id = 1),
    day TEXT,
    day_used INTEGER NOT NULL DEFAULT 0,
    day_limit INTEGER,
    day_resets_at TEXT,
    -- What other apps of the account have used of the day, when the daemon last looked.
    day_others INTEGER NOT NULL DEFAULT 0,
    -- What the daemon goes by: requests in ten seconds, searches in one.
    burst_limit INTEGER,
    search_limit REAL
) STRICT;
INSERT INTO _sync_quota (id) VALUES (1);

-- What other apps had used of the day, every few minutes of the last hour: how fast they use it.
CREATE TABLE _sync_quota_others (
    at TEXT NOT NULL PRIMARY KEY,
    others INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Blocks of the budget that were handed out lately: what may have been sent before a kill.
CREATE TABLE _sync_quota_leases (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    granted_at TEXT NOT NULL,
    requests INTEGER NOT NULL,
    returned_at TEXT
) STRICT;

-- A command that asks HubSpot beside the daemon, which leaves it a share of the window free until `until` and for as long as
-- HubSpot still counts what it sent. One at a time.
CREATE TABLE _sync_command_leases (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    -- When the daemon had made room: it may send from then on.
    granted_at TEXT,
    until TEXT NOT NULL,
    -- What may have been sent under it.
    requests INTEGER NOT NULL DEFAULT 0,
    ended_at TEXT
) STRICT;

CREATE TABLE _sync_daemon (
    id INTEGER PRIMARY KEY CONSTRAINT sync_daemon_one_row CHECK (id = 1),
    phase TEXT NOT NULL,
    pid INTEGER,
    version TEXT,
    started_at TEXT,
    heartbeat_at TEXT,
    unauthorized TEXT,
    unreachable TEXT,
    out_of_quota_until TEXT,
    trigger_repaired_at TEXT,
    config_error TEXT,
    last_error TEXT,
    requests_last_minute INTEGER NOT NULL DEFAULT 0,
    throttled_last_minute INTEGER NOT NULL DEFAULT 0,
    -- How webhooks are doing: waiting, healthy or missed; NULL without them.
    webhooks TEXT,
    -- Events of other portals that were answered and dropped since the daemon's start.
    webhooks_dropped INTEGER NOT NULL DEFAULT 0,
    -- What HubSpot forbids to the token for all objects.
    forbidden TEXT,
    -- What each of these is called.
    unauthorized_code TEXT,
    unreachable_code TEXT,
    forbidden_code TEXT,
    config_code TEXT,
    last_error_code TEXT
) STRICT;
INSERT INTO _sync_daemon (id, phase) VALUES (1, 'stopped');

-- OAuth installations, a row a portal. Both tokens are sealed; the key is not in this file.
CREATE TABLE _sync_tokens (
    portal_id INTEGER PRIMARY KEY,
    -- Counts logins and renewals: who holds an older one must read again.
    generation INTEGER NOT NULL,
    refresh_token TEXT NOT NULL,
    access_token TEXT NOT NULL,
    issued_at TEXT NOT NULL,
    expires_at TEXT NOT NULL,
    scopes TEXT,
    logged_in_at TEXT NOT NULL,
    -- When HubSpot refused the refresh token for good, and its words.
    revoked_at TEXT,
    problem TEXT
) STRICT;

CREATE TABLE associations (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    from_object TEXT NOT NULL,
    from_local_id INTEGER NOT NULL,
    to_object TEXT NOT NULL,
    to_local_id INTEGER NOT NULL,
    category TEXT,
    type_id INTEGER,
    label TEXT,
    CONSTRAINT associations_once UNIQUE (from_object, from_local_id, to_object, to_local_id, category, type_id)
) STRICT;

CREATE INDEX associations_to ON associations (to_object, to_local_id);

CREATE TABLE association_types (
    from_object TEXT NOT NULL,
    to_object TEXT NOT NULL,
    category TEXT NOT NULL,
    type_id INTEGER NOT NULL,
    label TEXT,
    inverse_type_id INTEGER,
    archived INTEGER NOT NULL,
    PRIMARY KEY (from_object, to_object, category, type_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE owners (
    id INTEGER PRIMARY KEY,
    email TEXT,
    first_name TEXT,
    last_name TEXT,
    user_id INTEGER,
    archived INTEGER NOT NULL
) STRICT;

CREATE TABLE pipelines (
    object TEXT NOT NULL,
    id TEXT NOT NULL,
    label TEXT,
    display_order INTEGER,
    archived INTEGER NOT NULL,
    PRIMARY KEY (object, id)
) STRICT, WITHOUT ROWID;

CREATE TABLE pipeline_stages (
    object TEXT NOT NULL,
    pipeline_id TEXT NOT NULL,
    id TEXT NOT NULL,
    label TEXT,
    display_order INTEGER,
    closed INTEGER,
    probability REAL,
    archived INTEGER NOT NULL,
    PRIMARY KEY (object, pipeline_id, id)
) STRICT, WITHOUT ROWID;

CREATE INDEX pipeline_stages_id ON pipeline_stages (object, id);

CREATE TABLE properties (
    object TEXT NOT NULL,
    name TEXT NOT NULL,
    label TEXT,
    type TEXT,
    field_type TEXT,
    group_name TEXT,
    read_only INTEGER NOT NULL,
    unique_value INTEGER NOT NULL,
    options TEXT,
    archived INTEGER NOT NULL,
    -- Whether its values are ids of other records: such a number is a whole one.
    refers_to_record INTEGER NOT NULL DEFAULT 0,
    -- The kind of those records, in HubSpot's word: OWNER for owners.
    referenced_object TEXT,
    PRIMARY KEY (object, name)
) STRICT, WITHOUT ROWID;

-- The labels of `properties.options`, to be looked up by value.
CREATE TABLE _sync_options (
    object TEXT NOT NULL,
    property TEXT NOT NULL,
    value TEXT NOT NULL,
    label TEXT,
    PRIMARY KEY (object, property, value)
) STRICT, WITHOUT ROWID;

-- Options that HubSpot had and has no longer: rows may hold them, and HubSpot takes no write of them.
CREATE TABLE _sync_gone_options (
    object TEXT NOT NULL,
    property TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (object, property, value)
) STRICT, WITHOUT ROWID;
