-- hubsyncd's own tables. Mirror tables, triggers and the two status views are made from the mapping (store/ddl.rs).
-- The documented names and columns are a contract: columns are only ever added at the end.

-- What the file remembers about itself: `database_id`, `portal_id`, `time_zone`, `clock_offset_ms`.
CREATE TABLE sync_meta (
    name TEXT NOT NULL PRIMARY KEY,
    value TEXT
) STRICT, WITHOUT ROWID;

-- Raised by each daemon that takes the file over; a transaction under an older epoch is refused.
CREATE TABLE sync_lease (
    id INTEGER PRIMARY KEY CONSTRAINT sync_lease_one_row CHECK (id = 1),
    epoch INTEGER NOT NULL,
    pid INTEGER NOT NULL,
    taken_at TEXT NOT NULL
) STRICT;
INSERT INTO sync_lease (id, epoch, pid, taken_at) VALUES (1, 0, 0, '1970-01-01T00:00:00.000Z');

-- Open while a mirror table's own trigger writes to the tables below; everybody else is refused.
CREATE TABLE sync_gate (
    id INTEGER PRIMARY KEY CONSTRAINT sync_gate_one_row CHECK (id = 1),
    open INTEGER NOT NULL
) STRICT;
INSERT INTO sync_gate (id, open) VALUES (1, 0);

-- The row that an INSERT OR REPLACE is about to overwrite: noted before the insert, used after it.
CREATE TABLE sync_replaced (
    object TEXT NOT NULL,
    local_id INTEGER NOT NULL,
    hs_id INTEGER,
    row TEXT NOT NULL,
    PRIMARY KEY (object, local_id)
) STRICT, WITHOUT ROWID;

-- The fields that a local write has changed, while its trigger works; empty at any other time.
CREATE TABLE sync_changed (
    property TEXT NOT NULL PRIMARY KEY,
    base_value TEXT,
    new_value TEXT,
    real_value REAL
) STRICT, WITHOUT ROWID;

CREATE TABLE sync_outbox (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    object TEXT NOT NULL,
    local_id INTEGER NOT NULL,
    hs_id INTEGER,
    operation TEXT NOT NULL
        CONSTRAINT sync_outbox_operation CHECK (operation IN ('create', 'update', 'archive', 'associate', 'disassociate')),
    state TEXT NOT NULL DEFAULT 'pending'
        CONSTRAINT sync_outbox_state CHECK (state IN ('pending', 'in_flight', 'dead')),
    attempts INTEGER NOT NULL DEFAULT 0,
    enqueued_at TEXT NOT NULL,
    next_attempt_at TEXT,
    last_error TEXT,
    version INTEGER NOT NULL DEFAULT 1,
    waits_for TEXT
        CONSTRAINT sync_outbox_waits_for CHECK (waits_for IN ('backfill', 'guard', 'answer', 'create', 'lock')),
    key TEXT,
    row TEXT,
    to_object TEXT,
    to_local_id INTEGER,
    category TEXT,
    type_id INTEGER,
    -- When the oldest attempt that nobody has answered was made: while it is set, nothing is cut short.
    unanswered_since TEXT,
    -- The person's DELETE, until the daemon has carried it out.
    discarded_at TEXT,
    -- The hold whose approval lets this entry pass the guard.
    approved_hold INTEGER,
    CONSTRAINT sync_outbox_archive_has_id CHECK (operation <> 'archive' OR hs_id IS NOT NULL),
    CONSTRAINT sync_outbox_create_has_key CHECK (operation <> 'create' OR key IS NOT NULL)
) STRICT;
CREATE UNIQUE INDEX sync_outbox_record ON sync_outbox (object, local_id)
    WHERE operation IN ('create', 'update', 'archive');
CREATE INDEX sync_outbox_hs_id ON sync_outbox (object, hs_id) WHERE hs_id IS NOT NULL;
CREATE INDEX sync_outbox_due ON sync_outbox (object, operation, state, next_attempt_at);
CREATE INDEX sync_outbox_key ON sync_outbox (key) WHERE key IS NOT NULL;
CREATE INDEX sync_outbox_discarded ON sync_outbox (discarded_at) WHERE discarded_at IS NOT NULL;

CREATE TABLE sync_outbox_fields (
    outbox_id INTEGER NOT NULL REFERENCES sync_outbox (id) ON DELETE CASCADE,
    property TEXT NOT NULL,
    base_value TEXT,
    changed_at TEXT NOT NULL,
    base_known INTEGER NOT NULL DEFAULT 1 CONSTRAINT sync_outbox_fields_base_known CHECK (base_known IN (0, 1)),
    sent_value TEXT,
    PRIMARY KEY (outbox_id, property)
) STRICT, WITHOUT ROWID;

-- Values sent in updates whose answer was lost: one that comes back late is our own, not somebody's edit.
CREATE TABLE sync_sent (
    object TEXT NOT NULL,
    local_id INTEGER NOT NULL,
    property TEXT NOT NULL,
    value TEXT,
    sent_at TEXT NOT NULL
) STRICT;
CREATE INDEX sync_sent_record ON sync_sent (object, local_id, property);

CREATE TABLE sync_inbox (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    event_id INTEGER,
    event_type TEXT NOT NULL,
    object TEXT,
    hs_id INTEGER,
    occurred_at TEXT,
    received_at TEXT NOT NULL,
    state TEXT NOT NULL CONSTRAINT sync_inbox_state CHECK (state IN ('pending', 'done', 'ignored', 'dead')),
    last_error TEXT
) STRICT;
CREATE INDEX sync_inbox_state ON sync_inbox (state, received_at);

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
    base_known INTEGER NOT NULL DEFAULT 1
) STRICT;
CREATE UNIQUE INDEX sync_conflicts_open ON sync_conflicts (object, local_id, property) WHERE resolved_at IS NULL;
CREATE INDEX sync_conflicts_waiting ON sync_conflicts (id) WHERE resolved_at IS NULL;
CREATE INDEX sync_conflicts_record ON sync_conflicts (object, local_id, property);

CREATE TABLE sync_holds (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    object TEXT NOT NULL,
    side TEXT NOT NULL CONSTRAINT sync_holds_side CHECK (side IN ('hubspot', 'local')),
    operation TEXT NOT NULL CONSTRAINT sync_holds_operation CHECK (operation IN ('archive', 'delete', 'update')),
    records INTEGER NOT NULL,
    allowed INTEGER NOT NULL,
    held_at TEXT NOT NULL,
    approved_at TEXT,
    -- When the daemon let go what was held at the approval, or what was held vanished by itself.
    settled_at TEXT
) STRICT;
CREATE UNIQUE INDEX sync_holds_open ON sync_holds (object, side, operation) WHERE approved_at IS NULL AND settled_at IS NULL;

-- Rows that HubSpot no longer has: counted first, and then removed or held (`hold_id`) for an operator's word.
CREATE TABLE sync_removals (
    object TEXT NOT NULL,
    hs_id INTEGER NOT NULL,
    archived_at TEXT,
    seen_at TEXT NOT NULL,
    origin TEXT NOT NULL,
    hold_id INTEGER,
    PRIMARY KEY (object, hs_id)
) STRICT, WITHOUT ROWID;

-- What the guard counts, over its window and across restarts.
CREATE TABLE sync_guard_log (
    object TEXT NOT NULL,
    side TEXT NOT NULL,
    operation TEXT NOT NULL,
    at TEXT NOT NULL,
    records INTEGER NOT NULL
) STRICT;
CREATE INDEX sync_guard_log_window ON sync_guard_log (object, side, operation, at);

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
        ('poll', 'webhook', 'reconcile', 'push', 'conflict', 'absorb', 'discard', 'schema', 'undo', 'rule'))
) STRICT;
CREATE INDEX sync_history_record ON sync_history (object, local_id);
CREATE INDEX sync_history_at ON sync_history (at);

CREATE TABLE sync_runs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    object TEXT,
    kind TEXT NOT NULL CONSTRAINT sync_runs_kind CHECK (kind IN
        ('backfill', 'poll', 'again', 'reconcile', 'push', 'associations', 'schema')),
    started_at TEXT NOT NULL,
    finished_at TEXT,
    requests INTEGER NOT NULL DEFAULT 0,
    seen INTEGER NOT NULL DEFAULT 0,
    changed INTEGER NOT NULL DEFAULT 0,
    error TEXT
) STRICT;
CREATE INDEX sync_runs_last ON sync_runs (object, kind, id);
CREATE INDEX sync_runs_finished ON sync_runs (finished_at);

CREATE TABLE sync_requests (
    hour TEXT NOT NULL,
    class TEXT NOT NULL,
    requests INTEGER NOT NULL DEFAULT 0,
    errors INTEGER NOT NULL DEFAULT 0,
    throttled INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (hour, class)
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
CREATE TABLE sync_objects (
    object TEXT NOT NULL PRIMARY KEY,
    table_name TEXT NOT NULL,
    direction TEXT NOT NULL,
    -- Whether the portal has the unique property that keys creates: its name, once known.
    key_property TEXT
) STRICT, WITHOUT ROWID;

-- How far each object is: the first full read, the polled window, the full comparison.
CREATE TABLE sync_cursors (
    object TEXT NOT NULL PRIMARY KEY,
    backfill TEXT NOT NULL DEFAULT 'waiting'
        CONSTRAINT sync_cursors_backfill CHECK (backfill IN ('waiting', 'running', 'done')),
    backfill_after TEXT,
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
    reconcile_after TEXT,
    reconcile_last_id INTEGER,
    last_error TEXT,
    last_association_pass_at TEXT,
    -- Where the filling of newly mapped columns stands.
    filling_after TEXT
) STRICT, WITHOUT ROWID;

-- Walks again over windows that were polled already, because the search index is late: one chain for each delay.
CREATE TABLE sync_again (
    object TEXT NOT NULL,
    delay_ms INTEGER NOT NULL,
    -- By HubSpot's clock: everything up to here was walked again.
    walked_to TEXT NOT NULL,
    window_to TEXT,
    last_id INTEGER,
    PRIMARY KEY (object, delay_ms)
) STRICT, WITHOUT ROWID;

-- Records that left the mirror lately: an old page or a late search hit must not bring them back.
CREATE TABLE sync_tombstones (
    object TEXT NOT NULL,
    hs_id INTEGER NOT NULL,
    at TEXT NOT NULL,
    PRIMARY KEY (object, hs_id)
) STRICT, WITHOUT ROWID;

-- Records that a window's second walk found different, or that a read must confirm: ids to read from the store.
CREATE TABLE sync_reads (
    object TEXT NOT NULL,
    hs_id INTEGER NOT NULL,
    origin TEXT NOT NULL,
    due_at TEXT NOT NULL,
    PRIMARY KEY (object, hs_id)
) STRICT, WITHOUT ROWID;

-- The day of the account, as far as it is known.
CREATE TABLE sync_quota (
    id INTEGER PRIMARY KEY CONSTRAINT sync_quota_one_row CHECK (id = 1),
    day TEXT,
    day_used INTEGER NOT NULL DEFAULT 0,
    day_limit INTEGER,
    day_resets_at TEXT
) STRICT;
INSERT INTO sync_quota (id) VALUES (1);

-- Blocks of the budget that were handed out lately: what may have been sent before a kill.
CREATE TABLE sync_quota_leases (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    granted_at TEXT NOT NULL,
    requests INTEGER NOT NULL,
    returned_at TEXT
) STRICT;

CREATE TABLE sync_daemon (
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
    throttled_last_minute INTEGER NOT NULL DEFAULT 0
) STRICT;
INSERT INTO sync_daemon (id, phase) VALUES (1, 'stopped');

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
    PRIMARY KEY (object, name)
) STRICT, WITHOUT ROWID;
