//! Creates: at most once, whatever crashes (promise 2).
//!
//! An attempt whose answer was lost is looked for by our own key, or by a unique value of the row, at once and again just
//! before it is repeated, 60 s after the loss: a lost request may still land. Where HubSpot keeps none of its values unique,
//! the record adopts the row by them; of a row that was deleted since, search shows the record once it is no more behind.

use std::collections::BTreeMap;
use std::time::Duration;

use rusqlite::{Connection, Transaction};

use crate::decide::acts::Act;
use crate::decide::echo::Histories;
use crate::decide::incoming::convert::{identities, match_identity};
use crate::decide::matching::{LookBefore, looked_up};
use crate::decide::outgoing::claim::{create_of, made_by_nobody, rest_unwritable, unsendable};
use crate::decide::outgoing::doubt::{self, AfterLook, RowOfCreate, Unfound};
use crate::decide::outgoing::looking::{
    LookBy, asked_for, carried, claimed, has_made, is_fresh_create, left_in_doubt, look_by,
    meant_by, meet_by, reinserted, relinked, searched_for, unseen_keys,
};
use crate::decide::outgoing::needed::{self, missing};
use crate::decide::outgoing::plan::{BATCH, BATCH_WITH_HISTORY};
use crate::decide::outgoing::present::Present;
use crate::decide::outgoing::taken::shared_words;
use crate::decide::retry::AFTER_UNREAD;
use crate::engine::acts::EntryWork;
use crate::engine::inbound::adopt::{become_record, link_made, succeed};
use crate::engine::inbound::apply::{apply_record, may_come_back};
use crate::engine::inbound::applying::Applying;
use crate::engine::outbound::along;
use crate::engine::outbound::claiming;
use crate::engine::outbound::left_out;
use crate::engine::outbound::present;
use crate::engine::outbound::searched;
use crate::engine::outbound::sending::Sending;
use crate::engine::outbound::settle::settle_batch;
use crate::engine::outbound::stages;
use crate::engine::pass::Pass;
use crate::engine::portal::objects::ObjectSync;
use crate::engine::portal::schema;
use crate::engine::source::reads::note_missing;
use crate::engine::{Engine, StepError};
use crate::hubspot::endpoints::search::values_that_fit;
use crate::hubspot::{HubspotError, Priority, ReadQuery};
use crate::model::attempt::Sent;
use crate::model::entry::{Entry, EntryState, Operation, WaitsFor};
use crate::model::id::{HubspotId, OutboxId};
use crate::model::name::PropertyName;
use crate::model::record::RemoteRecord;
use crate::model::row::MirrorRow;
use crate::model::time::Timestamp;
use crate::store::database::savepoint;
use crate::store::fields::{self, FieldRow};
use crate::store::history::Origin;
use crate::store::outbox::{self, Attempt};
use crate::store::reads::{Archived, Removal};
use crate::store::{Lane, StoreError, conflicts, reads};

/// How long a create waits for that of another row with the same value.
const AFTER_TWIN: Duration = Duration::from_secs(1);

/// How many pending archives are compared with fresh creates, so that `DELETE` and `INSERT` of one person stay one record.
const ARCHIVES_COMPARED: usize = 1_000;

/// Looks for creates in doubt, and sends the others.
pub async fn send(
    engine: &Engine,
    object: &ObjectSync,
    due: Vec<Entry>,
    priority: Priority,
) -> Result<(), StepError> {
    let object = &schema::ensure_key(engine, object).await?;
    let due = left_out::without_keyless(engine, object, due).await?;
    let due = searched::ripe(engine, object, due).await?;
    // Besides those that always are: where a backup forgot what was made since.
    let (doubtful, fresh): (Vec<_>, Vec<_>) = due.into_iter().partition(|queued| {
        is_looked_for(object, queued) || engine.may_be_done(queued.standing.enqueued_at)
    });
    let unread = look(engine, object, &doubtful, priority).await?;
    let (sync, offset) = (object.clone(), engine.client.clock_offset_ms());
    let entries = doubtful
        .into_iter()
        .chain(fresh)
        .map(|queued| queued.id)
        .filter(|id| !unread.contains(id))
        .collect::<Vec<_>>();
    searched::look(engine, object, &entries, priority).await?;
    let claimed = engine
        .store
        .write(Lane::Interactive, move |tx| {
            let pass = Pass::of(tx, &sync, Origin::Poll, offset);
            link_reinserted(tx, &pass, &entries)?;
            let left_out = fields::left_out(tx, sync.mapping())?;
            let mut claimed = Vec::with_capacity(entries.len());
            for id in &entries {
                claimed.extend(claim_alone(tx, &pass, *id, &left_out)?);
            }
            Ok(claimed)
        })
        .await?;
    let sending = Sending {
        engine,
        object,
        operation: Operation::Create,
        priority,
        ground: None,
    };
    settle_batch(sending, claimed).await.map(drop)
}

/// Whether a create's record is looked for before it is sent: one that is in doubt, and each where no first read has brought what
/// HubSpot has.
pub(crate) fn is_looked_for(object: &ObjectSync, create: &Entry) -> bool {
    create.standing.unanswered_since.is_some()
        || looked_up(object, LookBefore::BatchRead).next().is_some()
}

/// Reads the records that creates in doubt would have made, and links those that are there. Answers with the entries of
/// which HubSpot did not say whether their record is there: they wait.
async fn look(
    engine: &Engine,
    object: &ObjectSync,
    entries: &[Entry],
    priority: Priority,
) -> Result<Vec<OutboxId>, StepError> {
    if entries.is_empty() {
        return Ok(Vec::new());
    }
    let (sync, queued) = (object.clone(), entries.to_vec());
    let mut looks: Vec<(OutboxId, LookBy)> = engine
        .store
        .read(move |connection| looks_of(connection, &sync, &queued))
        .await?;
    let in_doubt = entries
        .iter()
        .any(|entry| entry.standing.unanswered_since.is_some());
    let asked_at = engine.now();
    let (mut found, mut unread) = (Vec::new(), Vec::new());
    let mut told: BTreeMap<HubspotId, Histories> = BTreeMap::new();
    for (property, values) in asked_for(object, &looks) {
        let keys: Vec<String> = values.into_iter().collect();
        let is_own_key = object.key_property.as_ref() == Some(&property);
        // Our own key says whose record it is. Of a natural one its history does: a person may have typed the same.
        for present in match is_own_key || !in_doubt {
            true => {
                let query = query_by(object, &property, keys, false);
                vec![present::read(engine, object, &query, priority).await?]
            }
            false => read_with_history(engine, object, &property, keys, priority).await?,
        } {
            unread.extend(present.unread);
            found.extend(present.records);
            told.extend(present.histories);
        }
    }
    for present in search(engine, object, entries, &mut looks, priority).await? {
        found.extend(present.records);
        told.extend(present.histories);
    }
    let unseen = unseen_keys(&looks, &found);
    let archived = read_archived(engine, object, unseen, priority).await?;
    let doubtful = left_in_doubt(object, &looks, &unread, &found);
    let looked = LookedFor {
        looks,
        asked_at,
        found,
        archived,
        told,
        unread: doubtful.clone(),
    };
    let (sync, offset) = (object.clone(), engine.client.clock_offset_ms());
    engine
        .store
        .write(Lane::Interactive, move |tx| {
            looked.take(tx, Pass::of(tx, &sync, Origin::Poll, offset))
        })
        .await?;
    Ok(doubtful)
}

/// By what creates are looked for.
pub(crate) fn looks_of(
    connection: &Connection,
    object: &ObjectSync,
    creates: &[Entry],
) -> Result<Vec<(OutboxId, LookBy)>, StoreError> {
    let mut looks = Vec::with_capacity(creates.len());
    for create in creates {
        let row = object.table.by_local_id(connection, create.local_id)?;
        looks.push((create.id, look_by(object, create, row.as_ref())));
    }
    Ok(looks)
}

/// By what HubSpot is asked whether it has the records of new rows already, the oldest row first: of two that mean one record it is
/// that one's.
pub(crate) fn meets_of(
    connection: &Connection,
    object: &ObjectSync,
    creates: &[Entry],
) -> Result<Vec<(OutboxId, LookBy)>, StoreError> {
    let mut creates: Vec<&Entry> = creates.iter().collect();
    creates.sort_by_key(|create| create.local_id);
    let mut meets = Vec::with_capacity(creates.len());
    for create in creates {
        if let Some(row) = object.table.by_local_id(connection, create.local_id)? {
            meets.push((create.id, meet_by(object, &row)));
        }
    }
    Ok(meets)
}

/// How many requests look for the records of so many creates as go at once; what is found is read besides.
pub(super) fn look_requests(
    connection: &Connection,
    object: &ObjectSync,
    creates: &[Entry],
    now: Timestamp,
) -> Result<u64, StoreError> {
    let is_searched = looked_up(object, LookBefore::Search).next().is_some();
    let ripe = creates
        .iter()
        .filter(|create| !is_searched || !searched::is_young(create, now));
    let ripe: Vec<Entry> = ripe.cloned().collect();
    let looked_for = ripe.iter().filter(|create| is_looked_for(object, create));
    let looked_for: Vec<Entry> = looked_for.cloned().collect();
    let in_doubt = looked_for
        .iter()
        .any(|create| create.standing.unanswered_since.is_some());
    let looks = looks_of(connection, object, &looked_for)?;
    let mut requests = 0;
    for (property, values) in asked_for(object, &looks) {
        let is_own_key = object.key_property.as_ref() == Some(&property);
        requests += match is_own_key || !in_doubt {
            true => 1,
            false => values.len().div_ceil(BATCH_WITH_HISTORY),
        };
        // What is not there is sought in the archive, by our own key alone.
        requests += usize::from(is_own_key);
    }
    // The key's property is made before the first create, and then looked by likewise.
    requests += 2 * usize::from(object.key_wanted && !looked_for.is_empty());
    let ripe: Vec<OutboxId> = ripe.iter().map(|create| create.id).collect();
    for (_, values) in searched::values_of(connection, object, &ripe)? {
        requests += values_that_fit(values).len();
    }
    Ok(requests as u64)
}

/// How many requests look for the records of creates that HubSpot refuses since it has them. Where it knows no key of ours, it names
/// the records.
pub(super) fn requests_of_refused(
    connection: &Connection,
    object: &ObjectSync,
    refused: &[Entry],
) -> Result<u64, StoreError> {
    if object.key_property.is_none() && !object.key_wanted {
        return Ok(refused.len().div_ceil(BATCH) as u64);
    }
    let looks = looks_of(connection, object, refused)?;
    let asked = asked_for(object, &looks).into_iter();
    let unique = asked.filter(|(property, _)| object.key_property.as_ref() != Some(property));
    let unique = unique.map(|(_, values)| values.len().div_ceil(BATCH_WITH_HISTORY));
    // By the key, and by it in the archive.
    let by_key = if refused.is_empty() { 0 } else { 2 };
    Ok((unique.sum::<usize>() + by_key) as u64)
}

/// Creates that were looked for, and what was found.
pub(crate) struct LookedFor {
    /// By what they were looked for.
    pub(crate) looks: Vec<(OutboxId, LookBy)>,
    /// When HubSpot was asked, by this machine's clock.
    pub(crate) asked_at: Timestamp,
    /// Records that were found.
    pub(crate) found: Vec<RemoteRecord>,
    /// Records that were found in the archive.
    pub(crate) archived: Vec<RemoteRecord>,
    /// Their histories, as far as they were asked for.
    pub(crate) told: BTreeMap<HubspotId, Histories>,
    /// Creates of which HubSpot did not say whether their record is there.
    pub(crate) unread: Vec<OutboxId>,
}

impl LookedFor {
    /// Gives the records to the rows that they are of, and says what becomes of the creates whose record was not found.
    pub(crate) fn take(&self, tx: &Transaction<'_>, pass: Pass<'_>) -> Result<(), StoreError> {
        let applying = Applying::from_store(pass, self.asked_at);
        let shown: Vec<&RemoteRecord> = self.found.iter().chain(&self.archived).collect();
        for (applying, record) in applying.each(&shown) {
            let told = self.told.get(&record.id);
            take_found(tx, &applying, &self.looks, record, told)?;
        }
        for record in &self.archived {
            let removal = Removal {
                id: record.id,
                archived: Archived::Shown(record.archived_at),
                origin: Origin::Poll,
            };
            note_missing(tx, &applying.pass, removal, self.asked_at)?;
        }
        for (id, by) in &self.looks {
            if self.unread.contains(id) {
                outbox::put_off_unread(tx, *id, applying.pass.now + AFTER_UNREAD)?;
            } else {
                after_look(tx, &applying.pass, *id, by)?;
            }
        }
        Ok(())
    }
}

/// Searches for what lost creates made whose values HubSpot does not keep unique. Where it does not search by a property,
/// nothing is looked for by it.
async fn search(
    engine: &Engine,
    object: &ObjectSync,
    entries: &[Entry],
    looks: &mut [(OutboxId, LookBy)],
    priority: Priority,
) -> Result<Vec<Present>, StepError> {
    let wanted = searched_for(entries, looks, engine.client.clock_offset_ms());
    let mut shown = Vec::new();
    for (property, (forms, since)) in wanted {
        match searched::made_since(engine, object, (&property, forms), since, priority).await {
            Err(StepError::Hubspot(HubspotError::Refused { .. })) => {
                for (_, by) in looks.iter_mut() {
                    by.searched.retain(|identity| identity.property != property);
                }
            }
            found => shown.extend(found?),
        }
    }
    Ok(shown)
}

/// Gives a record that a look found to the row whose lost create made it; any other goes the usual way.
fn take_found(
    tx: &Transaction<'_>,
    applying: &Applying<'_>,
    looks: &[(OutboxId, LookBy)],
    record: &RemoteRecord,
    told: Option<&Histories>,
) -> Result<(), StoreError> {
    let pass = &applying.pass;
    let object = pass.object;
    // A record that a row has already was not made by a create that is still in doubt.
    let meant = match object.table.by_hs_id(tx, record.id)? {
        None => meant_by(object, looks, record),
        Some(_) => None,
    };
    let made = match meant {
        Some((id, by)) => outbox::by_id(tx, id)?
            .filter(|create| has_made(create, by, record, told, pass.offset_ms)),
        None => None,
    };
    let Some(create) = made else {
        return apply_record(tx, applying, record, None).map(drop);
    };
    if !may_come_back(tx, applying, record)? {
        return Ok(());
    }
    link_made(tx, applying, record, &create).map(drop)
}

/// Records that the lost creates made and somebody has archived since: the rows are theirs all the same.
async fn read_archived(
    engine: &Engine,
    object: &ObjectSync,
    keys: Vec<String>,
    priority: Priority,
) -> Result<Vec<RemoteRecord>, StepError> {
    let Some(property) = object.key_property.as_ref().filter(|_| !keys.is_empty()) else {
        return Ok(Vec::new());
    };
    let query = query_by(object, property, keys, true);
    match present::read(engine, object, &query, priority).await {
        // Whether archived records can be read by a unique property is unsure (`hubspot/api-facts.md#5`).
        Err(StepError::Hubspot(HubspotError::Refused { .. })) => Ok(Vec::new()),
        found => Ok(found?.records),
    }
}

/// Asks for records by a unique value.
pub(crate) fn query_by(
    object: &ObjectSync,
    property: &PropertyName,
    values: Vec<String>,
    archived: bool,
) -> ReadQuery {
    ReadQuery {
        keys: values,
        id_property: Some(property.as_str().to_owned()),
        properties: object.properties.clone(),
        with_history: Vec::new(),
        archived,
    }
}

/// The same by a natural key, with the history of its values.
async fn read_with_history(
    engine: &Engine,
    object: &ObjectSync,
    property: &PropertyName,
    values: Vec<String>,
    priority: Priority,
) -> Result<Vec<Present>, StepError> {
    let mut parts = Vec::new();
    for keys in values.chunks(BATCH_WITH_HISTORY) {
        let query = ReadQuery {
            with_history: vec![property.as_str().to_owned()],
            ..query_by(object, property, keys.to_vec(), false)
        };
        parts.push(present::read_with_histories(engine, object, &query, priority, property).await?);
    }
    Ok(parts)
}

/// Carries out what becomes of a create that the look did not find.
fn after_look(
    tx: &Transaction<'_>,
    pass: &Pass<'_>,
    id: OutboxId,
    by: &LookBy,
) -> Result<(), StoreError> {
    let (object, now) = (pass.object, pass.now);
    let Some(queued) = outbox::by_id(tx, id)? else {
        return Ok(());
    };
    let (entry, standing) = (&queued, &queued.standing);
    let (Operation::Create, EntryState::Pending, Some(lost_at)) = (
        entry.standing.operation,
        entry.standing.state,
        standing.unanswered_since,
    ) else {
        return Ok(());
    };
    let row = match object.table.by_local_id(tx, entry.local_id)? {
        Some(_) => RowOfCreate::There,
        None if entry.row.is_some() => RowOfCreate::Deleted,
        None => RowOfCreate::Gone,
    };
    let after = doubt::after_look(&Unfound {
        look: by.look_in(),
        row,
        is_given_up: standing.discarded_at.is_some(),
        lost_at,
        now,
    });
    match after {
        AfterLook::End => {
            outbox::end(tx, id)?;
            outbox::exclude(tx, object.object(), entry.local_id)
        }
        AfterLook::Tell => {
            let explanation = doubt::words_for_a_person(row);
            outbox::park(tx, id, explanation, outbox::Answered::No)
        }
        AfterLook::WaitAnew(until) => {
            let explanation = "the clock was set back after the answer was lost";
            outbox::lose(tx, id, explanation, until, now)
        }
        AfterLook::LookAgain(at) => {
            let waits_for = Some(WaitsFor::Answer);
            outbox::retry(tx, id, at, None, waits_for, outbox::Answered::No)
        }
        AfterLook::ParkWithoutRow => claiming::park_without_row(tx, pass, id).map(drop),
        AfterLook::Repeat => {
            outbox::clear_sent(tx, id)?;
            outbox::retry(tx, id, now, None, None, outbox::Answered::Yes)
        }
    }
}

/// A row inserted again while the archive of the same person waits keeps its record: the create becomes an update of it.
pub(crate) fn link_reinserted(
    tx: &Transaction<'_>,
    pass: &Pass<'_>,
    creates: &[OutboxId],
) -> Result<(), StoreError> {
    for (create, archive) in reinserted_of(tx, pass.object, creates)? {
        let row = pass.object.table.by_local_id(tx, create.local_id)?;
        if let Some(row) = row
            && outbox::by_id(tx, archive.id)?.is_some()
        {
            relink(tx, pass, row, &create, &archive)?;
        }
    }
    Ok(())
}

/// Creates whose row is one that was deleted, each with the archive that waits of that.
pub(crate) fn reinserted_of(
    connection: &Connection,
    object: &ObjectSync,
    creates: &[OutboxId],
) -> Result<Vec<(Entry, Entry)>, StoreError> {
    let mut found = Vec::new();
    let archives = outbox::waiting_archives(connection, object.object(), ARCHIVES_COMPARED)?;
    if archives.is_empty() {
        return Ok(found);
    }
    for id in creates {
        let Some(create) = outbox::by_id(connection, *id)? else {
            continue;
        };
        let Some(row) = object.table.by_local_id(connection, create.local_id)? else {
            continue;
        };
        if let Some(archive) = reinserted(object, &row, &archives)
            && is_fresh_create(&create)
        {
            found.push((create, archive.clone()));
        }
    }
    Ok(found)
}

fn relink(
    tx: &Transaction<'_>,
    pass: &Pass<'_>,
    mut row: MirrorRow,
    create: &Entry,
    archive: &Entry,
) -> Result<(), StoreError> {
    let (object, now) = (pass.object, pass.now);
    let (Some(hs_id), Some(former)) = (archive.standing.hs_id, archive.row.as_deref()) else {
        return Ok(());
    };
    if object.table.by_hs_id(tx, hs_id)?.is_some() {
        // A record that was merged into it has given its row to it meanwhile: that row is the record now.
        return outbox::end(tx, archive.id);
    }
    row.link_former(hs_id, former);
    object.table.update(tx, &row)?;
    become_record(tx, pass, row.record.local_id, hs_id)?;
    if outbox::shown_version(tx, archive.id)?.is_some() {
        // What an answer showed while nobody had the record is nobody's yet.
        reads::ask(tx, object.object(), hs_id, Origin::Poll, now)?;
    }
    outbox::become_update(tx, create.id, hs_id, now)?;
    let open = succeed(tx, pass, archive, &row, hs_id)?;
    let work = EntryWork::of_entry(tx, object.object(), create, now);
    work.carry_out(relinked(object, &row, create, archive, &open))?;
    let left_out = fields::left_out(tx, object.mapping())?;
    for property in left_out::keep(tx, object, create, &left_out)? {
        if let Some(older) = archive.field(&property) {
            let written_at = create.standing.enqueued_at;
            outbox::put_field(tx, create.id, &property, &older.base, written_at)?;
        }
    }
    work.carry_out(vec![Act::EndIfEmpty])
}

/// Takes a create, or puts it aside where its row is its own problem.
fn claim_alone(
    tx: &Transaction<'_>,
    pass: &Pass<'_>,
    id: OutboxId,
    left_out: &[FieldRow],
) -> Result<Option<Sent>, StoreError> {
    match savepoint::within(tx, || claim_create(tx, pass, id, left_out)) {
        Err(error) if error.is_of_one_row() => {
            if let Some(queued) = outbox::by_id(tx, id)? {
                claiming::put_aside(tx, &queued, &error, pass.now)?;
            }
            Ok(None)
        }
        claimed => claimed,
    }
}

/// Takes a create: all columns that have a value and are pushed. What has a value and is left out waits on.
fn claim_create(
    tx: &Transaction<'_>,
    pass: &Pass<'_>,
    id: OutboxId,
    left_out: &[FieldRow],
) -> Result<Option<Sent>, StoreError> {
    let (object, now) = (pass.object, pass.now);
    let Some(entry) = outbox::by_id(tx, id)? else {
        return Ok(None);
    };
    if !is_fresh_create(&entry) {
        return Ok(None);
    }
    let Some(row) = object.table.by_local_id(tx, entry.local_id)? else {
        if !claiming::park_without_row(tx, pass, id)? {
            outbox::end(tx, id)?;
        }
        return Ok(None);
    };
    let gone = left_out::gone_options(tx, pass, &row)?;
    if left_out::is_placeless(pass, &gone) {
        left_out::note(tx, &entry, &gone)?;
        let work = EntryWork::of_entry(tx, object.object(), &entry, now);
        work.carry_out(vec![rest_unwritable(outbox::UNWRITABLE, false, now)])?;
        return Ok(None);
    }
    if let Some(explanation) = unfit(tx, pass, &row)? {
        outbox::park(tx, id, &explanation, outbox::Answered::Yes)?;
        return Ok(None);
    }
    for identity in identities(object, &row.record.values) {
        let (table, own) = (&object.table, row.record.local_id);
        if table.is_being_created(tx, &identity, own)? {
            outbox::put_off(tx, id, now + AFTER_TWIN)?;
            return Ok(None);
        }
    }
    let Some(along) = along::taken(tx, pass, &entry)? else {
        return Ok(None);
    };
    let held = conflicts::open_of(tx, object.object(), entry.local_id)?;
    left_out::note(tx, &entry, &gone)?;
    let mut carried = carried(object, &row, &held);
    carried.retain(|(property, _)| !gone.contains(property));
    let mut kept = left_out::keep(tx, object, &entry, left_out)?;
    kept.extend(gone);
    let work = EntryWork::of_entry(tx, object.object(), &entry, now);
    work.carry_out(claimed(&entry, &carried, &kept))?;
    let sent = create_of(object, &entry, &carried, along);
    let is_keyless = sent.input.id.is_none();
    outbox::claim(tx, &entry, Attempt::Create { is_keyless }, now)?;
    along::claim(tx, pass, &sent.along)?;
    Ok(Some(sent))
}

/// Why a row can't become a record as it stands, in a sentence.
pub(super) fn unfit(
    tx: &Transaction<'_>,
    pass: &Pass<'_>,
    row: &MirrorRow,
) -> Result<Option<String>, StoreError> {
    let object = pass.object;
    if let Some(explanation) = has_record(tx, object, row)? {
        return Ok(Some(explanation));
    }
    let unfit = made_by_nobody(object.mapping(), row)
        .or_else(|| unsendable(object.mapping(), row, |_| true))
        .or_else(|| missing(object, row));
    match unfit {
        Some(explanation) => Ok(Some(explanation)),
        None => stages::misplaced_in(tx, pass, row, needed::SentPart::New),
    }
}

/// A second row with the match value of a row that has a record already.
fn has_record(
    tx: &Transaction<'_>,
    object: &ObjectSync,
    row: &MirrorRow,
) -> Result<Option<String>, StoreError> {
    let Some(identity) = match_identity(object, &row.record.values) else {
        return Ok(None);
    };
    let holder = object.table.linked_by(tx, &identity, row.record.local_id)?;
    let shared = identity.property.as_str();
    Ok(holder.map(|holder| shared_words(object, row.record.local_id, shared, holder)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::echo::{Author, MAY_STILL_LAND, PastValue, ToldSource};
    use crate::engine::desk::{Desk, run};
    use crate::engine::testing::{How, Scene, at, property, record, synced};
    use crate::model::id::LocalId;
    use crate::model::mapping::Policy;
    use crate::model::synced::SyncedObject;
    use crate::model::value::Value;

    /// One row, whose create was lost just now.
    fn in_doubt() -> (Desk, std::sync::Arc<ObjectSync>, String) {
        let desk = Desk::new(0);
        let contacts = desk.loaded();
        let file = desk.folder.path().join("crm.db");
        let program = rusqlite::Connection::open(file).expect("opens");
        program
            .execute_batch("INSERT INTO contacts (email) VALUES ('ann@example.com')")
            .expect("inserts");
        let lost = desk.engine.now();
        let key = run(desk.engine.store().write(Lane::Bulk, move |tx| {
            tx.execute(
                "UPDATE sync_outbox SET enqueued_at = ?1, next_attempt_at = ?1, attempts = 1, unanswered_since = ?1",
                [lost.to_string()],
            )?;
            Ok(tx.query_row("SELECT key FROM sync_outbox", [], |row| row.get(0))?)
        }));
        (desk, contacts, key.expect("a create"))
    }

    /// HubSpot has no record of this key, neither among the others nor in its archive.
    fn is_missing(desk: &Desk, key: &str) {
        let missing = format!(
            r#"{{"status":"COMPLETE","results":[],"numErrors":1,"errors":[{{"category":"OBJECT_NOT_FOUND",
                "message":"Could not get some objects","context":{{"ids":["{key}"]}}}}]}}"#
        );
        for _ in 0..2 {
            desk.hubspot.answer("/batch/read", missing.clone());
        }
    }

    fn send_due(desk: &Desk, contacts: &ObjectSync) -> usize {
        let name = contacts.object().clone();
        let due = run(desk.engine.store().read(move |connection| {
            Ok(outbox::of_row(connection, &name, LocalId(1))?
                .into_iter()
                .collect())
        }));
        let sent = send(
            &desk.engine,
            contacts,
            due.expect("an entry"),
            Priority::Interactive,
        );
        run(sent).expect("a step");
        desk.hubspot.asked("/batch/upsert").len()
    }

    #[test]
    fn a_create_in_doubt_is_not_repeated_while_hubspot_could_not_read_whether_it_is_there() {
        // Neither shown nor called missing, though nothing could still land.
        let (desk, contacts, _) = in_doubt();
        desk.clock.pass(MAY_STILL_LAND + Duration::from_secs(1));
        assert_eq!(send_due(&desk, &contacts), 0);
        let (desk, contacts, key) = in_doubt();
        desk.clock.pass(MAY_STILL_LAND + Duration::from_secs(1));
        is_missing(&desk, &key);
        assert_eq!(send_due(&desk, &contacts), 1);
    }

    #[test]
    fn a_create_in_doubt_is_not_repeated_while_its_lost_request_may_still_land() {
        let (desk, contacts, key) = in_doubt();
        desk.clock.pass(Duration::from_secs(50));
        is_missing(&desk, &key);
        assert_eq!(send_due(&desk, &contacts), 0);
        desk.clock.pass(Duration::from_secs(10));
        is_missing(&desk, &key);
        assert_eq!(send_due(&desk, &contacts), 1);
    }

    #[test]
    fn what_the_look_for_creates_finds_empty_of_other_rows_is_held_as_a_whole() {
        let scene = Scene::of_adas();
        let looked = LookedFor {
            looks: Vec::new(),
            asked_at: at(10),
            found: Scene::emptied(50),
            archived: Vec::new(),
            told: BTreeMap::new(),
            unread: Vec::new(),
        };
        scene.write(|tx| looked.take(tx, scene.pass(at(10))));
        assert_eq!(scene.clear_holds(), ["local 50 firstname"]);
        let names = scene.rows("SELECT count(first_name) FROM contacts");
        assert_eq!(names, ["120"]);
    }

    #[test]
    fn a_record_that_a_refused_create_met_is_not_archived_with_its_row() {
        for (sent, left) in [
            (None, "create 1 -; email was -"),
            (
                Some("ann@example.com"),
                "archive 1 101; email was ann@example.com",
            ),
        ] {
            let scene = Scene::of(Policy::Newest);
            scene.program("INSERT INTO contacts (email) VALUES ('ann@example.com')");
            let sent = sent.map_or("NULL".to_owned(), |sent| format!("'{sent}'"));
            scene.daemon(&format!(
                "UPDATE sync_outbox SET attempts = 1, unanswered_since = '{0}';
                 INSERT INTO sync_outbox_fields (outbox_id, property, base_known, changed_at, sent_value)
                 SELECT id, 'email', 1, '{0}', {sent} FROM sync_outbox",
                at(0)
            ));
            scene.program("DELETE FROM contacts");
            let found = RemoteRecord {
                created_at: at(1),
                ..record(101, 1, &[("email", "ann@example.com")])
            };
            scene.write(|tx| {
                let create = outbox::of_row(tx, scene.object.object(), LocalId(1))?;
                let create = create.expect("it may have arrived");
                let looks = [(create.id, look_by(&scene.object, &create, None))];
                take_found(tx, &scene.applying(How::at(10)), &looks, &found, None)
            });
            assert_eq!(scene.outbox(), [left]);
        }
    }

    /// A row of an object that has neither a key nor a unique value, deleted while its create is in doubt since 0.
    fn deleted_in_doubt(values: &str) -> Scene {
        let mut scene = Scene::of(Policy::Newest);
        scene.object = ObjectSync::new(SyncedObject::of(scene.object.mapping().clone()));
        scene.program(&format!(
            "INSERT INTO contacts (email, first_name) VALUES ({values})"
        ));
        scene.daemon(&format!(
            "UPDATE sync_outbox SET attempts = 1, unanswered_since = '{0}';
             INSERT INTO sync_outbox_fields (outbox_id, property, base_known, changed_at, sent_value)
             SELECT id, column1, 1, '{0}', column2
             FROM sync_outbox, (VALUES ('email', (SELECT email FROM contacts)), ('firstname', 'Ours'))
             WHERE column2 IS NOT NULL",
            at(0)
        ));
        scene.program("DELETE FROM contacts");
        scene
    }

    fn looked(scene: &Scene, second: i64, found: Option<&RemoteRecord>) -> Vec<String> {
        scene.write(|tx| {
            let create = outbox::of_row(tx, scene.object.object(), LocalId(1))?;
            let create = create.expect("it may have arrived");
            let by = look_by(&scene.object, &create, None);
            let looks = [(create.id, by)];
            if let Some(record) = found {
                take_found(tx, &scene.applying(How::at(second)), &looks, record, None)?;
            }
            after_look(tx, &scene.pass(at(second)), create.id, &looks[0].1)
        });
        scene.rows("SELECT operation, state, next_attempt_at FROM sync_outbox")
    }

    #[test]
    fn a_row_deleted_while_its_create_was_in_doubt_is_looked_for_by_values_that_are_not_unique() {
        let ann = "'ann@example.com', 'Ours'";
        let at_90 = [format!("create pending {}", at(90))];
        for discarded in ["", "DELETE FROM sync_outbox"] {
            let scene = deleted_in_doubt(ann);
            scene.program(discarded);
            // As long as its request may land, and search does not show it.
            assert_eq!(looked(&scene, 1, None), at_90);
            assert_eq!(looked(&scene, 89, None), at_90);
            assert_eq!(looked(&scene, 90, None), Vec::<String>::new());
            let made = RemoteRecord {
                created_at: at(-2),
                ..record(
                    101,
                    1,
                    &[("email", "ann@example.com"), ("firstname", "Ours")],
                )
            };
            let scene = deleted_in_doubt(ann);
            scene.program(discarded);
            let archive = format!("archive pending {}", at(90));
            assert_eq!(looked(&scene, 90, Some(&made)), [archive]);
            // Somebody's, of long before.
            let older = RemoteRecord {
                created_at: at(-200),
                ..made
            };
            let scene = deleted_in_doubt(ann);
            scene.program(discarded);
            assert_eq!(looked(&scene, 1, Some(&older)), at_90);
        }
    }

    #[test]
    fn a_deleted_row_of_which_no_value_can_be_asked_for_is_told_so_and_ends_with_its_discarding() {
        let scene = deleted_in_doubt("NULL, 'Ours'");
        assert_eq!(looked(&scene, 1, None).len(), 1);
        let explanation = scene.rows("SELECT state || ': ' || last_error FROM sync_outbox");
        assert!(
            explanation[0]
                .starts_with("dead: the answer to this create was lost, its row was deleted, and"),
            "{explanation:?}"
        );
        assert!(explanation[0].ends_with("archive it, then discard this entry [create-in-doubt]"));
        scene.program("DELETE FROM sync_outbox");
        let given_up = scene.write(|tx| outbox::discarded(tx, 1));
        assert_eq!(given_up.len(), 1);
    }

    #[test]
    fn a_record_that_a_person_made_while_a_create_was_lost_is_no_push() {
        for (author, expected) in [
            (Author::Us, vec!["* - ann@example.com Ours"]),
            (Author::SomeApp, vec!["* - ann@example.com Ours"]),
            (Author::Other, vec![]),
        ] {
            let scene = Scene::of(Policy::Newest);
            scene.program(
                "INSERT INTO contacts (email, first_name) VALUES ('ann@example.com', 'Ours')",
            );
            scene.daemon(&format!(
                "UPDATE sync_outbox SET attempts = 1, unanswered_since = '{0}';
                 INSERT INTO sync_outbox_fields (outbox_id, property, base_known, changed_at, sent_value)
                 SELECT id, column1, 1, '{0}', column2
                 FROM sync_outbox, (VALUES ('email', 'ann@example.com'), ('firstname', 'Ours'))",
                at(0)
            ));
            let found = RemoteRecord {
                created_at: at(1),
                ..record(
                    101,
                    1,
                    &[("email", "ann@example.com"), ("firstname", "Ours")],
                )
            };
            let past = |value: &str, second, author| PastValue {
                value: Value::from_canonical(value),
                at: at(second),
                author,
                source: ToldSource::default(),
            };
            let past = vec![
                past("ann@example.com", 2, Author::Us),
                past("a@example.com", 1, author),
            ];
            let told = Histories::from([(property("email"), past)]);
            scene.write(|tx| {
                let create = outbox::of_row(tx, scene.object.object(), LocalId(1))?;
                let create = create.expect("it may have arrived");
                let looks = [(create.id, look_by(&scene.object, &create, None))];
                take_found(
                    tx,
                    &scene.applying(How::at(10)),
                    &looks,
                    &found,
                    Some(&told),
                )
            });
            assert_eq!(scene.rows("SELECT hs_id FROM contacts"), ["101"]);
            let pushed =
                "SELECT property, old_value, new_value ->> 'email', new_value ->> 'first_name'
                          FROM sync_history WHERE origin = 'push'";
            assert_eq!(scene.rows(pushed), expected, "{author:?}");
            assert_eq!(scene.outbox(), Vec::<String>::new());
        }
    }

    fn claimed(scene: &Scene, row: i64) -> bool {
        let sent = scene.write(|tx| {
            let create = outbox::of_row(tx, scene.object.object(), LocalId(row))?;
            claim_create(tx, &scene.pass(at(10)), create.expect("waits").id, &[])
        });
        sent.is_some()
    }

    const ANN: &str = "INSERT INTO contacts (email) VALUES ('ann@example.com')";

    #[test]
    fn of_one_person_no_second_record_is_made() {
        let scene = Scene::of(Policy::Newest);
        scene.apply(How::at(0), &record(101, 0, &[("email", "ann@example.com")]));
        scene.program(ANN);
        assert!(!claimed(&scene, 2));
        assert_eq!(scene.rows("SELECT state FROM sync_outbox"), ["dead"]);
        // Two new rows: the second waits for what becomes of the first.
        let scene = Scene::of(Policy::Newest);
        scene.program(&format!("{ANN}; {ANN}"));
        assert!(claimed(&scene, 1));
        assert!(!claimed(&scene, 2));
        assert_eq!(
            scene.rows("SELECT state FROM sync_outbox ORDER BY id"),
            ["in_flight", "pending"]
        );
    }

    /// A push looks at row 2, which was inserted again.
    fn inserted_again(scene: &Scene) {
        scene.write(|tx| {
            let create = outbox::of_row(tx, scene.object.object(), LocalId(2))?;
            let create = create.expect("a create").id;
            link_reinserted(tx, &scene.pass(at(10)), &[create])
        });
    }

    #[test]
    fn an_association_of_a_row_that_is_inserted_again_goes_out_by_the_record_that_it_keeps() {
        let scene = Scene::of(Policy::Newest);
        let made = record(101, 0, &[("email", "ann@example.com")]);
        scene.apply(How::at(0), &made);
        scene.program(&format!("DELETE FROM contacts; {ANN}"));
        scene.daemon(&format!(
            "INSERT INTO sync_outbox (object, local_id, operation, enqueued_at, waits_for, to_object, to_local_id, category, type_id)
             VALUES ('contacts', 2, 'associate', '{}', 'create', 'companies', 9, 'HUBSPOT_DEFINED', 279)",
            at(5)
        ));
        inserted_again(&scene);
        assert_eq!(
            scene.rows("SELECT hs_id, waits_for, next_attempt_at FROM sync_outbox"),
            [format!("101 - {}", at(10))]
        );
    }

    #[test]
    fn a_row_that_is_inserted_again_keeps_the_record_whose_archive_waits() {
        let scene = Scene::of(Policy::Newest);
        let made = RemoteRecord {
            created_at: at(-5),
            ..record(101, 0, &[("email", "ann@example.com")])
        };
        scene.apply(How::at(0), &made);
        scene.program(&format!("DELETE FROM contacts; {ANN}"));
        inserted_again(&scene);
        assert_eq!(
            scene.rows("SELECT local_id, hs_id, hs_created_at FROM contacts"),
            [format!("2 101 {}", at(-5))]
        );
        assert_eq!(scene.outbox(), Vec::<String>::new());
    }

    #[test]
    fn what_was_shown_of_a_record_while_nobody_had_it_is_asked_for_when_somebody_does() {
        let scene = Scene::of(Policy::Newest);
        let of_ann = |second, name: &str| {
            record(
                101,
                second,
                &[("email", "ann@example.com"), ("firstname", name)],
            )
        };
        scene.apply(How::at(0), &of_ann(0, "Ann"));
        scene.program("DELETE FROM contacts");
        scene.apply(How::at(3), &of_ann(2, "Anna"));
        scene.program("INSERT INTO contacts (email, first_name) VALUES ('ann@example.com', 'Ann')");
        inserted_again(&scene);
        assert_eq!(scene.outbox(), Vec::<String>::new());
        assert_eq!(scene.rows("SELECT hs_id FROM _sync_reads"), ["101"]);
    }

    /// The scene's contacts as a step sees them while HubSpot has no `firstname`.
    fn without_first_name(scene: &mut Scene) {
        let mut mapping = scene.object.mapping().clone();
        mapping
            .fields
            .retain(|field| field.property.as_str() != "firstname");
        scene.object = synced(mapping);
        scene.daemon("UPDATE sync_fields SET state = 'degraded', problem = 'gone' WHERE property = 'firstname'");
    }

    #[test]
    fn a_create_goes_without_what_is_left_out_of_requests_and_that_waits_as_an_update() {
        let mut scene = Scene::of(Policy::Newest);
        scene.program("INSERT INTO contacts (email, first_name) VALUES ('ann@example.com', 'Ours'), ('bob@example.com', ''),
                           ('cy@example.com', NULL);
                       UPDATE contacts SET first_name = 'Cy' WHERE local_id = 3;
                       UPDATE contacts SET first_name = 'Bob' WHERE local_id = 2;
                       UPDATE contacts SET first_name = NULL WHERE local_id = 2");
        without_first_name(&mut scene);
        scene.write(|tx| {
            let left_out = fields::left_out(tx, scene.object.mapping())?;
            for row in [1, 2, 3] {
                let create =
                    outbox::of_row(tx, scene.object.object(), LocalId(row))?.expect("waits");
                let sent = claim_create(tx, &scene.pass(at(10)), create.id, &left_out)?;
                let sent = sent.expect("is sent").input.properties;
                assert_eq!(
                    sent.iter()
                        .map(|(name, _)| name.as_str())
                        .collect::<Vec<_>>(),
                    ["email"]
                );
            }
            Ok(())
        });
        assert_eq!(
            scene.outbox(),
            [
                "create 1 -; email was -; firstname was ?",
                "create 2 -; email was -",
                "create 3 -; email was -; firstname was ?"
            ]
        );
    }

    #[test]
    fn a_create_leaves_out_what_waits_for_a_decision_and_what_was_emptied() {
        let scene = Scene::of(Policy::Manual);
        scene.program(
            "INSERT INTO contacts (email, first_name, price) VALUES ('ann@example.com', 'Ours', '1');
             UPDATE contacts SET price = NULL, interests = 'a'",
        );
        assert_eq!(scene.outbox(), ["create 1 -; interests was ?; price was ?"]);
        scene.daemon(
            "INSERT INTO sync_conflicts (object, local_id, property, base_value, local_value, remote_value, policy, detected_at)
             VALUES ('contacts', 1, 'firstname', 'Base', 'Ours', 'Theirs', 'manual', '2026-11-24T03:10:00.000Z')",
        );
        let sent = scene.write(|tx| {
            let create = outbox::of_row(tx, scene.object.object(), LocalId(1))?;
            claim_create(tx, &scene.pass(at(10)), create.expect("waits").id, &[])
        });
        let properties = sent.expect("is sent").input.properties;
        assert_eq!(
            properties,
            [("email", "ann@example.com"), ("interests", "a")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
        );
        assert_eq!(
            scene.rows("SELECT property FROM sync_outbox_fields ORDER BY property"),
            ["email", "interests"]
        );
    }
}
