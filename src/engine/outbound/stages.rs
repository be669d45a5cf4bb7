//! Stages that are not their pipeline's: looked at by the pipelines that are known, which are read again before a stage that
//! they lack is called wrong.

use rusqlite::Transaction;

use crate::decide::outgoing::needed::{
    SentPart, is_known, misplaced, place, placeless, sends_unknown_stage,
};
use crate::engine::pass::Pass;
use crate::engine::portal::objects::ObjectSync;
use crate::engine::portal::reference;
use crate::engine::{Engine, StepError};
use crate::model::entry::{Entry, Operation};
use crate::model::name::PropertyName;
use crate::model::row::MirrorRow;
use crate::store::StoreError;
use crate::store::reference as tables;

/// Reads the object's pipelines again where one of these entries sends a place that they lack: it may have been made since.
///
/// # Errors
/// The database refuses. That HubSpot does not show pipelines keeps no entry from being sent.
pub(crate) async fn read_again_for(
    engine: &Engine,
    object: &ObjectSync,
    due: &[Entry],
) -> Result<(), StepError> {
    if object.stages.is_none() {
        return Ok(());
    }
    let (sync, due) = (object.clone(), due.to_vec());
    let is_unknown = engine
        .store
        .read(move |connection| {
            let known = tables::pipelines(connection, sync.object())?;
            for entry in &due {
                let is_sent = |property: &PropertyName| entry.field(property).is_some();
                let sent = match entry.standing.operation {
                    Operation::Create => SentPart::New,
                    Operation::Update
                    | Operation::Archive
                    | Operation::Associate
                    | Operation::Disassociate => SentPart::Some {
                        is_sent: &is_sent,
                        shown_in: None,
                    },
                };
                let Some(row) = sync.table.by_local_id(connection, entry.local_id)? else {
                    continue;
                };
                let is_unknown = match place(&sync, &row, sent) {
                    Some(place) => !is_known(&place, &known),
                    // In which pipeline it is the read before the write shows.
                    None => sends_unknown_stage(&sync, &row, sent, &known),
                };
                if is_unknown {
                    return Ok(true);
                }
            }
            Ok(false)
        })
        .await?;
    match is_unknown {
        true => reference::read_pipelines_again(engine, object).await,
        false => Ok(()),
    }
}

/// That a row's stage is not its pipeline's, in words for a person.
pub(crate) fn misplaced_in(
    tx: &Transaction<'_>,
    pass: &Pass<'_>,
    row: &MirrorRow,
    sent: SentPart<'_>,
) -> Result<Option<String>, StoreError> {
    if pass.object.stages.is_none() {
        return Ok(None);
    }
    let known = tables::pipelines(tx, pass.name())?;
    Ok(match place(pass.object, row, sent) {
        Some(place) => misplaced(pass.object, row, &place, &known),
        None => placeless(pass.object, row, sent, &known),
    })
}
