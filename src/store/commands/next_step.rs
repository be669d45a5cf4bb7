//! What happens next with a record, by what keeps it first: what somebody has to decide, what HubSpot has to have again, and what the
//! daemon does by itself, with what keeps the daemon from it.

use rusqlite::{Connection, OptionalExtension as _, ToSql, named_params};

use crate::decide::decision::commands::PausedSide;
use crate::decide::entry::UNWRITABLE;
use crate::store::commands::explained::{ExplainedField, KnownOfRecord, NextStep};
use crate::store::commands::{CommandError, Row};
use crate::store::shape::associations::MISSING_RECORD;

/// How `resume` is written.
const RESUME: &str = "`INSERT INTO sync_commands (command) VALUES ('resume')`";

/// A record, as it is told.
pub(super) struct RecordStanding<'a> {
    pub(super) known: &'a KnownOfRecord<'a>,
    pub(super) hs_id: Option<i64>,
    /// As in `sync_records`.
    pub(super) state: &'a str,
    pub(super) fields: &'a [ExplainedField],
}

/// Who does what comes next.
enum Takes {
    /// Nobody, or a person.
    People,
    /// The daemon, whatever is paused.
    Daemon,
    /// The daemon, unless this side is paused.
    Side(PausedSide),
}

struct Upcoming {
    what: String,
    at: Option<String>,
    takes: Takes,
}

impl Upcoming {
    fn of_people(what: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            at: None,
            takes: Takes::People,
        }
    }

    fn of_daemon(what: impl Into<String>, takes: Takes) -> Self {
        Self {
            takes,
            ..Self::of_people(what)
        }
    }
}

impl RecordStanding<'_> {
    /// What happens next, and what has to be the case before.
    pub(super) fn next(&self, connection: &Connection) -> Result<NextStep, CommandError> {
        let step = self.step(connection)?;
        let (mut before, mut at) = (Vec::new(), step.at);
        let daemon: Option<String> =
            connection.query_row("SELECT state FROM sync_health", [], |row| row.get(0))?;
        match (&step.takes, daemon.as_deref()) {
            (Takes::People, _) => {}
            (_, Some("stopped")) => before.push("the daemon runs".to_owned()),
            (_, Some(state @ ("unauthorized" | "unreachable" | "out_of_quota"))) => {
                before.push(format!("the daemon is no longer `{state}`"));
            }
            (_, Some(_) | None) => {}
        }
        if let Takes::Side(side) = step.takes {
            let object = self.known.object;
            let sql = "SELECT forbidden_code FROM _sync_cursors WHERE object = :object AND (:is_push OR NOT is_readable)";
            let own = named_params! { ":object": object, ":is_push": side == PausedSide::Push };
            let code: Option<String> = one(connection, sql, own)?;
            if let Some(code) = code {
                before.push(format!("{object} is synced again (`{code}`)"));
                at = None;
            }
            let paused = "SELECT side FROM _sync_pauses WHERE side = :side";
            let side = side.as_str();
            if one::<String>(connection, paused, named_params! { ":side": side })?.is_some() {
                before.push(format!("{side} is resumed ({RESUME})"));
                at = None;
            }
        }
        let what = match before[..] {
            [] => step.what,
            [..] => format!("once {}: {}", before.join(" and "), step.what),
        };
        Ok(NextStep { what, at })
    }

    fn step(&self, connection: &Connection) -> Result<Upcoming, CommandError> {
        if let Some(conflict) = self.known.conflicts.first() {
            let id = conflict.number("id").unwrap_or_default();
            return Ok(Upcoming::of_people(format!(
                "somebody decides conflict {id}: `hubsyncd conflicts show {id}`"
            )));
        }
        let Some(entry) = self.known.entry else {
            return self.without_entry(connection);
        };
        let id = entry.number("id").unwrap_or_default();
        let pushed = |what: &str| Upcoming {
            at: entry.text("next_attempt_at").map(str::to_owned),
            ..Upcoming::of_daemon(what, Takes::Side(PausedSide::Push))
        };
        let waits_for = (entry.text("state"), entry.text("waits_for"));
        Ok(match waits_for {
            (Some("dead"), _) => Upcoming::of_people(format!(
                "nothing, until it is retried (`hubsyncd outbox retry {id}`), discarded, or the row is written again"
            )),
            (Some("in_flight"), _) => Upcoming {
                at: entry.text("next_attempt_at").map(str::to_owned),
                ..Upcoming::of_daemon(
                    "HubSpot's answer to the request that is on its way",
                    Takes::Daemon,
                )
            },
            (_, Some("guard")) => {
                let hold = "SELECT min(id) FROM sync_holds
                            WHERE object = :object AND side = 'hubspot' AND operation = :operation AND approved_at IS NULL
                              AND settled_at IS NULL AND discarded_at IS NULL";
                let own = named_params! { ":object": self.known.object, ":operation": entry.text("operation") };
                held_by(one(connection, hold, own)?)
            }
            (Some("pending"), _) if self.held_removal(connection)?.is_some() => {
                held_by(self.held_removal(connection)?)
            }
            _ if self.is_degraded() => Upcoming::of_daemon(
                "HubSpot has what its fields need again, and it is sent by itself: `SELECT problem, hint FROM sync_fields` says what",
                Takes::Side(PausedSide::Push),
            ),
            (_, Some("backfill")) => pushed(&format!(
                "the first read of {} ends, and it is pushed",
                self.known.object
            )),
            (_, Some("create")) => match entry.text("last_error") {
                Some(why) => Upcoming::of_people(format!("nothing: it {why}")),
                None => pushed("the other record's create is done, and it is pushed"),
            },
            (_, Some("answer")) => pushed("HubSpot is asked what became of the last attempt"),
            (_, Some("lock")) => pushed("HubSpot's lock on the record ends, and it is pushed"),
            (_, _) => {
                let taken =
                    "SELECT taken_by FROM sync_outbox WHERE id = :id AND taken_by IS NOT NULL";
                match one::<i64>(connection, taken, named_params! { ":id": id })? {
                    Some(row) => pushed(&format!(
                        "row {row} gives up a value of it in HubSpot, and it is pushed"
                    )),
                    None => pushed("it is pushed"),
                }
            }
        })
    }

    /// Whether all that waits of the record waits for HubSpot to have something again.
    fn is_degraded(&self) -> bool {
        let entry = self.known.entry;
        let is_told = entry.and_then(|entry| entry.text("last_error")) == Some(UNWRITABLE);
        let is_update = entry.and_then(|entry| entry.text("operation")) == Some("update");
        let waiting = self.fields.iter();
        let mut waiting = waiting.filter(|field| matches!(field.state, "waiting" | "degraded"));
        let are_degraded = waiting
            .clone()
            .any(|field| field.waits_for.as_deref() == Some("degraded"))
            && waiting.all(|field| field.state == "degraded");
        is_told || (is_update && are_degraded)
    }

    /// Of a record of which nothing waits to be sent.
    fn without_entry(&self, connection: &Connection) -> Result<Upcoming, CommandError> {
        let object = self.known.object;
        let own = named_params! { ":object": object, ":local_id": self.known.local_id };
        let cleared =
            "SELECT hold_id FROM _sync_held_clears WHERE object = :object AND local_id = :local_id";
        let hold: Option<i64> = one(connection, cleared, own)?;
        let hold = hold.or(self.held_removal(connection)?);
        let waiting = match (hold, self.state) {
            (None, "excluded") | (Some(_), _) => None,
            (None, _) => self.waiting_association(),
        };
        if let Some(waiting) = waiting {
            return Ok(waiting);
        }
        Ok(match (hold, self.state, self.hs_id) {
            (Some(_), ..) => held_by(hold),
            (None, "excluded", None) => {
                Upcoming::of_people("nothing, until a program writes to the row")
            }
            (None, "excluded", Some(_)) => Upcoming::of_people(
                "nothing: HubSpot has archived its record. It goes on where that is restored, and a DELETE removes the row",
            ),
            (None, ..) => Upcoming::of_daemon(
                format!("the next poll or webhook of {object}"),
                Takes::Side(PausedSide::Pull),
            ),
        })
    }
}

impl RecordStanding<'_> {
    /// The hold of the removal of its row.
    fn held_removal(&self, connection: &Connection) -> Result<Option<i64>, CommandError> {
        let removed = "SELECT hold_id FROM _sync_removals WHERE object = :object AND hs_id = :hs_id AND hold_id IS NOT NULL";
        let own = named_params! { ":object": self.known.object, ":hs_id": self.hs_id };
        one(connection, removed, own)
    }

    /// What happens with the first of its associations that waits; of those, with one that a person has to do something about.
    fn waiting_association(&self) -> Option<Upcoming> {
        let is_missing = |entry: &&Row| entry.text("code") == Some(MISSING_RECORD);
        let is_dead = |entry: &&Row| entry.text("state") == Some("dead");
        let all = self.known.associations;
        let id = |entry: &Row| entry.number("id").unwrap_or_default();
        if let Some(entry) = all.iter().find(is_missing) {
            let why = entry.text("last_error").unwrap_or_default();
            return Some(Upcoming::of_people(format!(
                "nothing of itself; its association (entry {}) {why}",
                id(entry)
            )));
        }
        if let Some(entry) = all.iter().find(is_dead) {
            return Some(Upcoming::of_people(format!(
                "nothing of itself; its association (entry {id}) waits until it is retried (`hubsyncd outbox retry {id}`) or discarded",
                id = id(entry)
            )));
        }
        let first = all.first()?;
        Some(Upcoming {
            at: first.text("next_attempt_at").map(str::to_owned),
            ..Upcoming::of_daemon(
                format!("its association (entry {}) is pushed", id(first)),
                Takes::Side(PausedSide::Push),
            )
        })
    }
}

fn held_by(hold: Option<i64>) -> Upcoming {
    Upcoming::of_people(match hold {
        Some(hold) => format!(
            "somebody decides hold {hold}: `hubsyncd outbox approve {hold}` or `hubsyncd outbox discard --hold {hold}`"
        ),
        None => "the hold is carried out, or taken back, as somebody decided".to_owned(),
    })
}

fn one<T: rusqlite::types::FromSql>(
    connection: &Connection,
    sql: &str,
    own: &[(&str, &dyn ToSql)],
) -> Result<Option<T>, CommandError> {
    let found = connection.query_row(sql, own, |row| row.get::<_, Option<T>>(0));
    Ok(found.optional()?.flatten())
}
