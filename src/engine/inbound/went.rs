//! The row of an entry went while its attempt was on its way, or in doubt, and HubSpot has the record: whoever finds that asks
//! here what becomes of the entry.

use rusqlite::Transaction;

use crate::engine::pass::Pass;
use crate::model::entry::{Entry, Operation};
use crate::model::id::OutboxId;
use crate::model::name::PropertyName;
use crate::model::record::RemoteRecord;
use crate::store::outbox;
use crate::store::{StoreError, reads, rowjson};

/// What is shown of a record that a create made whose row was deleted meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MadeRecord {
    /// What the create's own answer shows.
    Answered,
    /// No more than its create and HubSpot's own defaults.
    Fresh,
    /// Whatever became of it since.
    Found,
}

/// A row that was deleted takes its record along: the entry becomes its archive. Where no trigger recorded a deletion (its table
/// was dropped, say) nobody deleted it: the record comes in as any other, and the entry ends.
pub(crate) fn row_went(
    tx: &Transaction<'_>,
    pass: &Pass<'_>,
    entry: &Entry,
    record: &RemoteRecord,
    shows: MadeRecord,
) -> Result<(), StoreError> {
    let Some(text) = entry.row.as_deref() else {
        reads::ask(tx, pass.name(), record.id, pass.origin, pass.now)?;
        return end_without_row(tx, pass, entry.id);
    };
    if entry.standing.operation == Operation::Create {
        let row = made_row(pass, (entry, text), record, shows);
        outbox::set_row(tx, entry.id, &row)?;
    }
    outbox::become_archive(tx, entry.id, record.id, pass.now)
}

/// Ends an entry whose row is gone without a trigger's word. What was written while it was in flight is named.
fn end_without_row(tx: &Transaction<'_>, pass: &Pass<'_>, id: OutboxId) -> Result<(), StoreError> {
    let left = outbox::by_id(tx, id)?;
    let unsent = left
        .filter(|entry| entry.standing.operation == Operation::Update && !entry.fields.is_empty());
    match unsent {
        Some(entry) => {
            let table = &pass.object.mapping().table;
            outbox::park_without_row(tx, table, &entry, outbox::UNRECORDED)
        }
        None => outbox::end(tx, id),
    }
}

/// What is kept of a deleted row whose create made a record: it tells when HubSpot made that, so that no answer which misses it is
/// believed too soon, and what HubSpot gave it by itself is nobody's edit.
fn made_row(
    pass: &Pass<'_>,
    (entry, text): (&Entry, &str),
    record: &RemoteRecord,
    shows: MadeRecord,
) -> String {
    let is_written = |property: &PropertyName| {
        let mut fields = entry.fields.iter();
        fields.any(|field| field.property == *property)
    };
    let mapping = pass.object.mapping();
    let filled = match shows {
        MadeRecord::Answered | MadeRecord::Fresh => {
            rowjson::with_defaults(mapping, text, record, is_written)
        }
        MadeRecord::Found => text.to_owned(),
    };
    let version = (shows == MadeRecord::Answered).then_some(record.updated_at);
    rowjson::with_times(&filled, record.created_at, version)
}
