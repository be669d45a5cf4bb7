//! What is seen of a world: the rows of the mirror, and at rest what stands on both sides and in the tables for people.

use std::collections::BTreeSet;

use rusqlite::Connection;

use crate::model::{Conflict, Place, Stands, Text};
use crate::worlds::bench::PERSON;

/// A row of the mirror.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RowSeen {
    pub(crate) local_id: i64,
    pub(crate) hs_id: Option<u64>,
    pub(crate) email: Text,
    pub(crate) is_archived: bool,
    /// The version of its record.
    pub(crate) modified_at: Text,
    pub(crate) values: Vec<Text>,
}

impl RowSeen {
    pub(crate) fn is_of_person(&self) -> bool {
        self.email.as_deref() == Some(PERSON)
    }
}

/// The row of the person; of two the one whose record is there.
pub(crate) fn hot(rows: &[RowSeen]) -> Option<&RowSeen> {
    let mut own = rows.iter().filter(|row| row.is_of_person());
    let is_there = |row: &&RowSeen| row.hs_id.is_some() && !row.is_archived;
    own.clone().find(is_there).or_else(|| own.next())
}

/// A conflict as the table for people shows it.
#[derive(Debug, Clone)]
pub(crate) struct ConflictSeen {
    /// What both sides had agreed on, where that is known.
    pub(crate) base: Option<Text>,
    pub(crate) local: Text,
    pub(crate) remote: Text,
    pub(crate) winner: Option<String>,
    pub(crate) reason: Option<String>,
    pub(crate) is_open: bool,
}

impl ConflictSeen {
    /// The winner, or `open`.
    pub(crate) fn word(&self) -> &'static str {
        match self.winner.as_deref() {
            _ if self.is_open => "open",
            Some("local") => "local",
            Some("remote") => "remote",
            Some("agreed") => "agreed",
            _ => "other",
        }
    }
}

/// What is seen of a field when the world has come to rest.
#[derive(Debug, Clone, Default)]
pub(crate) struct FieldSeen {
    pub(crate) local: Text,
    pub(crate) remote: Text,
    pub(crate) conflicts: Vec<ConflictSeen>,
    /// Values of the field that lost, in `sync_history` and `sync_conflicts`.
    pub(crate) kept: BTreeSet<String>,
}

impl FieldSeen {
    /// The same in the words of the model: each thing that can be said of it. Where a request of the daemon's own has landed late,
    /// HubSpot's side is what an open conflict shows of it.
    pub(crate) fn stands(&self, landed_late: bool) -> Vec<Stands> {
        let (open, closed): (Vec<_>, Vec<_>) = self.conflicts.iter().partition(|one| one.is_open);
        let conflicts = match &open[..] {
            [] => {
                let lost = closed.iter().filter_map(|one| match one.word() {
                    "local" => Some(Conflict::Lost(Place::Remote, one.remote.clone())),
                    "remote" => Some(Conflict::Lost(Place::Local, one.local.clone())),
                    _ => None,
                });
                lost.chain([Conflict::Settled]).collect()
            }
            [one] if one.local == self.local && one.remote == self.remote => vec![Conflict::Open],
            [one] if one.local == self.local && landed_late => {
                return vec![Stands {
                    local: self.local.clone(),
                    remote: one.remote.clone(),
                    conflict: Conflict::Open,
                }];
            }
            _ => Vec::new(),
        };
        let stand = |conflict| Stands {
            local: self.local.clone(),
            remote: self.remote.clone(),
            conflict,
        };
        conflicts.into_iter().map(stand).collect()
    }
}

/// How both sides of the record stand at rest.
#[derive(Debug, Clone, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each says whether one kind of thing was seen"
)]
pub(crate) struct ExistenceSeen {
    /// The person's row: its id and the record's.
    pub(crate) row: Option<(i64, Option<u64>)>,
    /// The person's live record.
    pub(crate) record: Option<u64>,
    /// Whether a conflict about the whole record is open.
    pub(crate) is_open: bool,
    /// Whether the row is marked as archived, whether its entry is dead, and whether the guard holds something.
    pub(crate) is_marked: bool,
    pub(crate) is_dead: bool,
    pub(crate) is_held: bool,
    /// When the last change that only one side has was made there: the row's, and the record's.
    pub(crate) pending_local_ms: Option<i64>,
    pub(crate) last_remote_ms: Option<i64>,
    /// Whether that change of the record came too late for the daemon to see it.
    pub(crate) edit_fell_into_a_gap: bool,
    /// By how much the clocks of both sides differed at most, as far as nobody could know.
    pub(crate) clock_ms: i64,
}

/// The rows of the mirror.
pub(crate) fn rows(connection: &Connection) -> Vec<RowSeen> {
    let mut statement = connection
        .prepare_cached(
            "SELECT local_id, hs_id, c_email, c_firstname, c_lastname, hs_archived, hs_modified_at FROM contacts WHERE coalesce(c_email, '') NOT GLOB 'filler*' ORDER BY local_id",
        )
        .expect("the mirror can be read");
    let rows = statement.query_map([], |row| {
        Ok(RowSeen {
            local_id: row.get(0)?,
            hs_id: row.get::<_, Option<i64>>(1)?.map(i64::unsigned_abs),
            email: row.get(2)?,
            values: vec![row.get(3)?, row.get(4)?],
            is_archived: row.get(5)?,
            modified_at: row.get(6)?,
        })
    });
    rows.expect("rows")
        .collect::<Result<_, _>>()
        .expect("mirror rows")
}

/// The conflicts of a property.
pub(crate) fn conflicts(connection: &Connection, property: &str) -> Vec<ConflictSeen> {
    let mut statement = connection
        .prepare_cached(
            "SELECT local_value, remote_value, winner, reason, resolved_at IS NULL, base_value, base_known FROM sync_conflicts WHERE property = ?1",
        )
        .expect("the conflicts can be read");
    let rows = statement.query_map([property], |row| {
        Ok(ConflictSeen {
            local: row.get(0)?,
            remote: row.get(1)?,
            winner: row.get(2)?,
            reason: row.get(3)?,
            is_open: row.get(4)?,
            base: row.get::<_, bool>(6)?.then_some(row.get(5)?),
        })
    });
    rows.expect("rows")
        .collect::<Result<_, _>>()
        .expect("conflicts")
}

/// The open conflicts: number, row and property of each.
pub(crate) fn open_conflicts(connection: &Connection) -> BTreeSet<(i64, i64, String)> {
    let mut statement = connection
        .prepare_cached("SELECT id, local_id, property FROM sync_conflicts WHERE resolved_at IS NULL AND resolution IS NULL AND local_id IS NOT NULL")
        .expect("the conflicts can be read");
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)));
    rows.expect("rows")
        .collect::<Result<_, _>>()
        .expect("conflicts")
}

/// What stands in the tables where people look for what lost.
pub(crate) fn kept(
    connection: &Connection,
    property: &str,
    of_field: &[ConflictSeen],
    of_record: &[ConflictSeen],
) -> BTreeSet<String> {
    let mut statement = connection
        .prepare_cached("SELECT old_value, new_value FROM sync_history WHERE property IN (?1, '*')")
        .expect("the history can be read");
    let rows = statement.query_map([property], |row| Ok([row.get(0)?, row.get(1)?]));
    let mut texts: Vec<Text> = rows
        .expect("rows")
        .collect::<Result<Vec<[Text; 2]>, _>>()
        .expect("history")
        .concat();
    for conflict in of_field.iter().chain(of_record) {
        texts.extend([conflict.local.clone(), conflict.remote.clone()]);
    }
    let explanation = |text: String| -> Vec<String> {
        let explanation = text.split(|letter: char| !letter.is_alphanumeric());
        explanation.map(str::to_owned).collect()
    };
    texts.into_iter().flatten().flat_map(explanation).collect()
}

/// Every text of the file, with the table in which it stands.
pub(crate) fn everything(connection: &Connection) -> Vec<(String, String)> {
    let texts = |sql: &str| -> Vec<String> {
        let mut statement = connection.prepare_cached(sql).expect(sql);
        let rows = statement.query_map([], |row| row.get(0)).expect(sql);
        rows.collect::<Result<_, _>>().expect(sql)
    };
    let columns = "SELECT 'SELECT CAST(\"' || columns.name || '\" AS TEXT) FROM \"' || tables.name || '\" WHERE \"' || columns.name || '\" IS NOT NULL'
         FROM sqlite_schema AS tables
         JOIN pragma_table_xinfo(tables.name) AS columns
         WHERE tables.type = 'table'";
    let of_column = |sql: String| {
        let found = texts(&sql);
        found.into_iter().map(move |text| (sql.clone(), text))
    };
    texts(columns).into_iter().flat_map(of_column).collect()
}
