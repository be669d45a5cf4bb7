//! `plan`: what the next push would send, beside a running daemon or without one. It tells from the database, which it only
//! reads; online it reads the records again first, as the push does, and decides by what they show.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use thiserror::Error;

use crate::app::budget::{AskError, AskingCommand};
use crate::clock::Clock;
use crate::config::{Config, ConfigError, PortalIdSource};
use crate::decide::echo::Histories;
use crate::decide::incoming::convert::{histories, remote_record};
use crate::decide::outgoing::plan::{BATCH, BATCH_WITH_HISTORY};
use crate::engine::outbound::preview::{
    PlanTotals, PlannedEntry, ReadAgain, Rehearsal, ShownAgain,
};
use crate::engine::portal::last_known;
use crate::engine::portal::objects::{ObjectSync, Objects};
use crate::hubspot::{Client, HubspotError, Priority, ReadQuery};
use crate::model::id::{HubspotId, PortalId};
use crate::model::name::{ObjectType, PropertyName};
use crate::model::record::RemoteRecord;
use crate::model::time::Timestamp;
use crate::store::tokens::look;
use crate::store::{StoreError, meta, quota};

/// Why there is no plan.
#[derive(Debug, Error)]
pub enum PlanError {
    /// The file or a variable that it names.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// HubSpot can't be asked.
    #[error(transparent)]
    Ask(#[from] AskError),
    /// HubSpot refuses or can't be reached.
    #[error(transparent)]
    Hubspot(#[from] HubspotError),
    /// The token belongs to another portal.
    #[error(
        "the token is for portal {found}, and the database and the mapping file are for portal {expected}"
    )]
    OtherPortal {
        /// The token's.
        found: PortalId,
        /// The file's.
        expected: PortalId,
    },
}

impl PlanError {
    /// What somebody can do about it.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::Config(error) => error.hint(),
            Self::Store(error) => error.hint().map(str::to_owned),
            Self::Ask(error) => error.hint(),
            Self::Hubspot(error) => error.hint().map(Cow::into_owned),
            Self::OtherPortal { .. } => {
                Some("use the token of the portal that the mapping file names".to_owned())
            }
        }
    }

    /// The stable name of what went wrong.
    pub(crate) fn code(&self) -> Option<&'static str> {
        match self {
            Self::Config(error) => error.code(),
            Self::Store(error) => Some(error.code()),
            Self::Ask(error) => error.code(),
            Self::Hubspot(error) => Some(error.code()),
            Self::OtherPortal { .. } => Some("other-portal"),
        }
    }

    /// Whether the file, a secret or the database must be changed first (status 78).
    pub(crate) fn is_configuration(&self) -> bool {
        match self {
            Self::Config(_) | Self::OtherPortal { .. } => true,
            Self::Store(error) => error.is_configuration(),
            Self::Ask(error) => error.is_configuration(),
            Self::Hubspot(_) => false,
        }
    }
}

/// What a plan comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PlanSums {
    /// What would be sent.
    pub totals: PlanTotals,
    /// The day's requests, where it has a bound.
    pub day_limit: Option<u64>,
    /// Used of them.
    pub day_used: u64,
}

/// Hands out every entry that is not dead, in the order of the push, as the database tells.
///
/// # Errors
/// The database refuses, or `each` does.
pub fn offline<E: From<PlanError>>(
    config: &Config,
    now: Timestamp,
    each: impl FnMut(PlannedEntry) -> Result<(), E>,
) -> Result<PlanSums, E> {
    rehearse(config, now, None, each)
}

/// The same by what HubSpot shows of the records that would be written.
///
/// # Errors
/// HubSpot can't be asked, the database refuses, or `each` does.
pub async fn online<E: From<PlanError>>(
    config: &Config,
    clock: &Arc<dyn Clock>,
    each: impl FnMut(PlannedEntry) -> Result<(), E>,
) -> Result<PlanSums, E> {
    let seen = read_again(config, clock).await?;
    rehearse(config, clock.now(), Some(&seen), each)
}

/// What HubSpot showed, and how its clock stands to this machine's.
struct SeenAgain {
    shown: ShownAgain,
    offset_ms: i64,
}

fn rehearse<E: From<PlanError>>(
    config: &Config,
    now: Timestamp,
    seen: Option<&SeenAgain>,
    mut each: impl FnMut(PlannedEntry) -> Result<(), E>,
) -> Result<PlanSums, E> {
    let path: &Path = &config.database;
    let told = look(path, |connection| {
        let state = quota::start_state(connection, now)?;
        let tx = connection.unchecked_transaction()?;
        let objects = last_known::objects(&tx, &config.mapping)?;
        let rehearsal = Rehearsal {
            tx: &tx,
            objects: &objects,
            guard: config.guard,
            now,
            offset_ms: seen.map_or(0, |seen| seen.offset_ms),
            shown: seen.map(|seen| &seen.shown),
            held_columns: RefCell::default(),
        };
        let totals = rehearsal.each(|planned| each(planned).map_err(Stopped::ByReader));
        Ok(totals.map(|totals| PlanSums {
            totals,
            day_limit: state.day_limit,
            day_used: state.day_used,
        }))
    });
    match told.map_err(PlanError::from)? {
        Some(Ok(sums)) => Ok(sums),
        Some(Err(Stopped::ByReader(error))) => Err(error),
        Some(Err(Stopped::ByStore(error))) => Err(PlanError::from(error).into()),
        None => Ok(PlanSums::default()),
    }
}

/// Who ended it early.
enum Stopped<E> {
    ByStore(StoreError),
    ByReader(E),
}

impl<E> From<StoreError> for Stopped<E> {
    fn from(error: StoreError) -> Self {
        Self::ByStore(error)
    }
}

/// Reads the records of the updates that are due, and where the decision needs them the histories of their properties.
async fn read_again(config: &Config, clock: &Arc<dyn Clock>) -> Result<SeenAgain, PlanError> {
    let asking = AskingCommand::begin(config, clock).await?;
    let client = asking.client();
    check_portal(config, client).await?;
    let objects = look(&config.database, |connection| {
        last_known::objects(&connection.unchecked_transaction()?, &config.mapping)
    })?
    .unwrap_or_default();
    let reading = PlanReading { client, objects };
    let mut ids: BTreeMap<ObjectType, Vec<HubspotId>> = BTreeMap::new();
    rehearse(config, clock.now(), None, |planned| {
        if planned.is_to_be_read() {
            ids.entry(planned.object).or_default().extend(planned.hs_id);
        }
        Ok::<_, PlanError>(())
    })?;
    let mut shown = ShownAgain::new();
    for (object, ids) in &ids {
        let all = shown.entry(object.clone()).or_default();
        reading.read(object, ids, all).await?;
    }
    let mut seen = SeenAgain {
        shown,
        offset_ms: client.clock_offset_ms(),
    };
    let mut wanted: BTreeMap<ObjectType, (Vec<HubspotId>, BTreeSet<PropertyName>)> =
        BTreeMap::new();
    rehearse(config, clock.now(), Some(&seen), |planned| {
        if !planned.need_history.is_empty() {
            let (ids, properties) = wanted.entry(planned.object).or_default();
            ids.extend(planned.hs_id);
            properties.extend(planned.need_history);
        }
        Ok::<_, PlanError>(())
    })?;
    for (object, (ids, properties)) in wanted {
        let properties: Vec<PropertyName> = properties.into_iter().collect();
        let all = seen.shown.entry(object.clone()).or_default();
        reading
            .read_with_histories(&object, &ids, &properties, all)
            .await?;
    }
    Ok(seen)
}

async fn check_portal(config: &Config, client: &Client) -> Result<(), PlanError> {
    let found = client.account().await?.portal_id;
    let in_file = config.portal.id.as_ref();
    let in_file = in_file.map(PortalIdSource::resolve).transpose()?;
    let known = look(&config.database, |connection| {
        meta::get(connection, meta::PORTAL_ID)
    })?;
    let known = known
        .flatten()
        .and_then(|text| text.parse().ok())
        .map(PortalId);
    match in_file
        .into_iter()
        .chain(known)
        .find(|expected| *expected != found)
    {
        Some(expected) => Err(PlanError::OtherPortal { found, expected }),
        None => Ok(()),
    }
}

/// What records are read with.
struct PlanReading<'a> {
    client: &'a Client,
    objects: Objects,
}

/// What was read of an object's records, by the id that was asked for.
type ReadRecords = BTreeMap<HubspotId, ReadAgain>;

impl PlanReading<'_> {
    async fn read(
        &self,
        name: &ObjectType,
        ids: &[HubspotId],
        shown: &mut ReadRecords,
    ) -> Result<(), PlanError> {
        let Some(object) = self.object(name) else {
            return Ok(());
        };
        for ids in ids.chunks(BATCH) {
            let found = self
                .client
                .batch_read(name, &query(&object, ids, &[]), Priority::Interactive)
                .await?;
            let records = found.records.into_iter();
            let records = records.map(|record| (remote_record(&object, record), None));
            keep(ids, &records.collect::<Vec<_>>(), shown);
        }
        Ok(())
    }

    async fn read_with_histories(
        &self,
        name: &ObjectType,
        ids: &[HubspotId],
        properties: &[PropertyName],
        shown: &mut ReadRecords,
    ) -> Result<(), PlanError> {
        let Some(object) = self.object(name) else {
            return Ok(());
        };
        let own_app = self.client.own_app().await;
        for ids in ids.chunks(BATCH_WITH_HISTORY) {
            let found = self
                .client
                .batch_read(
                    name,
                    &query(&object, ids, properties),
                    Priority::Interactive,
                )
                .await?;
            let records = found.records.into_iter().map(|record| {
                let told = histories(&object, &record, properties, own_app.as_deref());
                (remote_record(&object, record), Some(told))
            });
            keep(ids, &records.collect::<Vec<_>>(), shown);
        }
        Ok(())
    }

    fn object(&self, name: &ObjectType) -> Option<Arc<ObjectSync>> {
        let object = self.objects.get(name)?;
        self.client.call_object(name, object.mapping().address());
        Some(object)
    }
}

fn query(object: &ObjectSync, ids: &[HubspotId], with_history: &[PropertyName]) -> ReadQuery {
    ReadQuery {
        keys: ids.iter().map(ToString::to_string).collect(),
        id_property: None,
        properties: object.properties.clone(),
        with_history: with_history.iter().map(ToString::to_string).collect(),
        archived: false,
    }
}

/// Keeps each record under the id that was asked for: HubSpot answers to the id of a merged one with the survivor.
fn keep(ids: &[HubspotId], records: &[(RemoteRecord, Option<Histories>)], shown: &mut ReadRecords) {
    for id in ids {
        let found = records.iter().find(|(record, _)| record.answers_to(*id));
        if let Some((record, histories)) = found {
            let again = ReadAgain {
                record: record.clone(),
                histories: histories.clone(),
            };
            shown.insert(*id, again);
        }
    }
}
