//! What `once` tells at its end: what it did to each object, what is left, and why.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use crate::daemon::tasks::with_causes;
use crate::decide::decision::commands::PausedSide;
use crate::engine::{Engine, StepError};
use crate::model::name::ObjectType;
use crate::store::counts::{ObjectReport, WorkDone};
use crate::store::fields::{self, Troubled};
use crate::store::meta::REFUSED_BY_TABLE;
use crate::store::{awaited, counts, orders, quota, unreadable};

/// What `once` did.
#[derive(Debug, Clone, Serialize, PartialEq, Eq)]
pub struct OnceReport {
    /// Each object, in the mapping's order.
    pub objects: Vec<ObjectReport>,
    /// Requests sent.
    pub requests: u64,
    /// Why it ended early, where it did.
    #[serde(skip)]
    pub failure: Option<OnceFailure>,
    /// What is done and should be known all the same.
    #[serde(skip)]
    pub warnings: Vec<OnceFailure>,
    /// What is paused in the daemon; `once` works all the same.
    #[serde(skip)]
    pub paused: Vec<PausedSide>,
}

/// What went wrong, and what somebody can do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnceFailure {
    /// A sentence.
    pub explanation: String,
    /// The remedy.
    pub hint: Option<String>,
    /// The stable name of it.
    pub code: Option<Cow<'static, str>>,
}

impl From<&StepError> for OnceFailure {
    fn from(error: &StepError) -> Self {
        Self {
            explanation: with_causes(error),
            hint: error.hint().map(Cow::into_owned),
            code: Some(error.code().into()),
        }
    }
}

impl OnceReport {
    /// Whether nothing is left to do.
    pub(crate) fn is_done(&self) -> bool {
        let is_done = |object: &ObjectReport| object.pending == 0 && object.refused == 0;
        self.failure.is_none() && self.objects.iter().all(is_done)
    }
}

/// What stood in the database before.
pub(super) struct Before {
    /// What was done of each object.
    done: BTreeMap<ObjectType, WorkDone>,
    /// Requests sent.
    requests: u64,
}

impl Before {
    /// As it stands now.
    pub(super) async fn look(engine: &Arc<Engine>) -> Result<Self, StepError> {
        let names = names(engine);
        let store = engine.store();
        let done = store.read(move |connection| {
            let of = |name: ObjectType| counts::done(connection, &name).map(|done| (name, done));
            names
                .into_iter()
                .map(of)
                .collect::<Result<BTreeMap<_, _>, _>>()
        });
        Ok(Self {
            done: done.await?,
            requests: store.read(quota::requests_in_all).await?,
        })
    }
}

/// The objects, in the mapping's order.
fn names(engine: &Arc<Engine>) -> Vec<ObjectType> {
    let mapping = engine.mapping();
    let objects = mapping.objects.iter();
    objects.map(|object| object.object.clone()).collect()
}

/// What was done since then, and why it ended early, where it did.
pub(super) async fn report(
    engine: &Arc<Engine>,
    before: Before,
    failure: Option<OnceFailure>,
) -> Result<OnceReport, StepError> {
    let requests = engine.store().read(quota::requests_in_all).await?;
    let objects = objects_since(engine, before.done).await?;
    let troubled = engine.store().read(fields::troubled).await?;
    let mut warnings: Vec<OnceFailure> = troubled.into_iter().map(OnceFailure::from).collect();
    warnings.extend(odd_answers(engine).await?);
    warnings.extend(erasures(engine).await?);
    warnings.extend(objects.iter().filter_map(refused));
    Ok(OnceReport {
        failure: failure.or_else(|| left(&objects)),
        objects,
        requests: requests.saturating_sub(before.requests),
        warnings,
        paused: engine.store().read(orders::paused).await?,
    })
}

/// What is left of work that failed of nothing.
fn left(objects: &[ObjectReport]) -> Option<OnceFailure> {
    let pending: u64 = objects.iter().map(|object| object.pending).sum();
    let refused: u64 = objects.iter().map(|object| object.refused).sum();
    let waits = match pending {
        0 => None,
        1 => Some("1 change still waits to be pushed".to_owned()),
        _ => Some(format!("{pending} changes still wait to be pushed")),
    };
    let stands_apart = match refused {
        0 => None,
        1 => Some("the table refuses 1 record".to_owned()),
        _ => Some(format!("the tables refuse {refused} records")),
    };
    let (hint, code) = match waits {
        Some(_) => ("see `hubsyncd outbox list`, and run it again", "work-left"),
        None => (
            "change what refuses them, and run it again",
            REFUSED_BY_TABLE,
        ),
    };
    let explanation: Vec<String> = waits
        .into_iter()
        .chain(objects.iter().filter_map(unmade))
        .chain(stands_apart)
        .collect();
    (!explanation.is_empty()).then(|| OnceFailure {
        explanation: explanation.join("; "),
        hint: Some(hint.to_owned()),
        code: Some(code.into()),
    })
}

/// What of an object waits for a record that nothing makes, so that no further run sends it either.
fn unmade(object: &ObjectReport) -> Option<String> {
    let (why, changes) = object.unmade.as_ref()?;
    let of_all = match changes {
        1 => String::new(),
        many => format!(" ({many} such changes)"),
    };
    Some(format!("one of {} {why}{of_all}", object.object))
}

/// The records that an object's table refuses, with one of the reasons.
fn refused(object: &ObjectReport) -> Option<OnceFailure> {
    let why = object.refusal.as_deref()?;
    let more = match object.refused {
        0 | 1 => String::new(),
        many => format!(" ({many} such records)"),
    };
    Some(OnceFailure {
        explanation: format!("{}: {why}{more}", object.object),
        hint: None,
        code: Some(REFUSED_BY_TABLE.into()),
    })
}

/// What of HubSpot's answers can't be read and no field's problem tells of, an object each.
async fn odd_answers(engine: &Arc<Engine>) -> Result<Vec<OnceFailure>, StepError> {
    let names = names(engine);
    let told = engine
        .store()
        .read(move |connection| {
            let mut told = Vec::new();
            for object in &names {
                let explanation = unreadable::odd_answers(connection, object)?;
                told.extend(explanation.map(|explanation| format!("{object}: {explanation}")));
            }
            Ok(told)
        })
        .await?;
    let failure = |explanation| OnceFailure {
        explanation,
        hint: Some(
            "open the records named in HubSpot, then compare in full (`--reconcile`)".to_owned(),
        ),
        code: Some("unreadable-answer".into()),
    };
    Ok(told.into_iter().map(failure).collect())
}

/// The privacy deletions that HubSpot has announced and not carried out, an object each.
async fn erasures(engine: &Arc<Engine>) -> Result<Vec<OnceFailure>, StepError> {
    let names = names(engine);
    let counted = engine.store().read(move |connection| {
        let mut counted = Vec::new();
        for object in names {
            let records = awaited::erasures(connection, &object)?;
            counted.push((object, records));
        }
        Ok(counted)
    });
    let counted = counted.await?.into_iter();
    let told = counted.filter_map(|(object, records)| {
        let explanation = match records {
            0 => return None,
            1 => "1 record is to be erased, and HubSpot still shows it".to_owned(),
            _ => format!("{records} records are to be erased, and HubSpot still shows them"),
        };
        Some(OnceFailure {
            explanation: format!("{object}: {explanation}"),
            hint: Some("run it again, until HubSpot has deleted them".to_owned()),
            code: Some("erasure-waits".into()),
        })
    });
    Ok(told.collect())
}

/// All that was done, and all requests that the database knows of.
pub(crate) async fn report_of_all(engine: &Arc<Engine>) -> Result<OnceReport, StepError> {
    engine.store().write_calls().await?;
    let requests = engine.store().read(quota::requests_in_all).await?;
    Ok(OnceReport {
        objects: objects_since(engine, BTreeMap::new()).await?,
        requests,
        failure: None,
        warnings: Vec::new(),
        paused: Vec::new(),
    })
}

async fn objects_since(
    engine: &Arc<Engine>,
    before: BTreeMap<ObjectType, WorkDone>,
) -> Result<Vec<ObjectReport>, StepError> {
    let (names, mapping) = (names(engine), engine.mapping());
    let counted = engine
        .store()
        .read(move |connection| {
            names
                .iter()
                .map(|name| {
                    let before = before.get(name).copied().unwrap_or_default();
                    counts::of(connection, name, &mapping.pairs, before)
                })
                .collect::<Result<Vec<_>, _>>()
        })
        .await?;
    Ok(counted)
}

impl From<Troubled> for OnceFailure {
    fn from(field: Troubled) -> Self {
        let values = match field.unreadable {
            0 => String::new(),
            1 => " (1 value)".to_owned(),
            many => format!(" ({many} values)"),
        };
        Self {
            explanation: format!(
                "{}.{}: {}{values}",
                field.object, field.property, field.problem
            ),
            hint: field.hint,
            code: field.code.map(Cow::Owned),
        }
    }
}
