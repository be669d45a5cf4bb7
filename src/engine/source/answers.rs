//! Ends the events that a read answers, and asks again where the answer is older than an event (`decide/incoming/answers`).

use rusqlite::Transaction;

use crate::decide::incoming::answers::after_answer;
use crate::engine::pass::Pass;
use crate::hubspot::Record;
use crate::store::history::Origin;
use crate::store::inbox::{self, State};
use crate::store::reads::Due;
use crate::store::{StoreError, reads};

/// Ends the events that a read answers, and asks for another one where the answer is older than an event.
pub(crate) fn end_events(
    tx: &Transaction<'_>,
    pass: &Pass<'_>,
    due: Due,
    found: &[Record],
) -> Result<(), StoreError> {
    let (object, now) = (pass.object, pass.now);
    let name = object.object();
    let record = Record::answering(found, due.id);
    let up_to = record.map(|record| record.updated_at);
    inbox::read_was_applied(tx, name, due.id, due.number, up_to)?;
    let Some(record) = record else {
        return Ok(());
    };
    let waiting = inbox::unanswered(tx, name, due.id, due.number)?;
    let after = after_answer(object, record, &waiting, now);
    for event in after.done {
        inbox::end(tx, event, State::Done, None)?;
    }
    let Some(next) = after.next else {
        return Ok(());
    };
    let number = reads::ask(tx, name, due.id, Origin::Webhook, next)?;
    for event in after.late {
        inbox::answered_by(tx, event, number)?;
    }
    Ok(())
}
