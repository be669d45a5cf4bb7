//! `sync_status` and `sync_health`, and beside them records and quota: what people look at, as SQL text. Names and columns are a
//! contract (`design.md`, section 6.3); columns are only ever added at the end.

pub(crate) mod quota;
mod records;

use crate::model::mapping::{Mapping, ObjectMapping};
use crate::model::object::stage_properties;
use crate::store::DISK_TROUBLE;
use crate::store::meta::REFUSED_BY_TABLE;
use crate::store::outbox::OF_ROW;
use crate::store::shape::ddl::{literal, quoted};
use crate::store::shape::triggers::Made;
use crate::store::shape::views::quota::SENT_TODAY;
use crate::store::unreadable::VALUE_UNREADABLE;

/// This moment as text, to the millisecond.
pub(crate) const NOW: &str = "strftime('%Y-%m-%dT%H:%M:%fZ', 'now')";

/// The views' names.
pub(crate) const NAMES: [&str; 5] = [
    "sync_status",
    "sync_health",
    "sync_records",
    "sync_quota",
    "stage_times",
];

/// The views for a mapping.
/// `unread` are lines of object, table, direction, why and code: mapped objects that have no table yet, because their
/// schema could not be read.
pub(crate) fn of_mapping(mapping: &Mapping, unread: &str) -> Vec<Made> {
    let own = mapping.objects.iter();
    let mut rows: Vec<String> = own.map(|object| status_row(mapping, object)).collect();
    for line in unread.lines() {
        if let [object, table, direction, why, code] = line.split('\t').collect::<Vec<_>>()[..] {
            rows.push(waiting_row(object, table, direction, Some((why, code))));
        }
    }
    vec![
        status(rows),
        health(),
        records::records(mapping),
        quota::quota(),
        stage_times(mapping.objects.iter()),
    ]
}

/// The views for a mapping as the database has it. Of the mapping file's objects the others wait for their first read.
pub(crate) fn before_schema(made: &Mapping, file: &Mapping) -> Vec<Made> {
    let own = made.objects.iter();
    let own = own.map(|object| status_row(made, object));
    let is_made = |object: &&ObjectMapping| made.object(object.object.as_str()).is_some();
    let waiting = file.objects.iter().filter(|object| !is_made(object));
    let waiting = waiting.map(|object| {
        let (name, table) = (object.object.as_str(), object.table.as_str());
        waiting_row(name, table, object.direction.as_str(), None)
    });
    vec![
        status(own.chain(waiting).collect()),
        health(),
        records::records(made),
        quota::quota(),
        stage_times(made.objects.iter()),
    ]
}

/// How long each record was in each stage, by HubSpot's own history of the stage's property.
fn stage_times<'a>(objects: impl Iterator<Item = &'a ObjectMapping>) -> Made {
    let staged = objects.filter_map(|object| {
        let stage = stage_properties(&object.object, |_| true)?.stage;
        let mut told = object.with_remote_history();
        let field = told.find(|field| field.property.as_str() == stage)?;
        Some(stays(object, field.property.as_str()))
    });
    let mut rows: Vec<String> = staged.collect();
    if rows.is_empty() {
        rows.push(
            "SELECT NULL AS object, NULL AS local_id, NULL AS hs_id, NULL AS pipeline_id, NULL AS stage_id, NULL AS entered_at,
       NULL AS left_at, NULL AS seconds
WHERE 0"
                .to_owned(),
        );
    }
    Made {
        name: "stage_times".to_owned(),
        sql: format!(
            "CREATE VIEW \"stage_times\" AS\n{}",
            rows.join("\nUNION ALL\n")
        ),
    }
}

/// The stays of one object's records. Entries of one value in a row are one stay, and a record without a stage is in none.
fn stays(object: &ObjectMapping, stage: &str) -> String {
    format!(
        "SELECT s.object, m.\"local_id\" AS local_id, s.hs_id,
       (SELECT min(p.pipeline_id) FROM pipeline_stages AS p WHERE p.object = s.object AND p.id = s.value AND p.archived = 0)
           AS pipeline_id,
       s.value AS stage_id, s.at AS entered_at, s.left_at,
       max(CAST(strftime('%s', coalesce(s.left_at, 'now')) AS INTEGER) - CAST(strftime('%s', s.at) AS INTEGER), 0) AS seconds
FROM (
    SELECT h.object, h.hs_id, h.value, h.at, lead(h.at) OVER (PARTITION BY h.hs_id ORDER BY h.at) AS left_at
    FROM (
        SELECT object, hs_id, value, at, lag(value) OVER (PARTITION BY hs_id ORDER BY at) AS former,
               row_number() OVER (PARTITION BY hs_id ORDER BY at) AS number
        FROM property_history
        WHERE object = {name} AND property = {stage}
    ) AS h
    WHERE h.number = 1 OR h.value IS NOT h.former
) AS s
LEFT JOIN {table} AS m ON m.\"hs_id\" = s.hs_id
WHERE s.value IS NOT NULL",
        name = literal(object.object.as_str()),
        stage = literal(stage),
        table = quoted(object.table.as_str()),
    )
}

fn status(rows: Vec<String>) -> Made {
    let rows = if rows.is_empty() {
        vec![no_status_row()]
    } else {
        rows
    };
    Made {
        name: "sync_status".to_owned(),
        sql: format!(
            "CREATE VIEW \"sync_status\" AS\n{}",
            rows.join("\nUNION ALL\n")
        ),
    }
}

/// One object. `in_sync + waiting + failing + excluded = rows`: a row counts once, as the worst of what it is.
fn status_row(mapping: &Mapping, object: &ObjectMapping) -> String {
    let (name, table) = (
        literal(object.object.as_str()),
        quoted(object.table.as_str()),
    );
    let entries = |condition: &str| {
        format!(
            "(SELECT count(*) FROM sync_outbox WHERE object = {name} AND state = '{condition}')"
        )
    };
    let named = conflict_objects(mapping, object);
    let open = format!("object IN ({named}) AND resolved_at IS NULL");
    let entry = OF_ROW;
    let in_conflict = |id: &str| {
        format!(
            "EXISTS (SELECT 1 FROM sync_conflicts AS c WHERE c.object IN ({named}) AND c.local_id = {id} AND c.resolved_at IS NULL)"
        )
    };
    let has_entry = |id: &str| {
        format!(
            "EXISTS (SELECT 1 FROM sync_outbox AS e WHERE e.object = {name} AND e.local_id = {id} AND e.{entry})"
        )
    };
    let rows = format!("(SELECT count(*) FROM {table})");
    let failing = format!(
        "(SELECT count(*) FROM (SELECT local_id FROM sync_outbox WHERE object = {name} AND {entry} AND state = 'dead' \
         UNION SELECT local_id FROM sync_conflicts WHERE {open}) AS f \
         WHERE EXISTS (SELECT 1 FROM {table} AS m WHERE m.\"local_id\" = f.local_id))"
    );
    let waiting = format!(
        "((SELECT count(*) FROM sync_outbox AS w WHERE w.object = {name} AND w.{entry} AND w.state <> 'dead' \
         AND EXISTS (SELECT 1 FROM {table} AS m WHERE m.\"local_id\" = w.local_id) AND NOT {}) \
         + (SELECT count(*) FROM (SELECT DISTINCT local_id FROM _sync_held_clears WHERE object = {name}) AS h \
            WHERE EXISTS (SELECT 1 FROM {table} AS m WHERE m.\"local_id\" = h.local_id) AND NOT {} AND NOT {}))",
        in_conflict("w.local_id"),
        has_entry("h.local_id"),
        in_conflict("h.local_id"),
    );
    let excluded = format!(
        "((SELECT count(*) FROM {table} AS m WHERE m.\"hs_id\" IS NULL AND NOT {has} AND NOT {held} AND NOT {conflict}) \
         + (SELECT count(*) FROM {table} AS m WHERE m.\"hs_archived\" = 1 AND NOT {has} AND NOT {held} AND NOT {conflict}))",
        has = has_entry("m.\"local_id\""),
        held = records::held_clear(object, "m.\"local_id\""),
        conflict = in_conflict("m.\"local_id\""),
    );
    format!(
        "SELECT s.object, s.table_name, s.direction, s.\"rows\", s.backfill, s.last_poll_at, s.last_change_at, s.lag_seconds,
       s.last_reconcile_at, s.pending, s.in_flight, s.dead, s.conflicts, s.last_error,
       s.\"rows\" - s.waiting - s.failing - s.excluded AS in_sync, s.waiting, s.failing, s.excluded, s.problems,
       s.last_association_pass_at, s.associations_waiting, s.code, s.unseen, s.last_history_at
FROM (
    SELECT {name} AS object, {table_name} AS table_name, {direction} AS direction, {rows} AS \"rows\",
           CASE WHEN k.backfill = 'running' AND NOT k.is_readable THEN 'waiting' ELSE k.backfill END AS backfill,
           k.last_poll_at, k.last_change_at,
           CASE k.backfill WHEN 'done' THEN max(CAST(strftime('%s', 'now') AS INTEGER) + {ahead} - CAST(strftime('%s', k.polled_to) AS INTEGER), 0) END
               AS lag_seconds,
           k.last_reconcile_at, {pending} AS pending, {in_flight} AS in_flight, {dead} AS dead,
           (SELECT count(*) FROM sync_conflicts WHERE {open}) AS conflicts,
           coalesce(k.forbidden, k.last_error,
                    (SELECT min(problem) || iif(count(*) > 1, '; and ' || (count(*) - 1) || ' more like it', '')
                     FROM ({refused}) HAVING count(*) > 0),
                    {odd}) AS last_error,
           {waiting} AS waiting,
           {failing} AS failing,
           {excluded} AS excluded,
           (SELECT count(*) FROM sync_fields WHERE object = {name} AND state <> 'active') AS problems,
           k.last_association_pass_at, {links} AS associations_waiting,
           CASE
               WHEN k.forbidden IS NOT NULL THEN k.forbidden_code
               WHEN k.last_error IS NOT NULL THEN k.last_error_code
               WHEN EXISTS (SELECT 1 FROM ({refused})) THEN '{REFUSED_BY_TABLE}'
               ELSE {odd_code}
           END AS code,
           (SELECT count(*) FROM _sync_absent AS a JOIN {table} AS m ON m.hs_id = a.hs_id
            WHERE a.object = {name} AND a.unseen = 1) AS unseen,
            k.last_history_at
    FROM _sync_cursors AS k
    WHERE k.object = {name}
) AS s",
        ahead = HUBSPOT_AHEAD,
        links = waiting_links(mapping, object),
        odd = odd_answers(&name),
        odd_code = code_of_odd_answers(&name),
        refused = refused(&name),
        table_name = literal(object.table.as_str()),
        direction = literal(object.direction.as_str()),
        pending = entries("pending"),
        in_flight = entries("in_flight"),
        dead = entries("dead"),
    )
}

/// The names under which conflicts of an object's rows stand: its own, and those of the pairs whose rows start from it.
fn conflict_objects(mapping: &Mapping, object: &ObjectMapping) -> String {
    let pairs = mapping.pairs.iter();
    let own = pairs.filter(|pair| pair.from == object.object);
    let mut names = vec![literal(object.object.as_str())];
    names.extend(own.map(|pair| literal(pair.key.as_str())));
    names.join(", ")
}

/// Associations of an object's records whose other record is not in the mirror, each pair once.
fn waiting_links(mapping: &Mapping, object: &ObjectMapping) -> String {
    let own = mapping
        .pairs
        .iter()
        .filter(|pair| pair.from == object.object);
    let keys: Vec<String> = own.map(|pair| literal(pair.key.as_str())).collect();
    if keys.is_empty() {
        return "0".to_owned();
    }
    format!(
        "(SELECT count(*) FROM (SELECT DISTINCT l.pair, l.from_hs_id, l.to_hs_id FROM _sync_links_waiting AS l
             WHERE l.pair IN ({}) AND EXISTS (SELECT 1 FROM {} AS m WHERE m.\"hs_id\" = l.from_hs_id)))",
        keys.join(", "),
        quoted(object.table.as_str())
    )
}

/// Why records of an object could not be taken into its table, or out of it: those that leave first.
pub(crate) fn refused(object: &str) -> String {
    format!(
        "SELECT problem FROM _sync_removals WHERE object = {object} AND problem IS NOT NULL
                           UNION ALL SELECT problem FROM _sync_reads WHERE object = {object} AND problem IS NOT NULL"
    )
}

/// What of HubSpot's answers about an object can't be read and is no field's problem, in a sentence, or NULL. What a run met
/// holds until a full comparison meets nothing of the kind. That a push came to nothing is over with the next one, and is told by
/// its task.
pub(crate) fn odd_answers(object: &str) -> String {
    format!(
        "coalesce(
    (SELECT 'HubSpot record ' || min(hs_id) || iif(count(*) > 1, ' and ' || (count(*) - 1) || ' more', '')
            || ' can''t be read: SELECT * FROM sync_unreadable shows which'
     FROM sync_unreadable WHERE object = {object} AND property = '*' HAVING count(*) > 0),
    (SELECT error FROM sync_runs
     WHERE object = {object} AND kind <> 'push' AND error IS NOT NULL
       AND id > coalesce((SELECT max(id) FROM sync_runs
                          WHERE object = {object} AND kind = 'reconcile' AND finished_at IS NOT NULL AND error IS NULL), 0)
     ORDER BY id DESC LIMIT 1))"
    )
}

/// The code of what `odd_answers` tells.
fn code_of_odd_answers(object: &str) -> String {
    format!(
        "CASE WHEN EXISTS (SELECT 1 FROM sync_unreadable WHERE object = {object} AND property = '*') THEN '{VALUE_UNREADABLE}'
     ELSE (SELECT code FROM sync_runs
           WHERE object = {object} AND kind <> 'push' AND error IS NOT NULL
             AND id > coalesce((SELECT max(id) FROM sync_runs
                                WHERE object = {object} AND kind = 'reconcile' AND finished_at IS NOT NULL AND error IS NULL), 0)
           ORDER BY id DESC LIMIT 1)
     END"
    )
}

/// Seconds by which HubSpot's clock is ahead of this machine's, as the daemon last knew it.
const HUBSPOT_AHEAD: &str = "coalesce((SELECT CAST(value AS INTEGER) FROM _sync_meta WHERE name = 'clock_offset_ms'), 0) / 1000";

/// An object without a table, and why and by which code.
fn waiting_row(object: &str, table: &str, direction: &str, why: Option<(&str, &str)>) -> String {
    let text = |text: Option<&str>| {
        text.filter(|text| !text.is_empty())
            .map_or_else(|| "NULL".to_owned(), literal)
    };
    format!(
        "SELECT {name} AS object, {table} AS table_name, {direction} AS direction, 0 AS \"rows\", 'waiting' AS backfill,
       NULL AS last_poll_at, NULL AS last_change_at, NULL AS lag_seconds, NULL AS last_reconcile_at, 0 AS pending,
       0 AS in_flight, 0 AS dead, 0 AS conflicts, {why} AS last_error, 0 AS in_sync, 0 AS waiting, 0 AS failing,
       0 AS excluded, 0 AS problems, NULL AS last_association_pass_at, 0 AS associations_waiting, {code} AS code, 0 AS unseen,
       NULL AS last_history_at",
        why = text(why.map(|(why, _)| why)),
        code = text(why.map(|(_, code)| code)),
        name = literal(object),
        table = literal(table),
        direction = literal(direction),
    )
}

fn no_status_row() -> String {
    "SELECT NULL AS object, NULL AS table_name, NULL AS direction, NULL AS \"rows\", NULL AS backfill, NULL AS last_poll_at,
       NULL AS last_change_at, NULL AS lag_seconds, NULL AS last_reconcile_at, NULL AS pending, NULL AS in_flight, NULL AS dead,
       NULL AS conflicts, NULL AS last_error, NULL AS in_sync, NULL AS waiting, NULL AS failing, NULL AS excluded,
       NULL AS problems, NULL AS last_association_pass_at, NULL AS associations_waiting, NULL AS code, NULL AS unseen,
       NULL AS last_history_at
WHERE 0"
        .to_owned()
}

/// One row; `state` is the first that holds. A start that a refused token, a dead line or a spent day holds up
/// says that, not `starting`.
fn health() -> Made {
    let bypassed = "EXISTS (SELECT 1 FROM _sync_bypassed AS b WHERE b.until <> 'entries' OR EXISTS (
                   SELECT 1 FROM sync_outbox AS e
                   WHERE e.object = b.object AND e.operation IN ('create', 'update') AND e.state = 'dead' AND e.next_attempt_at IS NULL))";
    let disk_trouble = DISK_TROUBLE.map(literal).join(", ");
    let repaired = "(julianday('now') - julianday(d.trigger_repaired_at)) * 24.0 < 1.0";
    let sql = format!(
        "CREATE VIEW \"sync_health\" AS
SELECT CASE
           WHEN d.phase = 'stopped' OR d.heartbeat_at IS NULL
               OR (julianday('now') - julianday(d.heartbeat_at)) * 86400.0 > 30.0 THEN 'stopped'
           WHEN d.phase = 'starting' AND d.unauthorized IS NULL AND d.unreachable IS NULL AND d.forbidden IS NULL
               AND coalesce(d.out_of_quota_until, '') <= strftime('%Y-%m-%dT%H:%M:%fZ', 'now') THEN 'starting'
           WHEN d.phase = 'stopping' THEN 'stopping'
           WHEN d.unauthorized IS NOT NULL THEN 'unauthorized'
           WHEN d.unreachable IS NOT NULL THEN 'unreachable'
           WHEN d.out_of_quota_until > strftime('%Y-%m-%dT%H:%M:%fZ', 'now') THEN 'out_of_quota'
           WHEN EXISTS (SELECT 1 FROM sync_holds WHERE approved_at IS NULL AND settled_at IS NULL AND discarded_at IS NULL) THEN 'held'
           WHEN EXISTS (SELECT 1 FROM _sync_pauses) THEN 'paused'
           WHEN d.config_error IS NOT NULL
               OR d.forbidden IS NOT NULL
               OR EXISTS (SELECT 1 FROM sync_fields WHERE state = 'degraded')
               OR d.webhooks = 'missed'
               OR d.last_error_code IN ({disk_trouble})
               OR {bypassed}
               OR EXISTS (SELECT 1 FROM _sync_set_aside AS a JOIN sqlite_schema AS s ON lower(s.name) = lower(a.table_name))
               OR {repaired} THEN 'degraded'
           WHEN EXISTS (SELECT 1 FROM _sync_cursors AS k JOIN _sync_objects AS o ON o.object = k.object
                        WHERE o.direction <> 'unmapped' AND k.backfill <> 'done') THEN 'backfilling'
           ELSE 'running'
       END AS state,
       d.pid, d.version, d.started_at, d.heartbeat_at,
       (SELECT CAST(value AS INTEGER) FROM _sync_meta WHERE name = 'portal_id') AS portal_id,
       q.day_limit AS daily_limit, q.day_others + {SENT_TODAY} AS daily_used, q.day_resets_at AS daily_resets_at,
       d.requests_last_minute, d.throttled_last_minute,
       (SELECT count(*) FROM sync_inbox WHERE state = 'pending') AS inbox_depth,
       (SELECT count(*) FROM sync_outbox WHERE state <> 'dead') AS outbox_depth,
       d.config_error, coalesce(d.unauthorized, d.unreachable, d.forbidden,
                (SELECT a.problem FROM _sync_set_aside AS a JOIN sqlite_schema AS s ON lower(s.name) = lower(a.table_name)
                 ORDER BY a.at, a.table_name LIMIT 1),
                (SELECT b.problem FROM _sync_bypassed AS b
                 WHERE b.until <> 'entries' OR EXISTS (
                     SELECT 1 FROM sync_outbox AS e
                     WHERE e.object = b.object AND e.operation IN ('create', 'update') AND e.state = 'dead' AND e.next_attempt_at IS NULL)
                 ORDER BY b.at, b.object, b.until LIMIT 1),
                CASE WHEN {repaired} THEN
                    (SELECT m.value FROM _sync_meta AS m WHERE m.name = 'repaired') || ' at ' || d.trigger_repaired_at
                    || coalesce('; ' || d.last_error, '') END,
                d.last_error) AS last_error, d.webhooks, d.webhooks_dropped,
       CASE
           WHEN d.config_error IS NOT NULL THEN d.config_code
           WHEN d.unauthorized IS NOT NULL THEN d.unauthorized_code
           WHEN d.unreachable IS NOT NULL THEN d.unreachable_code
           WHEN d.forbidden IS NOT NULL THEN d.forbidden_code
           WHEN EXISTS (SELECT 1 FROM _sync_set_aside AS a JOIN sqlite_schema AS s ON lower(s.name) = lower(a.table_name))
               THEN 'table-replaced'
           WHEN {bypassed} THEN 'triggers-bypassed'
           WHEN {repaired} THEN 'put-back'
           ELSE d.last_error_code
       END AS code
FROM _sync_daemon AS d CROSS JOIN _sync_quota AS q
WHERE d.id = 1 AND q.id = 1"
    );
    Made {
        name: "sync_health".to_owned(),
        sql,
    }
}
