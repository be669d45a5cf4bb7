//! Status views.
use crate::model::mapping::{Direction, Mapping};
use crate::store::ddl::{literal, quoted};
use crate::store::triggers::Made;

/// The present moment in the one text form.
pub(super) const NOW: &str = "strftime('%Y-%m-%dT%H:%M:%fZ', 'now')";

/// The status views.
pub(super) fn all(mapping: &Mapping) -> Vec<Made> {
    vec![status(mapping), health(mapping)]
}

fn status(mapping: &Mapping) -> Made {
    let selects: Vec<String> = mapping
        .objects
        .iter()
        .map(|object| {
            let name = literal(object.object.as_str());
            let table = quoted(object.table.as_str());
            let failing = format!(
                "(SELECT count(*) FROM (SELECT local_id FROM sync_outbox WHERE object = {name} AND state = 'dead' AND operation IN ('create','update') \
                 UNION SELECT local_id FROM sync_conflicts WHERE object = {name} AND resolved_at IS NULL) AS f \
                 WHERE EXISTS (SELECT 1 FROM {table} AS t WHERE t.local_id = f.local_id))"
            );
            let waiting = format!(
                "(SELECT count(*) FROM sync_outbox AS o WHERE o.object = {name} AND o.operation IN ('create','update') AND o.state <> 'dead' \
                 AND EXISTS (SELECT 1 FROM {table} AS t WHERE t.local_id = o.local_id) \
                 AND NOT EXISTS (SELECT 1 FROM sync_conflicts AS c WHERE c.object = {name} AND c.local_id = o.local_id AND c.resolved_at IS NULL))"
            );
            let excluded = format!(
                "(SELECT count(*) FROM {table} AS t WHERE t.hs_archived = 1 OR (t.hs_id IS NULL AND NOT EXISTS \
                 (SELECT 1 FROM sync_outbox AS o WHERE o.object = {name} AND o.local_id = t.local_id AND o.operation IN ('create','update','archive'))))"
            );
            let (direction, table_name) = (literal(object.direction.as_str()), literal(object.table.as_str()));
            format!(
                "SELECT object, table_name, direction, rows, backfill, last_poll_at, last_change_at, lag_seconds, last_reconcile_at, pending, in_flight, dead, conflicts, last_error, \
                 rows - waiting - failing - excluded AS in_sync, waiting, failing, excluded, problems, last_association_pass_at FROM (\
                 SELECT {name} AS object, {table_name} AS table_name, {direction} AS direction, (SELECT count(*) FROM {table}) AS rows, \
                 c.backfill, c.last_poll_at, c.last_change_at, \
                 CASE WHEN c.backfill = 'done' AND c.polled_to IS NOT NULL THEN max(0, CAST((julianday('now') - julianday(c.polled_to)) * 86400 AS INTEGER)) END AS lag_seconds, c.last_reconcile_at, \
                 (SELECT count(*) FROM sync_outbox WHERE object = {name} AND state = 'pending') AS pending, \
                 (SELECT count(*) FROM sync_outbox WHERE object = {name} AND state = 'in_flight') AS in_flight, \
                 (SELECT count(*) FROM sync_outbox WHERE object = {name} AND state = 'dead') AS dead, \
                 (SELECT count(*) FROM sync_conflicts WHERE object = {name} AND resolved_at IS NULL) AS conflicts, c.last_error, \
                 {waiting} AS waiting, {failing} AS failing, {excluded} AS excluded, \
                 (SELECT count(*) FROM sync_fields WHERE object = {name} AND state <> 'active') AS problems, c.last_association_pass_at \
                 FROM sync_cursors AS c WHERE c.object = {name})"
            )
        })
        .collect();
    Made { name: "sync_status".to_owned(), sql: format!("CREATE VIEW \"sync_status\" AS {}", selects.join(" UNION ALL ")) }
}

fn health(mapping: &Mapping) -> Made {
    let pulled: Vec<String> =
        mapping.objects.iter().filter(|object| object.direction != Direction::Push).map(|object| literal(object.object.as_str())).collect();
    let sql = format!(
        "CREATE VIEW \"sync_health\" AS SELECT CASE \
         WHEN d.phase = 'stopped' OR d.heartbeat_at IS NULL OR julianday('now') - julianday(d.heartbeat_at) > 30.0 / 86400 THEN 'stopped' \
         WHEN d.phase = 'starting' AND d.unauthorized IS NULL AND d.unreachable IS NULL THEN 'starting' WHEN d.phase = 'stopping' THEN 'stopping' \
         WHEN d.unauthorized IS NOT NULL THEN 'unauthorized' WHEN d.unreachable IS NOT NULL THEN 'unreachable' \
         WHEN d.out_of_quota_until IS NOT NULL THEN 'out_of_quota' \
         WHEN EXISTS (SELECT 1 FROM sync_holds WHERE approved_at IS NULL AND settled_at IS NULL) THEN 'held' \
         WHEN d.config_error IS NOT NULL OR EXISTS (SELECT 1 FROM sync_fields WHERE state = 'degraded') OR julianday('now') - julianday(d.trigger_repaired_at) < 1.0 / 24 THEN 'degraded' \
         WHEN EXISTS (SELECT 1 FROM sync_cursors WHERE backfill <> 'done' AND object IN ({})) THEN 'backfilling' ELSE 'running' END AS state, \
         d.pid, d.version, d.started_at, d.heartbeat_at, (SELECT CAST(value AS INTEGER) FROM sync_meta WHERE name = 'portal_id') AS portal_id, \
         q.day_limit AS daily_limit, q.day_used AS daily_used, q.day_resets_at AS daily_resets_at, d.requests_last_minute, d.throttled_last_minute, \
         (SELECT count(*) FROM sync_inbox WHERE state = 'pending') AS inbox_depth, (SELECT count(*) FROM sync_outbox WHERE state <> 'dead') AS outbox_depth, \
         d.config_error, coalesce(d.unauthorized, d.unreachable, d.last_error) AS last_error FROM sync_daemon AS d CROSS JOIN sync_quota AS q",
        pulled.join(", ")
    );
    Made { name: "sync_health".to_owned(), sql }
}
