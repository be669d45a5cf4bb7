//! Reads owners, pipelines and stages into the reference tables.

use crate::decide::outgoing::refusal::OF_PIPELINES;
use crate::decide::portal::owners::{FoundOwners, OwnerPage};
use crate::engine::portal::objects::ObjectSync;
use crate::engine::{Engine, StepError};
use crate::model::reference::Pipeline;
use crate::store::{Lane, StoreError, WriteTx, fields, meta, outbox, reference};

/// Reads owners and pipelines into the reference tables, each as far as HubSpot gives it.
///
/// # Errors
/// The first that failed; the others are written down.
pub async fn refresh(engine: &Engine) -> Result<(), StepError> {
    let mut failure = None;
    let owners = read_if_allowed(read_owners(engine).await, &mut failure);
    let mut pipelines = Vec::new();
    for object in engine
        .objects()
        .iter()
        .filter(|object| object.stages.is_some())
    {
        let read = engine.client.pipelines(object.object()).await;
        let read = read_if_allowed(read.map_err(StepError::from), &mut failure);
        pipelines.extend(read.map(|read| (object.clone(), read)));
    }
    let is_whole = failure.is_none();
    engine
        .store
        .write(Lane::Bulk, move |tx| -> Result<(), StoreError> {
            if is_whole {
                meta::set(tx, "reference_read_at", &tx.now().to_string())?;
            }
            if let Some(owners) = owners {
                let owners = owners.joined(reference::owners(tx)?);
                reference::replace_owners(tx, &owners)?;
            }
            for (object, found) in &pipelines {
                replace_pipelines(tx, object, found)?;
            }
            Ok(())
        })
        .await?;
    if is_whole {
        engine.memory.contradicted.forget();
    }
    failure.map_or(Ok(()), Err)
}

/// Reads the pipelines of one object, because something contradicts what is known of them. Where HubSpot does not show them,
/// they stay as they are known.
///
/// # Errors
/// The database refuses.
pub(crate) async fn read_pipelines_again(
    engine: &Engine,
    object: &ObjectSync,
) -> Result<(), StepError> {
    let found = match engine.client.pipelines(object.object()).await {
        Ok(found) => found,
        Err(error) => {
            tracing::warn!(object = %object.object(), error = %error, code = error.code(), "the pipelines could not be read again");
            return Ok(());
        }
    };
    let sync = object.clone();
    engine
        .store
        .write(Lane::Interactive, move |tx| {
            replace_pipelines(tx, &sync, &found)
        })
        .await?;
    Ok(())
}

/// What was refused for a stage or a pipeline is tried again where they have changed, and `sync_fields` says which rows hold some
/// that are gone.
fn replace_pipelines(
    tx: &WriteTx<'_>,
    object: &ObjectSync,
    found: &[Pipeline],
) -> Result<(), StoreError> {
    if reference::replace_pipelines(tx, object.object(), found)? {
        outbox::revive_refused(tx, object.object(), &OF_PIPELINES, tx.now())?;
        fields::follow_pipelines(tx, object.mapping(), tx.now())?;
    }
    Ok(())
}

/// Reads the owners, because a record names one that isn't known. Where HubSpot does not show them, they stay as they are known.
///
/// # Errors
/// The database refuses.
pub(crate) async fn read_owners_again(engine: &Engine) -> Result<(), StepError> {
    let found = match read_owners(engine).await {
        Ok(found) => found,
        Err(StepError::Hubspot(error)) => {
            tracing::warn!(error = %error, code = error.code(), "the owners could not be read again");
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    engine
        .store
        .write(Lane::Interactive, move |tx| {
            let owners = found.joined(reference::owners(tx)?);
            reference::replace_owners(tx, &owners)
        })
        .await?;
    Ok(())
}

/// What was read; the first failure is kept, and what is forbidden to the token is none: the table stays as it is.
fn read_if_allowed<T>(read: Result<T, StepError>, failure: &mut Option<StepError>) -> Option<T> {
    match read {
        Ok(read) => Some(read),
        Err(StepError::Hubspot(error)) if error.is_forbidden() => None,
        Err(error) => {
            failure.get_or_insert(error);
            None
        }
    }
}

/// Both lists of owners, each page by page.
async fn read_owners(engine: &Engine) -> Result<FoundOwners, StepError> {
    let mut found = FoundOwners::default();
    for archived in [false, true] {
        let mut after = None;
        for number in 1.. {
            let page = engine.client.owners(after.as_deref(), archived).await?;
            after = page.after;
            match found.take(page.records, &page.unread, after.is_some(), number) {
                OwnerPage::Next => {}
                OwnerPage::Last => break,
                OwnerPage::Circle => {
                    tracing::warn!(
                        total = found.len(),
                        "HubSpot's list of owners leads to no end; those beyond stay as they are known"
                    );
                    break;
                }
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::desk::{Desk, run};

    fn page(id: u32, after: Option<&str>) -> String {
        let next = after.map_or_else(String::new, |after| {
            format!(r#","paging":{{"next":{{"after":"{after}"}}}}"#)
        });
        format!(r#"{{"results":[{{"id":"{id}","email":"{id}@example.com"}}]{next}}}"#)
    }

    fn read(desk: &Desk) -> Vec<i64> {
        run(refresh(&desk.engine)).expect("is read");
        let owners = desk.engine.store().read(reference::owners);
        let owners = run(owners).expect("owners");
        owners.into_iter().map(|owner| owner.id).collect()
    }

    #[test]
    fn a_list_of_owners_that_leads_to_no_end_is_walked_until_nobody_new_comes() {
        let same: [(u32, &str); 20] = std::array::from_fn(|page| match page {
            0 => (1, "QQ"),
            _ => (2, "QQ"),
        });
        let in_turn: [(u32, &str); 20] = std::array::from_fn(|page| match page {
            0 => (1, "QQ"),
            odd if odd % 2 == 1 => (2, "Qg"),
            _ => (3, "QQ"),
        });
        for (pages, requests, owners) in [(same, 4, vec![1, 2, 7]), (in_turn, 5, vec![1, 2, 3, 7])]
        {
            let desk = Desk::new(0);
            desk.contacts();
            desk.hubspot.answer("/owners", page(7, None));
            assert_eq!(read(&desk), [7]);
            let before = desk.hubspot.asked("/owners").len();
            for (id, after) in pages {
                desk.hubspot.answer("/owners", page(id, Some(after)));
            }
            // Whoever stands beyond stays as known.
            assert_eq!(read(&desk), owners);
            // One more is the list of those that were deactivated.
            assert_eq!(desk.hubspot.asked("/owners").len() - before, requests);
        }
    }
}
