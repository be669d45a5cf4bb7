//! `plan`: what the next push would send, beside a running daemon or without one. It tells from the database, which it only
//! reads; where people's decisions wait, which go before a push, they are carried out in a copy of it. Online it reads the records
//! again first, as the push does, and decides by what they show.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rusqlite::{Connection, Transaction};
use thiserror::Error;

use crate::app::budget::{AskError, AskingCommand};
use crate::clock::Clock;
use crate::config::{Config, ConfigError, PortalIdSource};
use crate::decide::decision::commands::PausedSide;
use crate::decide::echo::Histories;
use crate::decide::existence::Moment;
use crate::decide::incoming::convert::{histories, remote_record, remote_records};
use crate::decide::outgoing::looking::{LookBy, asked_for, left_in_doubt, meant_by, unseen_keys};
use crate::decide::outgoing::plan::{BATCH, BATCH_WITH_HISTORY};
use crate::decide::outgoing::present::Present;
use crate::engine::decisions::ahead::{AheadOfDaemon, ShownToDecisions};
use crate::engine::outbound::create::{self, LookedFor};
use crate::engine::outbound::preview::ahead::SettledAhead;
use crate::engine::outbound::preview::planned::{PlannedEntry, ReadAgain, ShownAgain};
use crate::engine::outbound::preview::{PlanTotals, Rehearsal};
use crate::engine::outbound::searched::{self, is_young};
use crate::engine::pass::Pass;
use crate::engine::portal::last_known;
use crate::engine::portal::objects::{ObjectSync, Objects};
use crate::hubspot::{BatchRead, Client, HubspotError, Priority, ReadQuery};
use crate::model::entry::{Entry, Operation};
use crate::model::id::{HubspotId, OutboxId, PortalId};
use crate::model::mapping::{Mapping, OnLocalDelete};
use crate::model::name::{ObjectType, PropertyName};
use crate::model::record::RemoteRecord;
use crate::model::time::Timestamp;
use crate::store::database::scratch;
use crate::store::history::Origin;
use crate::store::shape::fit::as_made;
use crate::store::tokens::{look, looking};
use crate::store::{StoreError, cursors, meta, orders, outbox, quota};

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
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PlanSums {
    /// What would be sent.
    pub totals: PlanTotals,
    /// The day's requests, where it has a bound.
    pub day_limit: Option<u64>,
    /// Used of them.
    pub day_used: u64,
    /// Whether the daemon's pushes are paused; those of `once` are not.
    pub is_paused: bool,
    /// Objects that are not synced at present, each with the code that says why.
    pub kept_back: Vec<(String, String)>,
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
    let moment = Moment { now, offset_ms: 0 };
    let Some(mut base) = PlanBase::open(config)? else {
        return Ok(PlanSums::default());
    };
    base.carry_out_decisions(None, moment)?;
    base.link_reinserted(moment)?;
    base.take_rows_back(None, moment)?;
    base.rehearse(None, moment, each)
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
    let asking = AskingCommand::begin(config, clock)
        .await
        .map_err(PlanError::from)?;
    let Some(mut base) = PlanBase::open(config)? else {
        return Ok(PlanSums::default());
    };
    let shown = read_again(&mut base, asking.client(), clock).await?;
    let moment = moment(asking.client(), clock);
    // What it did not send of its share is none of the day's requests.
    drop(asking);
    base.rehearse(Some(&shown), moment, each)
}

fn moment(client: &Client, clock: &Arc<dyn Clock>) -> Moment {
    Moment {
        now: clock.now(),
        offset_ms: client.clock_offset_ms(),
    }
}

/// What a plan is made of: the database, which is only read, or a copy in which is done what comes before a push.
struct PlanBase<'a> {
    config: &'a Config,
    connection: Connection,
    /// What of the file the database has: that may be behind it.
    mapping: Mapping,
    objects: Objects,
    is_copy: bool,
    ahead: SettledAhead,
}

impl<'a> PlanBase<'a> {
    fn open(config: &'a Config) -> Result<Option<Self>, PlanError> {
        let Some(connection) = looking(&config.database)? else {
            return Ok(None);
        };
        let (mapping, objects) = {
            let tx = begun(&connection)?;
            let mapping = as_made(&tx, &config.mapping)?;
            let objects = last_known::objects(&tx, &mapping)?;
            (mapping, objects)
        };
        Ok(Some(Self {
            config,
            connection,
            mapping,
            objects,
            is_copy: false,
            ahead: SettledAhead::default(),
        }))
    }

    fn decisions(&self) -> AheadOfDaemon<'_> {
        AheadOfDaemon {
            mapping: &self.mapping,
            objects: &self.objects,
        }
    }

    /// What is written from here on is written to a copy.
    fn copy(&mut self) -> Result<(), PlanError> {
        if !self.is_copy {
            self.connection = scratch::copy(&self.connection)?;
            self.is_copy = true;
        }
        Ok(())
    }

    /// Carries out what people have decided, as the daemon does before it pushes anything.
    fn carry_out_decisions(
        &mut self,
        shown: Option<&ShownToDecisions>,
        moment: Moment,
    ) -> Result<(), PlanError> {
        if !self.decisions().is_any(&self.connection)? {
            return Ok(());
        }
        let (mapping, objects) = (self.mapping.clone(), self.objects.clone());
        let decisions = AheadOfDaemon {
            mapping: &mapping,
            objects: &objects,
        };
        self.write(|tx| decisions.carry_out(tx, shown, moment))
    }

    /// Creates of an object that are due.
    fn due_creates(&self, object: &ObjectSync, now: Timestamp) -> Result<Vec<Entry>, StoreError> {
        self.due(object, Operation::Create, now)
    }

    fn due(
        &self,
        object: &ObjectSync,
        operation: Operation,
        now: Timestamp,
    ) -> Result<Vec<Entry>, StoreError> {
        let mut due = Vec::new();
        if !object.mapping().direction.pushes() {
            return Ok(due);
        }
        let waiting = outbox::waiting(&self.connection, object.object(), None, operation, now)?;
        for entry in waiting.into_iter().filter(|entry| entry.is_due) {
            due.extend(outbox::by_id(&self.connection, entry.id)?);
        }
        Ok(due)
    }

    /// What was deleted and inserted again is one record, and no create.
    fn link_reinserted(&mut self, moment: Moment) -> Result<(), PlanError> {
        for object in self.objects.clone().iter() {
            let due = self.due_creates(object, moment.now)?;
            let due: Vec<OutboxId> = due.iter().map(|create| create.id).collect();
            if create::reinserted_of(&self.connection, object, &due)?.is_empty() {
                continue;
            }
            self.write(|tx| {
                let pass = Pass::at(moment, object, Origin::Poll);
                create::link_reinserted(tx, &pass, &due)
            })?;
        }
        Ok(())
    }

    /// Whether an object is not synced at present.
    fn is_kept_back(&self, object: &ObjectSync) -> Result<bool, StoreError> {
        let kept_back = cursors::kept_back(&self.connection)?;
        Ok(kept_back
            .iter()
            .any(|(name, _)| name == object.object().as_str()))
    }

    /// Rows that come back instead of being archived, with what waits of them.
    fn take_rows_back(
        &mut self,
        shown: Option<&ShownAgain>,
        moment: Moment,
    ) -> Result<(), PlanError> {
        for object in self.objects.clone().iter() {
            if object.mapping().modes.on_local_delete == OnLocalDelete::Archive
                || self.is_kept_back(object)?
            {
                continue;
            }
            let due = self.due(object, Operation::Archive, moment.now)?;
            if due.is_empty() {
                continue;
            }
            let (guard, mut ahead) = (self.config.guard, std::mem::take(&mut self.ahead));
            self.write(|tx| {
                let pass = Pass::at(moment, object, Origin::Poll);
                ahead.take_rows_back(tx, &pass, &guard, (&due, shown))
            })?;
            self.ahead = ahead;
        }
        Ok(())
    }

    /// Updates that are due of an object, of records that HubSpot was asked for and misses.
    fn missed(
        &self,
        object: &ObjectSync,
        shown: &ShownAgain,
        now: Timestamp,
    ) -> Result<Vec<Entry>, StoreError> {
        if self.is_kept_back(object)? {
            return Ok(Vec::new());
        }
        let mut missed = self.due(object, Operation::Update, now)?;
        missed.retain(|entry| {
            let id = entry.standing.hs_id;
            id.is_some_and(|id| shown.has_missed(object.object(), id))
        });
        Ok(missed)
    }

    /// What becomes of those, by what HubSpot's archive shows.
    fn take_missed(
        &mut self,
        (object, missed): (&ObjectSync, &[Entry]),
        (shown, archived): (&ShownAgain, &[RemoteRecord]),
        moment: Moment,
    ) -> Result<(), PlanError> {
        let (guard, mut ahead) = (self.config.guard, std::mem::take(&mut self.ahead));
        self.write(|tx| {
            let pass = Pass::at(moment, object, Origin::Poll);
            ahead.take_missed(tx, &pass, &guard, (missed, shown, archived))
        })?;
        self.ahead = ahead;
        Ok(())
    }

    /// Writes to the copy.
    fn write(
        &mut self,
        change: impl FnOnce(&Transaction<'_>) -> Result<(), StoreError>,
    ) -> Result<(), PlanError> {
        self.copy()?;
        let tx = begun(&self.connection)?;
        change(&tx)?;
        Ok(tx.commit().map_err(StoreError::from)?)
    }

    fn rehearse<E: From<PlanError>>(
        &self,
        shown: Option<&ShownAgain>,
        moment: Moment,
        mut each: impl FnMut(PlannedEntry) -> Result<(), E>,
    ) -> Result<PlanSums, E> {
        let mut told = || {
            let state = quota::start_state(&self.connection, moment.now)?;
            let tx = begun(&self.connection)?;
            let kept_back = cursors::kept_back(&tx)?;
            let rehearsal = Rehearsal {
                kept_back: &kept_back,
                tx: &tx,
                objects: &self.objects,
                guard: self.config.guard,
                now: moment.now,
                offset_ms: moment.offset_ms,
                shown,
                ahead: &self.ahead,
                held_columns: RefCell::default(),
                makes: RefCell::default(),
                made: RefCell::default(),
            };
            let totals = rehearsal.each(|planned| each(planned).map_err(Stopped::ByReader))?;
            Ok(PlanSums {
                totals,
                day_limit: state.day_limit,
                day_used: state.day_used,
                is_paused: orders::is_paused(&tx, PausedSide::Push)?,
                kept_back,
            })
        };
        told().map_err(|stopped| match stopped {
            Stopped::ByReader(error) => error,
            Stopped::ByStore(error) => PlanError::from(error).into(),
        })
    }
}

fn begun(connection: &Connection) -> Result<Transaction<'_>, StoreError> {
    Ok(connection.unchecked_transaction()?)
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

/// Reads what decisions and entries are about, and where the decision needs them the histories of their properties.
async fn read_again(
    base: &mut PlanBase<'_>,
    client: &Client,
    clock: &Arc<dyn Clock>,
) -> Result<ShownAgain, PlanError> {
    check_portal(base.config, client).await?;
    let reading = PlanReading {
        client,
        objects: base.objects.clone(),
    };
    let asked_at = clock.now();
    let records = base
        .decisions()
        .records(&base.connection, moment(client, clock))?;
    let mut decided = ShownToDecisions::new();
    for (object, ids) in records {
        let present = reading.present(&object, &ids, asked_at).await?;
        decided.insert(object, present);
    }
    base.carry_out_decisions(Some(&decided), moment(client, clock))?;
    let (mut shown, mut looked_for) = (ShownAgain::default(), BTreeSet::new());
    for object in base.objects.clone().iter() {
        let around = (&mut shown.met, &mut looked_for);
        look_for_creates(base, object, &reading, clock, around).await?;
    }
    base.link_reinserted(moment(client, clock))?;
    read_due(base, &reading, clock, &mut shown).await?;
    base.take_rows_back(Some(&shown), moment(client, clock))?;
    for object in base.objects.clone().iter() {
        let missed = base.missed(object, &shown, clock.now())?;
        if missed.is_empty() {
            continue;
        }
        let archived = reading.in_archive(object, &missed).await?;
        let found = (&shown, archived.as_slice());
        base.take_missed((object, &missed), found, moment(client, clock))?;
        // What is made anew may be there already.
        let around = (&mut shown.met, &mut looked_for);
        look_for_creates(base, object, &reading, clock, around).await?;
    }
    read_due(base, &reading, clock, &mut shown).await?;
    let mut wanted: BTreeMap<ObjectType, (Vec<HubspotId>, BTreeSet<PropertyName>)> =
        BTreeMap::new();
    base.rehearse(Some(&shown), moment(client, clock), |planned| {
        if !planned.need_history.is_empty() {
            let (ids, properties) = wanted.entry(planned.object).or_default();
            ids.extend(planned.hs_id);
            properties.extend(planned.need_history);
        }
        Ok::<_, PlanError>(())
    })?;
    for (object, (ids, properties)) in wanted {
        let properties: Vec<PropertyName> = properties.into_iter().collect();
        reading
            .read_with_histories(&object, &ids, &properties, &mut shown)
            .await?;
    }
    Ok(shown)
}

/// Reads the records of due updates and archives that were not read yet.
async fn read_due(
    base: &PlanBase<'_>,
    reading: &PlanReading<'_>,
    clock: &Arc<dyn Clock>,
    shown: &mut ShownAgain,
) -> Result<(), PlanError> {
    let mut ids: BTreeMap<ObjectType, Vec<HubspotId>> = BTreeMap::new();
    base.rehearse(None, moment(reading.client, clock), |planned| {
        if planned.is_to_be_read()
            && let Some(id) = planned.hs_id
            && shown.asked.insert((planned.object.clone(), id))
        {
            ids.entry(planned.object).or_default().push(id);
        }
        Ok::<_, PlanError>(())
    })?;
    shown.asked_at = clock.now();
    for (object, ids) in &ids {
        reading.read(object, ids, shown).await?;
    }
    Ok(())
}

/// Looks for the records of due creates. What a lost request may have made is looked for as the push does, and given to its row in the
/// copy. Of all others HubSpot is asked what it would answer to them: the records that it has already are kept by their entries.
async fn look_for_creates(
    base: &mut PlanBase<'_>,
    object: &ObjectSync,
    reading: &PlanReading<'_>,
    clock: &Arc<dyn Clock>,
    (met, looked_for): (
        &mut BTreeMap<OutboxId, RemoteRecord>,
        &mut BTreeSet<OutboxId>,
    ),
) -> Result<(), PlanError> {
    let asked_at = clock.now();
    let mut due = base.due_creates(object, asked_at)?;
    due.retain(|entry| looked_for.insert(entry.id));
    let (in_doubt, fresh): (Vec<_>, Vec<_>) = due
        .into_iter()
        .partition(|entry| entry.standing.unanswered_since.is_some());
    let looked = reading.look(base, object, &in_doubt, asked_at).await?;
    if let Some(looked) = &looked {
        let pass = Pass::at(moment(reading.client, clock), object, Origin::Poll);
        base.write(|tx| looked.take(tx, pass))?;
    }
    let meets = create::meets_of(&base.connection, object, &fresh)?;
    for (property, values) in asked_for(object, &meets) {
        let keys: Vec<String> = values.into_iter().collect();
        for keys in keys.chunks(BATCH) {
            let query = create::query_by(object, &property, keys.to_vec(), false);
            let found = reading.batch(object.object(), &query).await?;
            keep_met(object, &meets, remote_records(object, found.records), met);
        }
    }
    let ripe = fresh.iter().filter(|entry| !is_young(entry, asked_at));
    let ripe: Vec<OutboxId> = ripe.map(|entry| entry.id).collect();
    let values = searched::values_of(&base.connection, object, &ripe)?;
    let ids = searched::meant(reading.client, object, values, Priority::Interactive).await?;
    let shown = reading.present(object.object(), &ids, asked_at).await?;
    keep_met(object, &meets, shown.records, met);
    Ok(())
}

/// Keeps records by the creates that they are of; a row has one.
fn keep_met(
    object: &ObjectSync,
    meets: &[(OutboxId, LookBy)],
    found: Vec<RemoteRecord>,
    met: &mut BTreeMap<OutboxId, RemoteRecord>,
) {
    for record in found.into_iter().filter(|record| !record.archived) {
        if let Some((id, _)) = meant_by(object, meets, &record) {
            met.entry(id).or_insert(record);
        }
    }
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

impl PlanReading<'_> {
    /// What a read of some records shows.
    async fn present(
        &self,
        name: &ObjectType,
        ids: &[HubspotId],
        asked_at: Timestamp,
    ) -> Result<Present, PlanError> {
        let mut present = Present {
            asked_at,
            ..Present::default()
        };
        let Some(object) = self.object(name) else {
            return Ok(present);
        };
        for ids in ids.chunks(BATCH) {
            let found = self.batch(name, &query(&object, ids, &[])).await?;
            present
                .records
                .extend(remote_records(&object, found.records));
            present.unread.extend(found.unread);
        }
        Ok(present)
    }

    /// The records of some entries that HubSpot's archive has.
    async fn in_archive(
        &self,
        object: &ObjectSync,
        entries: &[Entry],
    ) -> Result<Vec<RemoteRecord>, PlanError> {
        let ids: Vec<HubspotId> = entries
            .iter()
            .filter_map(|entry| entry.standing.hs_id)
            .collect();
        let mut archived = Vec::new();
        for ids in ids.chunks(BATCH) {
            let query = ReadQuery {
                archived: true,
                ..query(object, ids, &[])
            };
            let found = self.batch(object.object(), &query).await?;
            archived.extend(remote_records(object, found.records));
        }
        Ok(archived)
    }

    async fn batch(&self, name: &ObjectType, query: &ReadQuery) -> Result<BatchRead, HubspotError> {
        self.client
            .batch_read(name, query, Priority::Interactive)
            .await
    }

    /// What is found of creates that are looked for by unique values of theirs; nothing where there are none.
    async fn look(
        &self,
        base: &PlanBase<'_>,
        object: &ObjectSync,
        creates: &[Entry],
        asked_at: Timestamp,
    ) -> Result<Option<LookedFor>, PlanError> {
        if creates.is_empty() {
            return Ok(None);
        }
        self.object(object.object());
        let own_app = self.client.own_app().await;
        let looks = create::looks_of(&base.connection, object, creates)?;
        let mut looked = LookedFor {
            looks,
            asked_at,
            found: Vec::new(),
            archived: Vec::new(),
            told: BTreeMap::new(),
            unread: Vec::new(),
        };
        let mut unread = Vec::new();
        for (property, values) in asked_for(object, &looked.looks) {
            let keys: Vec<String> = values.into_iter().collect();
            let asked = [property.clone()];
            for keys in keys.chunks(BATCH_WITH_HISTORY) {
                let query = ReadQuery {
                    with_history: vec![property.as_str().to_owned()],
                    ..create::query_by(object, &property, keys.to_vec(), false)
                };
                let found = self.batch(object.object(), &query).await?;
                unread.extend(found.unread);
                for record in &found.records {
                    let told = histories(object, record, &asked, own_app.as_deref());
                    looked.told.insert(record.id, told);
                }
                looked.found.extend(remote_records(object, found.records));
            }
        }
        looked.unread = left_in_doubt(object, &looked.looks, &unread, &looked.found);
        let unseen = unseen_keys(&looked.looks, &looked.found);
        looked.archived = self.archived(object, &unseen).await?;
        Ok(Some(looked))
    }

    /// What of creates in doubt lies in HubSpot's archive, by our own key.
    async fn archived(
        &self,
        object: &ObjectSync,
        keys: &[String],
    ) -> Result<Vec<RemoteRecord>, PlanError> {
        let Some(property) = &object.key_property else {
            return Ok(Vec::new());
        };
        let mut archived = Vec::new();
        for keys in keys.chunks(BATCH) {
            let query = create::query_by(object, property, keys.to_vec(), true);
            match self.batch(object.object(), &query).await {
                Ok(found) => archived.extend(remote_records(object, found.records)),
                // As the push: whether archived records can be read so is unsure.
                Err(HubspotError::Refused { .. }) => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(archived)
    }

    async fn read(
        &self,
        name: &ObjectType,
        ids: &[HubspotId],
        shown: &mut ShownAgain,
    ) -> Result<(), PlanError> {
        let Some(object) = self.object(name) else {
            return Ok(());
        };
        for ids in ids.chunks(BATCH) {
            let found = self.batch(name, &query(&object, ids, &[])).await?;
            let records = remote_records(&object, found.records).into_iter();
            let records: Vec<_> = records.map(|record| (record, None)).collect();
            keep(name, ids, (&records, &found.unread), shown);
        }
        Ok(())
    }

    async fn read_with_histories(
        &self,
        name: &ObjectType,
        ids: &[HubspotId],
        properties: &[PropertyName],
        shown: &mut ShownAgain,
    ) -> Result<(), PlanError> {
        let Some(object) = self.object(name) else {
            return Ok(());
        };
        let own_app = self.client.own_app().await;
        for ids in ids.chunks(BATCH_WITH_HISTORY) {
            let found = self.batch(name, &query(&object, ids, properties)).await?;
            let records = found.records.into_iter().map(|record| {
                let told = histories(&object, &record, properties, own_app.as_deref());
                (remote_record(&object, record), Some(told))
            });
            let records: Vec<_> = records.collect();
            keep(name, ids, (&records, &found.unread), shown);
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
fn keep(
    object: &ObjectType,
    ids: &[HubspotId],
    (records, unread): (&[(RemoteRecord, Option<Histories>)], &[String]),
    shown: &mut ShownAgain,
) {
    for id in ids {
        let of = (object.clone(), *id);
        let found = records.iter().find(|(record, _)| record.answers_to(*id));
        if let Some((record, histories)) = found {
            let again = ReadAgain {
                record: record.clone(),
                histories: histories.clone(),
            };
            shown.records.insert(of, again);
        } else if unread.contains(&id.to_string()) {
            shown.unread.insert(of);
        }
    }
}
