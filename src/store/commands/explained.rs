//! One record for `explain`, as of one moment: its fields on both sides, its entry, conflicts, history and last call. HubSpot is not
//! asked: its side is what was last known of it.

use rusqlite::{Connection, OptionalExtension, named_params};
use serde::Serialize;
use serde_json::Value;

use crate::store::commands::next_step::RecordStanding;
use crate::store::commands::{CommandDb, CommandError, Row, rows};
use crate::store::outbox::OF_ROW;
use crate::store::shape::ddl::quoted;
use crate::store::shape::options;

/// Lines of the history that are told.
const LINES: u32 = 20;

/// Which record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WantedRecord {
    /// By its row.
    Local(i64),
    /// By HubSpot's id.
    Remote(i64),
}

/// One field on both sides.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct ExplainedField {
    /// HubSpot's name of it.
    pub property: String,
    /// Its column.
    pub column: String,
    /// What both sides last agreed on; `None` where it is empty or not known.
    pub base: Option<String>,
    /// What the row holds.
    pub local: Option<String>,
    /// What HubSpot held when it was last seen.
    pub remote: Option<String>,
    /// `in_sync`, `waiting`, `conflict`, `held`, `degraded` or `filling`.
    pub state: &'static str,
    /// What it waits for: as of an entry, or `conflict`, `guard`, `degraded`.
    pub waits_for: Option<String>,
}

/// What happens next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct NextStep {
    /// What, in words.
    pub what: String,
    /// When it is due, where that is known.
    pub at: Option<String>,
}

/// All of a record.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct ExplainedRecord {
    /// The object.
    pub object: String,
    /// The row.
    pub local_id: i64,
    /// HubSpot's id.
    pub hs_id: Option<i64>,
    /// As in `sync_records`.
    pub state: String,
    /// Its fields.
    pub fields: Vec<ExplainedField>,
    /// What waits of it.
    pub entry: Option<Row>,
    /// What waits of its associations.
    pub associations: Vec<Row>,
    /// Its open conflicts, and those of its associations.
    pub conflicts: Vec<Row>,
    /// The last lines of its history, the newest first.
    pub history: Vec<Row>,
    /// Its last call.
    pub call: Option<Row>,
    /// What happens next.
    pub next: NextStep,
}

const ENTRY: &str = "SELECT id, operation, state, attempts, enqueued_at, next_attempt_at, last_error, waits_for, code, correlation_id, hs_id
     FROM sync_outbox WHERE object = :object AND local_id = :local_id AND ";

/// Those of its associations stand under the names of its pairs.
const CONFLICTS: &str = "SELECT id, object, property, base_value, local_value, remote_value, policy, detected_at, reason
     FROM sync_conflicts
     WHERE local_id = :local_id AND resolved_at IS NULL
       AND object IN (SELECT :object UNION ALL SELECT pair FROM _sync_link_passes WHERE from_object = :object)
     ORDER BY id";

/// What waits of its associations, from either end.
const ASSOCIATIONS: &str = "SELECT id, operation, object, local_id, to_object, to_local_id, label, state, attempts, next_attempt_at,
         last_error, waits_for, code, correlation_id
     FROM (
         SELECT * FROM sync_outbox WHERE object = :object AND local_id = :local_id AND to_object IS NOT NULL
         UNION
         SELECT * FROM sync_outbox WHERE to_object = :object AND to_local_id = :local_id
     )
     ORDER BY id LIMIT :lines";

const HISTORY: &str =
    "SELECT id, at, object, local_id, hs_id, property, old_value, new_value, origin, run_id
     FROM sync_history
     WHERE local_id = :local_id
       AND object IN (SELECT :object UNION ALL SELECT pair FROM _sync_link_passes WHERE from_object = :object)
     ORDER BY id DESC LIMIT :lines";

const CALL: &str = "SELECT id, at, method, path, class, status, ms, attempt, records, code, correlation_id, burst_left, day_left, run_id
     FROM sync_calls WHERE ";

impl CommandDb {
    /// A record; `None` where there is none.
    pub(crate) fn explained(
        &mut self,
        object: &str,
        wanted: WantedRecord,
    ) -> Result<Option<ExplainedRecord>, CommandError> {
        let tx = self.connection.transaction()?;
        let table: Option<String> = tx
            .query_row(
                "SELECT table_name FROM sync_status WHERE object = :object",
                named_params! { ":object": object },
                |row| row.get(0),
            )
            .optional()?;
        let (column, id) = match wanted {
            WantedRecord::Local(id) => ("local_id", id),
            WantedRecord::Remote(id) => ("hs_id", id),
        };
        let sql = format!(
            "SELECT local_id, hs_id, state FROM sync_records WHERE object = :object AND {column} = :id
             UNION ALL
             SELECT local_id, hs_id, iif(state = 'dead', 'failing', 'waiting')
             FROM sync_outbox WHERE object = :object AND {column} = :id AND {OF_ROW}
             LIMIT 1"
        );
        let found = rows(&tx, &sql, named_params! { ":object": object, ":id": id })?;
        let (Some(table), Some(found)) = (table, found.into_iter().next()) else {
            return Ok(None);
        };
        let local_id = found.number("local_id").unwrap_or_default();
        let own = named_params! { ":object": object, ":local_id": local_id };
        let entry = rows(&tx, &format!("{ENTRY}{OF_ROW}"), own)?
            .into_iter()
            .next();
        let conflicts = rows(&tx, CONFLICTS, own)?;
        let last = named_params! { ":object": object, ":local_id": local_id, ":lines": LINES };
        let associations = rows(&tx, ASSOCIATIONS, last)?;
        let history = rows(&tx, HISTORY, last)?;
        let known = KnownOfRecord {
            object,
            local_id,
            entry: entry.as_ref(),
            associations: &associations,
            conflicts: &conflicts,
        };
        let fields = known.fields(&tx, &table)?;
        let state = found.text("state").unwrap_or_default();
        let standing = RecordStanding {
            known: &known,
            hs_id: found.number("hs_id"),
            state,
            fields: &fields,
        };
        let next = standing.next(&tx)?;
        Ok(Some(ExplainedRecord {
            object: object.to_owned(),
            local_id,
            hs_id: found.number("hs_id"),
            call: call(&tx, entry.as_ref(), &history)?,
            next,
            state: state.to_owned(),
            fields,
            entry,
            associations,
            conflicts,
            history,
        }))
    }
}

/// The call that the entry names, else the last one of the run that brought the newest change.
fn call(
    connection: &Connection,
    entry: Option<&Row>,
    history: &[Row],
) -> Result<Option<Row>, CommandError> {
    if let Some(called) = entry.and_then(|entry| entry.text("correlation_id")) {
        let sql = format!("{CALL}correlation_id = :called ORDER BY id DESC LIMIT 1");
        let found = rows(connection, &sql, named_params! { ":called": called })?;
        if !found.is_empty() {
            return Ok(found.into_iter().next());
        }
    }
    let newest = history.first();
    let Some(run) = newest.and_then(|line| line.number("run_id")) else {
        return Ok(None);
    };
    let sql = format!("{CALL}run_id = :run ORDER BY id DESC LIMIT 1");
    let found = rows(connection, &sql, named_params! { ":run": run })?;
    Ok(found.into_iter().next())
}

/// What the fields and the next step are told by.
pub(super) struct KnownOfRecord<'a> {
    pub(super) object: &'a str,
    pub(super) local_id: i64,
    pub(super) entry: Option<&'a Row>,
    pub(super) associations: &'a [Row],
    pub(super) conflicts: &'a [Row],
}

impl KnownOfRecord<'_> {
    fn fields(
        &self,
        connection: &Connection,
        table: &str,
    ) -> Result<Vec<ExplainedField>, CommandError> {
        let entry = self.entry.and_then(|entry| entry.number("id"));
        let listed = rows(
            connection,
            "SELECT s.property, s.column_name, s.type, s.state, s.code, s.direction, f.outbox_id, f.base_value, f.base_known,
                    h.hold_id, h.remote_value
             FROM sync_fields AS s
             LEFT JOIN sync_outbox_fields AS f ON f.outbox_id = :entry AND f.property = s.property
             LEFT JOIN _sync_held_clears AS h ON h.object = s.object AND h.property = s.property AND h.local_id = :local_id
             WHERE s.object = :object AND s.state <> 'unmapped'
             ORDER BY s.column_name",
            named_params! { ":entry": entry, ":object": self.object, ":local_id": self.local_id },
        )?;
        let own = rows(
            connection,
            &format!(
                "SELECT * FROM {} WHERE \"local_id\" = :local_id",
                quoted(table)
            ),
            named_params! { ":local_id": self.local_id },
        )?;
        let Some(own) = own.into_iter().next() else {
            return Ok(Vec::new());
        };
        let fields = listed.iter();
        fields
            .map(|field| self.field(connection, field, &own))
            .collect()
    }

    /// Whether a field is left out of requests, or its row's value is: of one that is degraded for what rows hold, all others go.
    fn is_degraded(
        &self,
        connection: &Connection,
        field: &Row,
        local: Option<&str>,
    ) -> Result<bool, CommandError> {
        let code = field.text("code").unwrap_or_default();
        let is_degraded = field.text("state") == Some("degraded");
        if !is_degraded || !options::LOST.contains(&code) {
            return Ok(is_degraded);
        }
        let property = field.text("property").unwrap_or_default();
        let of = (self.object, property, code);
        Ok(options::is_gone(connection, of, local.unwrap_or_default())?)
    }

    fn field(
        &self,
        connection: &Connection,
        field: &Row,
        own: &Row,
    ) -> Result<ExplainedField, CommandError> {
        let text = |column: &str| field.text(column).unwrap_or_default().to_owned();
        let (property, column, kind) = (text("property"), text("column_name"), text("type"));
        let local = canonical(&kind, own.get(&column));
        let is_degraded = self.is_degraded(connection, field, local.as_deref())?;
        let waits = |word: &str| Some(word.to_owned());
        let is_create = self
            .entry
            .is_some_and(|entry| entry.text("operation") == Some("create"));
        let is_new = is_create && local.is_some() && text("direction") != "pull";
        let conflict = (self.conflicts.iter()).find(|conflict| {
            conflict.text("object") == Some(self.object)
                && conflict.text("property") == Some(property.as_str())
        });
        let (state, waits_for, base, remote) = if let Some(conflict) = conflict {
            let value = |side: &str| conflict.text(side).map(str::to_owned);
            (
                "conflict",
                waits("conflict"),
                value("base_value"),
                value("remote_value"),
            )
        } else if field.number("hold_id").is_some() {
            let remote = canonical(&kind, field.get("remote_value"));
            ("held", waits("guard"), remote.clone(), remote)
        } else if field.number("outbox_id").is_some() || is_new {
            let is_known = field.number("base_known") == Some(1);
            let base = canonical(&kind, field.get("base_value")).filter(|_| is_known);
            if is_degraded {
                ("degraded", waits("degraded"), base.clone(), base)
            } else {
                let entry = self.entry.and_then(|entry| entry.text("waits_for"));
                ("waiting", entry.map(str::to_owned), base.clone(), base)
            }
        } else {
            let state = match field.text("state") {
                _ if is_degraded => "degraded",
                Some("filling") => "filling",
                _ => "in_sync",
            };
            (state, None, local.clone(), local.clone())
        };
        Ok(ExplainedField {
            property,
            column,
            base,
            local,
            remote,
            state,
            waits_for,
        })
    }
}

/// A column's value in HubSpot's spelling.
fn canonical(kind: &str, value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        Value::Number(number) if kind == "bool" => Some((number.as_i64() == Some(1)).to_string()),
        Value::Number(number) => match number.as_i64() {
            Some(whole) => Some(whole.to_string()),
            None => number.as_f64().map(|number| number.to_string()),
        },
        other @ (Value::Bool(_) | Value::Array(_) | Value::Object(_)) => Some(other.to_string()),
    }
}
