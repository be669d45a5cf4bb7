//! Sends a claimed batch of records (`sending/batches`) and settles its answer: one transaction for all entries that the answer names.
//!
//! An answer that never came is never taken for a refusal.

use std::time::Duration;

use rusqlite::Transaction;

use crate::decide::acts::{Act, back_and_uncounted};
use crate::decide::adopt::{Existing, ExistingOutcome, FormerArchive, Met, settle_existing};
use crate::decide::incoming::convert::remote_record;
use crate::decide::outgoing::acknowledge::{
    AFTER_REWRITE, acknowledged, acknowledged_without_row, answered_with_anothers, exists,
    given_up_existing, lost, parked_bare, parked_in_doubt, refused, refused_before, sent_back,
    version_by_answer,
};
use crate::decide::outgoing::associate::left_in_flight;
use crate::decide::outgoing::batch::{NamedRefusal, met, settlements};
use crate::decide::outgoing::gap::Push;
use crate::decide::outgoing::refusal::{OF_PROPERTIES, coded};
use crate::decide::outgoing::settle::{
    BatchFate, FailedOutcome, Failure, Refusal, Settlement, contradicted, settle_failed,
};
use crate::decide::outgoing::taken::shared_words;
use crate::decide::record::CleanBase;
use crate::engine::acts::EntryWork;
use crate::engine::inbound::adopt::{self, Claimant, become_record};
use crate::engine::inbound::apply::apply_record;
use crate::engine::inbound::applying::{Applying, behind};
use crate::engine::inbound::clearing;
use crate::engine::inbound::existence::note_made;
use crate::engine::inbound::went::{MadeRecord, row_went};
use crate::engine::outbound::along;
use crate::engine::outbound::gap;
use crate::engine::outbound::guarded::archive_key;
use crate::engine::outbound::pushed::note_archived;
use crate::engine::outbound::sending::batches::{Batches, FailedBatch, send_all};
use crate::engine::outbound::sending::{Correlated, Sending};
use crate::engine::outbound::taken;
use crate::engine::pass::Pass;
use crate::engine::portal::contradictions;
use crate::engine::portal::objects::ObjectSync;
use crate::engine::{Engine, StepError};
use crate::hubspot::{BatchWrite, HubspotError, InputError, Priority, WriteInput};
use crate::model::attempt::{Late, Sent};
use crate::model::entry::{Entry, EntryState, Operation, code_in};
use crate::model::id::{HubspotId, LocalId, OutboxId};
use crate::model::name::ObjectType;
use crate::model::record::RemoteRecord;
use crate::model::time::Timestamp;
use crate::store::database::savepoint;
use crate::store::history::Origin;
use crate::store::outbox::{self, links};
use crate::store::runs::{self, Kind};
use crate::store::{Lane, StoreError, conflicts, fields, gaps, holds, reads, unreadable};

/// Sends a batch and settles it. What rests on a read that is too old by then is answered with.
pub(crate) async fn settle_batch(
    sending: Sending<'_>,
    claimed: Vec<Sent>,
) -> Result<Vec<Late>, StepError> {
    send_all(&sending, claimed).await
}

impl Batches for Sending<'_> {
    type Claimed = Sent;
    type Answer = BatchAnswer;

    fn engine(&self) -> &Engine {
        self.engine
    }

    fn entry(claimed: &Sent) -> OutboxId {
        claimed.entry
    }

    fn attempts(claimed: &Sent) -> u32 {
        claimed.attempts
    }

    /// One call takes associations along and the other knows records by their keys: they go one after the other.
    fn parts(claimed: Vec<Sent>) -> Vec<Vec<Sent>> {
        let (bare, linked) = claimed.into_iter().partition(|sent| sent.along.is_empty());
        vec![linked, bare]
    }

    async fn send(&self, batch: &[Sent]) -> Result<BatchAnswer, HubspotError> {
        send(*self, batch).await
    }

    async fn answered(
        &self,
        batch: Vec<Sent>,
        answer: BatchAnswer,
        asked_at: Timestamp,
    ) -> Result<(), StepError> {
        let push = self.ground.map(|ground| Push {
            records: batch.len(),
            age: ground.reread.age(),
            has_webhooks: self.engine.settings().relaxed_poll.is_some(),
        });
        match answer {
            BatchAnswer::Each(answer) => settle_answer(*self, &batch, answer, asked_at, push).await,
            BatchAnswer::Archived => archived(*self, batch, push).await,
        }
    }

    async fn unclaim(&self, batch: Vec<Sent>) -> Result<(), StoreError> {
        match self.ground {
            Some(ground) => unclaim(*self, ground.claimed_at, batch).await,
            None => Ok(()),
        }
    }

    async fn failed(
        &self,
        batch: Vec<Sent>,
        failed: FailedBatch,
        error: &HubspotError,
    ) -> Result<(), StepError> {
        settle_failed_batch(*self, &batch, failed, error).await
    }
}

/// Takes the claims of entries back, those of archives also from what the guard has counted.
pub(super) async fn unclaim(
    sending: Sending<'_>,
    claimed_at: Timestamp,
    batch: Vec<Sent>,
) -> Result<(), StoreError> {
    let sync = sending.object.clone();
    sending
        .engine
        .store
        .write(Lane::Interactive, move |tx| {
            let mut counted = 0;
            for sent in &batch {
                outbox::unclaim(tx, sent.entry, claimed_at)?;
                if let Some(archive) = &sent.archive {
                    gaps::forget_archive(tx, sync.object(), archive.hs_id)?;
                    counted += u64::from(!archive.approved);
                }
            }
            match counted {
                0 => Ok(()),
                _ => holds::uncount(tx, archive_key(sync.object()), counted, tx.now()),
            }
        })
        .await
}

/// What HubSpot said to a batch.
pub(super) enum BatchAnswer {
    /// Something of each input.
    Each(BatchWrite),
    /// That all of its records are archived.
    Archived,
}

async fn send(sending: Sending<'_>, batch: &[Sent]) -> Result<BatchAnswer, HubspotError> {
    let (client, name) = (&sending.engine.client, sending.object.object());
    let priority = sending.priority;
    let reread = sending.ground.map(|ground| &ground.reread);
    let mut inputs: Vec<WriteInput> = batch.iter().map(|sent| sent.input.clone()).collect();
    let written = match (sending.operation, &sending.object.key_property) {
        // An upsert takes no associations. Our key stands among the properties, so that HubSpot refuses a second record of it.
        (Operation::Create, Some(_)) if batch.iter().any(|sent| !sent.along.is_empty()) => {
            for input in &mut inputs {
                input.id = None;
            }
            client.batch_create(name, &inputs, priority).await
        }
        (Operation::Create, Some(key)) => {
            let key = key.as_str();
            client.batch_upsert(name, &inputs, key, priority).await
        }
        (Operation::Create, None) => client.batch_create(name, &inputs, priority).await,
        (Operation::Archive, _) => {
            let archives = batch.iter().filter_map(|sent| sent.archive.as_ref());
            let ids: Vec<HubspotId> = archives.map(|archive| archive.hs_id).collect();
            client.batch_archive(name, &ids, priority, reread).await?;
            return Ok(BatchAnswer::Archived);
        }
        (Operation::Update | Operation::Associate | Operation::Disassociate, _) => {
            client.batch_update(name, &inputs, priority, reread).await
        }
    };
    written.map(BatchAnswer::Each)
}

/// One transaction in which the answer to a question of `asked_at` is settled. What it shows beside what was sent is HubSpot's:
/// only `decide/acts::pushed` tells of a push.
async fn in_one(
    sending: Sending<'_>,
    asked_at: Timestamp,
    answered: Correlated,
    settle: impl FnOnce(&Transaction<'_>, &Applying<'_>) -> Result<(), StoreError> + Send + 'static,
) -> Result<(), StepError> {
    let engine = sending.engine;
    let (sync, offset) = (sending.object.clone(), engine.client.clock_offset_ms());
    engine
        .store
        .write(Lane::Interactive, move |tx| {
            let pass = Pass::of(tx, &sync, Origin::Poll, offset);
            answered.note(tx)?;
            settle(tx, &Applying::from_store(pass, asked_at))
        })
        .await?;
    Ok(())
}

async fn settle_answer(
    sending: Sending<'_>,
    batch: &[Sent],
    answer: BatchWrite,
    asked_at: Timestamp,
    push: Option<Push>,
) -> Result<(), StepError> {
    let Sending {
        engine,
        object,
        operation,
        ..
    } = sending;
    let answered = Correlated::just_now(engine, batch.iter().map(|sent| sent.entry));
    let results = answer.results.into_iter();
    let results: Vec<(Option<String>, RemoteRecord)> = results
        .map(|mut record| (record.trace_id.take(), remote_record(object, record)))
        .collect();
    let refusals: Vec<NamedRefusal> = answer.errors.into_iter().map(refusal).collect();
    let contradicted = refusals
        .iter()
        .filter_map(|named| contradicted(&named.refusal.explanation))
        .collect();
    let settled = settlements(object, operation, batch, &results, &refusals);
    let adopted = read_existing(engine, object, &met(&settled)).await?;
    let along = along::read(engine, object, &settled, sending.priority).await;
    let waits: Vec<Duration> = settled
        .iter()
        .map(|(sent, _)| engine.backoff(sent.attempts))
        .collect();
    let settle = move |tx: &Transaction<'_>, applying: &Applying<'_>| {
        let _run = runs::begin_job(tx, applying.pass.name(), Kind::Push)?;
        let settling = SettledBatch {
            settled: &settled,
            adopted: &adopted,
            waits: &waits,
            push,
        };
        let acknowledged = settling.settle(tx, applying, |tx, sent| {
            along::settle(tx, &applying.pass, sent, &along)
        })?;
        note_run(tx, &applying.pass, settled.len(), acknowledged)
    };
    in_one(sending, asked_at, answered, settle).await?;
    contradictions::after_refusals(engine, object, contradicted).await
}

fn refusal(error: InputError) -> NamedRefusal {
    NamedRefusal {
        trace_ids: error.trace_ids,
        ids: error.ids,
        refusal: Refusal {
            explanation: coded(error.message.as_str(), &error.category, &error.codes),
            category: error.category,
            existing: error.existing_id,
        },
    }
}

/// Reads the records that creates met, so that their rows can be linked to what HubSpot has.
async fn read_existing(
    engine: &Engine,
    object: &ObjectSync,
    ids: &[HubspotId],
) -> Result<Vec<RemoteRecord>, StepError> {
    match crate::engine::outbound::present::read_records(engine, object, ids, Priority::Webhook)
        .await
    {
        Ok(present) => Ok(present.records),
        // The creates are settled all the same: they are looked for again.
        Err(StepError::Hubspot(_)) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// What an entry is settled with.
struct Settling<'a> {
    applying: &'a Applying<'a>,
    /// Records that creates met, as HubSpot shows them.
    adopted: &'a [RemoteRecord],
    /// When an entry is due that is tried again.
    next: Timestamp,
}

/// A batch that was answered, and what its inputs are settled with.
struct SettledBatch<'a> {
    settled: &'a [(Sent, Settlement)],
    /// Records that creates met, as HubSpot shows them.
    adopted: &'a [RemoteRecord],
    /// How long each waits that is tried again.
    waits: &'a [Duration],
    push: Option<Push>,
}

impl SettledBatch<'_> {
    /// Settles each for itself, `after` behind it. Tells how many were acknowledged.
    fn settle(
        &self,
        tx: &Transaction<'_>,
        applying: &Applying<'_>,
        after: impl Fn(&Transaction<'_>, &Sent) -> Result<(), StoreError>,
    ) -> Result<usize, StoreError> {
        let (name, now) = (applying.pass.name(), applying.pass.now);
        let shown = self.settled.iter();
        let shown = shown.filter_map(|(_, settlement)| shown_by(settlement, self.adopted));
        let shown: Vec<&RemoteRecord> = shown.collect();
        let mut later = shown.as_slice();
        let mut acknowledged = 0;
        for ((sent, settlement), wait) in self.settled.iter().zip(self.waits) {
            acknowledged += usize::from(matches!(settlement, Settlement::Acknowledge(_)));
            later = behind(
                later,
                shown_by(settlement, self.adopted).map(|record| record.id),
            );
            let settling = Settling {
                applying: &Applying { later, ..*applying },
                adopted: self.adopted,
                next: now + *wait,
            };
            let settled = savepoint::within(tx, || {
                if let (Settlement::Acknowledge(record), Some(push)) = (settlement, self.push) {
                    gap::note(tx, applying, sent, record, push)?;
                }
                settle_one(tx, &settling, sent, settlement)
            });
            match settled {
                Err(error) if error.is_of_one_row() => {
                    let explanation = format!(
                        "HubSpot's answer does not fit into the table: {error} [answer-unfit]"
                    );
                    if let Some(queued) = outbox::by_id(tx, sent.entry)? {
                        let work = EntryWork::of_entry(tx, name, &queued, now);
                        work.carry_out(parked_in_doubt(&queued, &explanation, now))?;
                    }
                }
                settled => settled?,
            }
            after(tx, sent)?;
        }
        Ok(acknowledged)
    }
}

/// The record that an answer shows of an entry's row: the guard judges together what a batch's answers empty here.
fn shown_by<'a>(
    settlement: &'a Settlement,
    adopted: &'a [RemoteRecord],
) -> Option<&'a RemoteRecord> {
    match settlement {
        Settlement::Acknowledge(record) => Some(record),
        Settlement::Adopt(id) => adopted.iter().find(|record| record.answers_to(*id)),
        Settlement::LookForMatch(_)
        | Settlement::Taken(_)
        | Settlement::Reread(_)
        | Settlement::MissesOther(_)
        | Settlement::Retry(_)
        | Settlement::Lost(_)
        | Settlement::Dead(_) => None,
    }
}

fn settle_one(
    tx: &Transaction<'_>,
    settling: &Settling<'_>,
    sent: &Sent,
    settlement: &Settlement,
) -> Result<(), StoreError> {
    // Settling an entry that is gone, or that somebody settled already, is not an error.
    let Some(entry) = outbox::by_id(tx, sent.entry)? else {
        return Ok(());
    };
    if entry.standing.state != EntryState::InFlight {
        return Ok(());
    }
    settle_entry(tx, settling, &entry, settlement)
}

fn settle_entry(
    tx: &Transaction<'_>,
    settling: &Settling<'_>,
    entry: &Entry,
    settlement: &Settlement,
) -> Result<(), StoreError> {
    let (applying, next) = (settling.applying, settling.next);
    let pass = &applying.pass;
    let object = pass.object;
    if let Settlement::LookForMatch(_) | Settlement::Taken(_) = settlement
        && settle_taken(tx, pass, entry)?
    {
        return Ok(());
    }
    if let Some(acts) = sent_back(entry, settlement, next, pass.now) {
        return EntryWork::of_entry(tx, object.object(), entry, pass.now).carry_out(acts);
    }
    match settlement {
        Settlement::Acknowledge(record) => acknowledge(tx, applying, entry, record),
        Settlement::Adopt(id) => adopt_existing(tx, settling, entry, *id),
        Settlement::LookForMatch(explanation)
        | Settlement::Taken(explanation)
        | Settlement::MissesOther(explanation)
        | Settlement::Dead(explanation)
        | Settlement::Reread(explanation)
        | Settlement::Retry(explanation)
        | Settlement::Lost(explanation) => refuse(tx, pass, entry, explanation),
    }
}

/// A refusal of a value that another record has, where our own rows say more about it.
fn settle_taken(tx: &Transaction<'_>, pass: &Pass<'_>, entry: &Entry) -> Result<bool, StoreError> {
    if entry.row.is_some() || !taken::settle(tx, pass, entry)? {
        return Ok(false);
    }
    outbox::clear_sent(tx, entry.id)?;
    Ok(true)
}

/// A definite refusal: nothing of the attempt happened. One that came after the settings had changed which it is about is tried
/// again under those that are in force.
fn refuse(
    tx: &Transaction<'_>,
    pass: &Pass<'_>,
    entry: &Entry,
    explanation: &str,
) -> Result<(), StoreError> {
    if entry.row.is_none() && is_outdated(tx, pass, entry, explanation)? {
        let work = EntryWork::of_entry(tx, pass.name(), entry, pass.now);
        return work.carry_out(refused_before(explanation, pass.now));
    }
    tracing::warn!(object = %pass.name(), local_id = %entry.local_id, operation = entry.standing.operation.as_str(), attempts = entry.standing.attempts, code = code_in(explanation), "HubSpot refused a record; see sync_outbox.last_error");
    EntryWork::of_entry(tx, pass.name(), entry, pass.now).carry_out(refused(entry, explanation))
}

/// Whether a refusal is about settings that are no longer in force: they have changed since the request was claimed, or it was made
/// by a mapping that did not know of the change yet.
fn is_outdated(
    tx: &Transaction<'_>,
    pass: &Pass<'_>,
    entry: &Entry,
    explanation: &str,
) -> Result<bool, StoreError> {
    let Some(code) = code_in(explanation) else {
        return Ok(false);
    };
    if OF_PROPERTIES.contains(&code) && fields::has_lost_fields(tx, pass.object.mapping())? {
        return Ok(true);
    }
    match entry.standing.unanswered_since {
        Some(asked_at) => outbox::is_outdated_refusal(tx, pass.name(), code, asked_at),
        None => Ok(false),
    }
}

/// Done on both sides: HubSpot's values become the base of what was sent.
fn acknowledge(
    tx: &Transaction<'_>,
    applying: &Applying<'_>,
    entry: &Entry,
    record: &RemoteRecord,
) -> Result<(), StoreError> {
    let pass = &applying.pass;
    let (object, now) = (pass.object, pass.now);
    let work = EntryWork::of_entry(tx, object.object(), entry, now);
    let is_create = entry.standing.operation == Operation::Create;
    if is_create
        && let Some(other) = object.table.by_hs_id(tx, record.id)?
        && other.record.local_id != entry.local_id
    {
        let explanation = answered_with_anothers(object, entry, record.id, other.record.local_id);
        return work.carry_out(parked_bare(explanation));
    }
    let Some(mut row) = object.table.by_local_id(tx, entry.local_id)? else {
        return deleted_meanwhile(tx, pass, entry, record);
    };
    if is_create {
        row.link(record);
        ask_whether_it_left(tx, pass, record.id)?;
        become_record(tx, pass, entry.local_id, record.id)?;
        note_made(tx, &pass.saying(Origin::Push), entry.local_id, record)?;
    }
    let held = conflicts::open_of(tx, object.object(), entry.local_id)?;
    let acts = acknowledged(object.mapping(), entry, &row, record, &held);
    let acts = clearing::kept_of_answer(tx, applying, &row, acts)?;
    let work = EntryWork {
        hs_id: row.record.hs_id,
        ..work
    };
    work.carry_out_on(object.mapping(), &mut row, acts)?;
    unreadable::note(tx, object.object(), record, now)?;
    row.record.modified_at = version_by_answer(row.record.modified_at, record);
    object.table.update(tx, &row)?;
    if outbox::fields(tx, entry.id)?.is_empty() {
        outbox::end(tx, entry.id)
    } else {
        // Whoever rewrites a row all the time does not get a push for each write.
        outbox::become_update(tx, entry.id, record.id, now + AFTER_REWRITE)
    }
}

/// Somebody archived or erased the record before the answer that tells of it came, when nobody here knew it: a read tells, and an erasure
/// takes the row along.
fn ask_whether_it_left(
    tx: &Transaction<'_>,
    pass: &Pass<'_>,
    made: HubspotId,
) -> Result<(), StoreError> {
    let (object, now) = (pass.name(), pass.now);
    let is_erased = reads::is_to_be_erased(tx, object, made)?;
    if is_erased {
        reads::note_erasure(tx, object, made, now)?;
    }
    if is_erased || reads::buried_at(tx, object, made)?.is_some() {
        reads::ask(tx, object, made, Origin::Poll, now)?;
    }
    Ok(())
}

/// The row went while its push was in flight: what was sent is written down, whatever becomes of the record.
fn deleted_meanwhile(
    tx: &Transaction<'_>,
    pass: &Pass<'_>,
    entry: &Entry,
    record: &RemoteRecord,
) -> Result<(), StoreError> {
    let object = pass.name();
    let work = EntryWork::of_entry(tx, object, entry, pass.now).of_record(record.id);
    work.carry_out(acknowledged_without_row(entry, record))?;
    if entry.standing.operation == Operation::Create {
        note_made(tx, &pass.saying(Origin::Push), entry.local_id, record)?;
    }
    row_went(tx, pass, entry, record, MadeRecord::Answered)
}

/// "Already exists" adopts: the row takes the record's id, and the fields go through the merge.
fn adopt_existing(
    tx: &Transaction<'_>,
    settling: &Settling<'_>,
    entry: &Entry,
    id: HubspotId,
) -> Result<(), StoreError> {
    let (applying, next) = (settling.applying, settling.next);
    let object = applying.pass.object;
    let work = EntryWork::of_entry(tx, object.object(), entry, applying.pass.now);
    let found = settling.adopted.iter().find(|record| record.answers_to(id));
    let holder = object
        .table
        .by_hs_id(tx, found.map_or(id, |record| record.id))?;
    let holder = holder
        .map(|holder| holder.record.local_id)
        .filter(|holder| *holder != entry.local_id);
    let archive = match found {
        Some(record) => outbox::of_record(tx, object.object(), record.id)?.filter(|pending| {
            pending.standing.operation == Operation::Archive && pending.id != entry.id
        }),
        None => None,
    };
    let outcome = settle_existing(Existing {
        met: match found {
            None => Met::Unseen,
            Some(record) if record.own_key.is_some() && record.own_key == entry.key => Met::Ours,
            Some(_) => Met::Theirs,
        },
        is_held: holder.is_some(),
        has_row: object.table.by_local_id(tx, entry.local_id)?.is_some(),
        archive: match (found, &archive) {
            (Some(record), Some(archive)) => {
                match adopt::is_outdated(tx, applying, record, archive)? {
                    true => FormerArchive::WaitsOutdated,
                    false => FormerArchive::Waits,
                }
            }
            (None, _) | (_, None) => FormerArchive::Nothing,
        },
        attempts: entry.standing.attempts,
    });
    match (outcome, found, holder) {
        (ExistingOutcome::Refuse, _, Some(holder)) => {
            refuse_second(tx, &applying.pass, entry, (holder, id))
        }
        (ExistingOutcome::LeaveAlone, ..) => {
            outbox::end(tx, entry.id)?;
            let applying = Applying {
                pass: applying.pass.saying(Origin::Poll),
                ..*applying
            };
            found.map_or(Ok(()), |record| {
                apply_record(tx, &applying, record, None).map(drop)
            })
        }
        (ExistingOutcome::GiveUp, ..) => work.carry_out(given_up_existing(id)),
        (ExistingOutcome::Take | ExistingOutcome::TakePlace, Some(record), _) => {
            work.carry_out(exists(next))?;
            let create = outbox::by_id(tx, entry.id)?;
            let claimant = Claimant {
                local_id: entry.local_id,
                create: create.as_ref(),
            };
            match archive {
                Some(archive) => adopt::take_place(tx, applying, record, claimant, &archive),
                None => {
                    let unknown = CleanBase::Unknown;
                    adopt::link(tx, applying, record, claimant, unknown)
                }
            }
            .map(drop)
        }
        (
            ExistingOutcome::LookAgain
            | ExistingOutcome::Refuse
            | ExistingOutcome::Take
            | ExistingOutcome::TakePlace,
            ..,
        ) => work.carry_out(exists(next)),
    }
}

/// Refuses a create whose record another row has.
fn refuse_second(
    tx: &Transaction<'_>,
    pass: &Pass<'_>,
    entry: &Entry,
    holder: (LocalId, HubspotId),
) -> Result<(), StoreError> {
    let object = pass.object;
    if settle_taken(tx, pass, entry)? {
        return Ok(());
    }
    let shared = object
        .mapping()
        .match_field()
        .map_or("unique value", |field| field.property.as_str());
    let explanation = shared_words(object, entry.local_id, shared, holder);
    EntryWork::of_entry(tx, object.object(), entry, pass.now).carry_out(parked_bare(explanation))
}

async fn settle_failed_batch(
    sending: Sending<'_>,
    batch: &[Sent],
    failed: FailedBatch,
    error: &HubspotError,
) -> Result<(), StepError> {
    let Sending {
        engine,
        object,
        operation,
        ..
    } = sending;
    let asked_at = engine.now();
    let answered = Correlated::just_now(engine, batch.iter().map(|sent| sent.entry));
    let (fate, explanation) = (failed.fate, failed.explanation.clone());
    let in_doubt = error.batch_failure() == Failure::ServerError;
    let existing = error.answer().and_then(|answer| answer.existing_id);
    let contradicted = contradicted(&explanation)
        .filter(|_| fate == BatchFate::Dead)
        .into_iter()
        .collect();
    let entries: Vec<(Sent, Duration)> = batch
        .iter()
        .map(|sent| (sent.clone(), failed.wait(engine, sent.attempts)))
        .collect();
    let refusal = error.answer().map(|answer| Refusal {
        category: answer.category.clone(),
        explanation: explanation.clone(),
        existing,
    });
    let adopted = match (fate, existing, operation) {
        (BatchFate::Dead, Some(id), Operation::Create) => {
            read_existing(engine, object, &[id]).await?
        }
        _ => Vec::new(),
    };
    let along = along::unread(engine, object);
    let settle = move |tx: &Transaction<'_>, applying: &Applying<'_>| {
        let (name, now) = (applying.pass.name(), applying.pass.now);
        let settling = |next| Settling {
            applying,
            adopted: &adopted,
            next,
        };
        let settle_one = |sent: &Sent, wait| {
            let next = failed.next(wait, now);
            let Some(entry) = outbox::by_id(tx, sent.entry)? else {
                return Ok(());
            };
            if entry.standing.state != EntryState::InFlight {
                return Ok(());
            }
            let work = EntryWork::of_entry(tx, name, &entry, now);
            // Surely not carried out: nothing is to be looked for in the archived record.
            if let (Operation::Archive, Some(hs_id)) = (operation, entry.standing.hs_id)
                && fate != BatchFate::Lost
                && !in_doubt
            {
                gaps::forget_archive(tx, name, hs_id)?;
            }
            match settle_failed(operation, fate, in_doubt, refusal.as_ref()) {
                FailedOutcome::Adopt(existing) => {
                    adopt_existing(tx, &settling(next), &entry, existing)?;
                }
                FailedOutcome::ParkInDoubt => {
                    work.carry_out(parked_in_doubt(&entry, &explanation, now))?;
                }
                FailedOutcome::Settle(settlement) => {
                    settle_entry(tx, &settling(now + wait), &entry, &settlement)?;
                }
                FailedOutcome::Refuse => refuse(tx, &applying.pass, &entry, &explanation)?,
                FailedOutcome::Retry => {
                    let acts = back_and_uncounted(next, &explanation, failed.waits_for());
                    work.carry_out(acts)?;
                }
                FailedOutcome::Lose => {
                    work.carry_out(lost(&entry, &explanation, next, now))?;
                }
            }
            Ok::<(), StoreError>(())
        };
        let seen = entries.len();
        for (sent, wait) in entries {
            settle_one(&sent, wait)?;
            along::settle(tx, &applying.pass, &sent, &along)?;
        }
        failed.note_run(tx, name, seen, now)
    };
    in_one(sending, asked_at, answered, settle).await?;
    contradictions::after_refusals(engine, object, contradicted).await
}

async fn archived(
    sending: Sending<'_>,
    batch: Vec<Sent>,
    push: Option<Push>,
) -> Result<(), StepError> {
    let asked_at = sending.engine.now();
    let answered = Correlated::just_now(sending.engine, batch.iter().map(|sent| sent.entry));
    let settle = move |tx: &Transaction<'_>, applying: &Applying<'_>| {
        let pass = applying.pass.saying(Origin::Push);
        let _run = runs::begin_job(tx, pass.name(), Kind::Push)?;
        let changed = batch.len();
        for archive in batch.into_iter().filter_map(|sent| sent.archive) {
            note_archived(tx, &pass, &archive.entry, archive.hs_id)?;
            if let Some(push) = push {
                gap::note_archived(tx, &pass, archive.hs_id, push)?;
            }
            reads::bury(tx, pass.name(), archive.hs_id, pass.now)?;
            outbox::end(tx, archive.entry.id)?;
        }
        note_run(tx, &pass, changed, changed)
    };
    in_one(sending, asked_at, answered, settle).await
}

/// Writes down that a request was settled.
fn note_run(
    tx: &Transaction<'_>,
    pass: &Pass<'_>,
    seen: usize,
    changed: usize,
) -> Result<(), StoreError> {
    let work = runs::Work {
        requests: 1,
        seen,
        changed,
    };
    runs::extend(tx, pass.name(), Kind::Push, work, pass.now)?;
    runs::finish(tx, pass.name(), Kind::Push, None, pass.now)
}

/// What a stopped daemon left in flight: its answers are lost. How many entries that were.
pub fn recover(tx: &Transaction<'_>, now: Timestamp) -> Result<usize, StoreError> {
    let mut count = 0;
    for object in outbox::objects(tx)? {
        count += recover_object(tx, &object, now)?;
    }
    Ok(count)
}

/// What a step that failed between claim and settling (a full disk) left in flight: of its rows, and of the associations that
/// start from them or went along in their creates. Called where no step of the object runs.
pub(crate) fn recover_object(
    tx: &Transaction<'_>,
    object: &ObjectType,
    now: Timestamp,
) -> Result<usize, StoreError> {
    let left = outbox::in_flight(tx, object)?;
    let explanation = "the daemon stopped before the answer came";
    let mut linked = Vec::new();
    for queued in &left {
        let acts = lost(queued, explanation, now, now);
        EntryWork::of_entry(tx, object, queued, now).carry_out(acts)?;
        if queued.standing.operation == Operation::Create {
            linked.extend(links::naming(tx, object, queued.local_id)?);
        }
    }
    linked.extend(links::in_flight(tx, object)?);
    for id in linked {
        let left = links::queued(tx, &[], id)?.and_then(|link| left_in_flight(&link, now));
        if let (Some(event), false, Some(entry)) =
            (left, links::goes_along(tx, id)?, outbox::by_id(tx, id)?)
        {
            outbox::act(tx, object, &entry, Act::Befall(event), now)?;
        }
    }
    Ok(left.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::echo::{Author, Histories, PastValue, ToldSource};
    use crate::engine::testing::{How, Scene, at, property, record};
    use crate::model::mapping::Policy;
    use crate::model::value::Value;
    use crate::store::outbox::Attempt;
    /// Row 1 is record 101, and an update of its first name is on its way, over the version of the scene's beginning.
    fn on_its_way() -> Scene {
        let scene = Scene::of(Policy::Newest);
        scene.apply(How::at(0), &record(101, 0, &[("firstname", "Base")]));
        scene.program("UPDATE contacts SET first_name = 'Ours'");
        scene.daemon(&format!(
            "UPDATE sync_outbox SET state = 'in_flight', attempts = 1, sent_over = '{}';
             UPDATE sync_outbox_fields SET sent_value = 'Ours'",
            at(0)
        ));
        scene
    }

    const NOTHING: [&str; 0] = [];

    #[test]
    fn what_a_lost_update_carried_is_remembered_so_that_its_late_landing_is_nobodys_edit() {
        let scene = on_its_way();
        scene.write(|tx| recover_object(tx, scene.object.object(), at(10)));
        assert_eq!(
            scene.rows("SELECT property, value, sent_over FROM _sync_sent"),
            [format!("firstname Ours {}", at(0))]
        );
        scene.program("UPDATE contacts SET first_name = 'Ours at last'");
        let landed = record(101, 20, &[("firstname", "Ours")]);
        scene.apply(How::at(30), &landed);
        assert_eq!(scene.conflicts(), NOTHING);
        assert_eq!(scene.rows("SELECT hs_id FROM _sync_reads"), ["101"]);
        let top = PastValue {
            value: Value::from_canonical("Ours"),
            at: at(20),
            author: Author::Us,
            source: ToldSource::default(),
        };
        let histories: Histories = [(property("firstname"), vec![top])].into();
        scene.write(|tx| apply_record(tx, &scene.applying(How::at(31)), &landed, Some(&histories)));
        assert_eq!(scene.conflicts(), NOTHING);
        assert_eq!(scene.outbox(), ["update 1 101; firstname was Ours"]);
    }

    fn answered(scene: &Scene, record: &RemoteRecord) {
        scene.write(|tx| {
            let queued = outbox::in_flight(tx, scene.object.object())?.remove(0);
            acknowledge(tx, &scene.applying(How::at(20)), &queued, record)
        });
    }

    #[test]
    fn what_is_written_while_its_field_is_in_flight_is_sent_over_the_answer() {
        let scene = on_its_way();
        scene.program("UPDATE contacts SET first_name = 'Ours at last'");
        answered(&scene, &record(101, 20, &[("firstname", "Ours")]));
        assert_eq!(scene.outbox(), ["update 1 101; firstname was Ours"]);
        let held = scene.rows("SELECT first_name FROM contacts");
        assert_eq!(held, ["Ours at last"]);
    }

    #[test]
    fn what_the_answers_to_a_batch_empty_is_held_as_a_whole() {
        let scene = Scene::of_adas();
        scene.program("UPDATE contacts SET first_name = 'Eva' WHERE local_id <= 50");
        scene.daemon(&format!(
            "UPDATE sync_outbox SET state = 'in_flight', attempts = 1, sent_over = '{}';
             UPDATE sync_outbox_fields SET sent_value = 'Eva'",
            at(0)
        ));
        scene.write(|tx| {
            let flying = outbox::in_flight(tx, scene.object.object())?.into_iter();
            let settled: Vec<(Sent, Settlement)> = flying
                .map(|entry| {
                    let id = 100 + entry.local_id.0;
                    let answer = record(id, 20, &[("firstname", "")]);
                    let sent = Sent {
                        entry: entry.id,
                        attempts: 1,
                        input: WriteInput {
                            trace_id: id.to_string(),
                            id: Some(id.to_string()),
                            properties: Vec::new(),
                            associations: Vec::new(),
                        },
                        read_version: None,
                        archive: None,
                        along: Vec::new(),
                    };
                    (sent, Settlement::Acknowledge(Box::new(answer)))
                })
                .collect();
            let batch = SettledBatch {
                settled: &settled,
                adopted: &[],
                waits: &[Duration::ZERO; 50],
                push: None,
            };
            batch.settle(tx, &scene.applying(How::at(20)), |_, _| Ok(()))
        });
        assert_eq!(scene.clear_holds(), ["local 50 firstname"]);
        let held = "SELECT first_name, count(*) FROM contacts GROUP BY 1";
        assert_eq!(scene.rows(held), ["Ada 70", "Eva 50"]);
        assert_eq!(scene.outbox(), NOTHING);
    }

    #[test]
    fn an_answer_to_a_push_makes_no_row_older() {
        let scene = on_its_way();
        scene.daemon(&format!(
            "UPDATE contacts SET hs_modified_at = '{}'",
            at(50)
        ));
        answered(&scene, &record(101, 20, &[("firstname", "Ours")]));
        assert_eq!(scene.outbox(), NOTHING);
        let version = scene.rows("SELECT hs_modified_at FROM contacts");
        assert_eq!(version, [at(50).to_string()]);
    }

    #[test]
    fn a_field_in_flight_is_merged_once_its_answer_is_there() {
        let scene = on_its_way();
        scene.apply(How::at(30), &record(101, 20, &[("firstname", "Theirs")]));
        assert_eq!(scene.outbox(), ["update 1 101; firstname was Base"]);
        assert_eq!(scene.rows("SELECT first_name FROM contacts"), ["Ours"]);
        assert_eq!(scene.conflicts(), NOTHING);
        assert_eq!(scene.rows("SELECT hs_id FROM _sync_reads"), ["101"]);
    }

    #[test]
    fn what_was_refused_for_sure_is_not_remembered() {
        let scene = on_its_way();
        scene.write(|tx| {
            let mut queued = outbox::in_flight(tx, scene.object.object())?;
            refuse(
                tx,
                &scene.pass(at(1)),
                &queued.remove(0),
                "HubSpot does not take it",
            )
        });
        assert_eq!(scene.rows("SELECT value FROM _sync_sent"), NOTHING);
        assert_eq!(
            scene.rows(
                "SELECT e.state, f.sent_value FROM sync_outbox AS e, sync_outbox_fields AS f"
            ),
            ["dead -"]
        );
    }

    #[test]
    fn a_refusal_under_settings_that_have_changed_since_is_tried_again_once() {
        let scene = on_its_way();
        scene.daemon(&format!(
            "UPDATE sync_outbox SET unanswered_since = '{}'",
            at(5)
        ));
        scene.write(|tx| {
            outbox::revive_refused(tx, scene.object.object(), &OF_PROPERTIES, at(6))?;
            let mut queued = outbox::in_flight(tx, scene.object.object())?;
            let queued = queued.remove(0);
            refuse(
                tx,
                &scene.pass(at(7)),
                &queued,
                "no such property [unknown-property]",
            )
        });
        let standing = "SELECT state, next_attempt_at, code FROM sync_outbox";
        assert_eq!(
            scene.rows(standing),
            [format!("pending {} unknown-property", at(7))]
        );
        scene.daemon(&format!(
            "UPDATE sync_outbox SET state = 'in_flight', unanswered_since = '{}'",
            at(8)
        ));
        scene.write(|tx| {
            let mut queued = outbox::in_flight(tx, scene.object.object())?;
            let queued = queued.remove(0);
            refuse(
                tx,
                &scene.pass(at(9)),
                &queued,
                "no such property [unknown-property]",
            )
        });
        let states = || scene.rows("SELECT state, code FROM sync_outbox");
        assert_eq!(states(), ["dead unknown-property"]);
        // Claimed later, by a mapping that still has the property.
        scene.daemon(&format!(
            "UPDATE sync_outbox SET state = 'in_flight', unanswered_since = '{}';
             UPDATE sync_fields SET state = 'degraded', code = 'unknown-property' WHERE property = 'firstname'",
            at(10)
        ));
        scene.write(|tx| {
            let mut queued = outbox::in_flight(tx, scene.object.object())?;
            let queued = queued.remove(0);
            refuse(
                tx,
                &scene.pass(at(11)),
                &queued,
                "no such property [unknown-property]",
            )
        });
        assert_eq!(states(), ["pending unknown-property"]);
    }

    /// Settles the acknowledged update of row 1, which `meanwhile` befell in flight.
    fn acknowledged(meanwhile: impl FnOnce(&Scene)) -> Scene {
        let scene = Scene::of(Policy::Local);
        scene.apply(How::at(0), &record(101, 0, &[("firstname", "Base")]));
        scene.program("UPDATE contacts SET first_name = 'Ours'");
        let id = scene.write(|tx| {
            let queued = outbox::of_row(tx, scene.object.object(), LocalId(1))?;
            let queued = queued.expect("an update waits");
            let id = queued.id;
            for field in &queued.fields {
                let ours = Value::from_canonical("Ours");
                outbox::set_sent(tx, id, &field.property, &ours)?;
            }
            outbox::claim(tx, &queued, Attempt::Update { over: at(0) }, at(6))?;
            Ok(id)
        });
        meanwhile(&scene);
        let answer = record(101, 7, &[("firstname", "Ours")]);
        scene.write(|tx| {
            let entry = outbox::by_id(tx, id)?.expect("it is in flight");
            acknowledge(tx, &scene.applying(How::at(8)), &entry, &answer)
        });
        scene
    }

    #[test]
    fn a_row_that_was_deleted_while_its_update_was_in_flight_is_archived() {
        let scene = acknowledged(|scene| scene.program("DELETE FROM contacts"));
        assert_eq!(scene.outbox(), ["archive 1 101; firstname was Ours"]);
    }

    #[test]
    fn what_is_kept_of_a_row_that_was_deleted_while_its_create_was_in_flight_has_its_records_times()
    {
        let scene = Scene::of(Policy::Local);
        scene
            .program("INSERT INTO contacts (email, first_name) VALUES ('ann@example.com', 'Ours')");
        scene.daemon(
            "UPDATE sync_outbox SET state = 'in_flight', attempts = 1;
             INSERT INTO sync_outbox_fields (outbox_id, property, changed_at, sent_value)
             SELECT id, 'firstname', enqueued_at, 'Ours' FROM sync_outbox",
        );
        scene.program("DELETE FROM contacts");
        let made = RemoteRecord {
            created_at: at(18),
            ..record(101, 19, &[("firstname", "Ours")])
        };
        answered(&scene, &made);
        assert_eq!(scene.outbox(), ["archive 1 101; firstname was Ours"]);
        let kept = "SELECT row ->> '$.\"$hs_created_at\"', row ->> '$.\"$hs_modified_at\"' FROM sync_outbox";
        assert_eq!(scene.rows(kept), [format!("{} {}", at(18), at(19))]);
    }

    #[test]
    fn a_row_that_went_without_a_deletion_while_its_update_was_in_flight_archives_nothing() {
        let scene = acknowledged(|scene| scene.daemon("DELETE FROM contacts"));
        assert_eq!(scene.outbox(), Vec::<String>::new());
        assert_eq!(scene.rows("SELECT hs_id FROM _sync_reads"), ["101"]);
        let pushed = "SELECT old_value, new_value FROM sync_history WHERE origin = 'push'";
        assert_eq!(scene.rows(pushed), ["Base Ours"]);
        // What was written since the claim is nowhere else.
        let scene = acknowledged(|scene| {
            scene.program("UPDATE contacts SET stage = 'won'");
            scene.daemon("DELETE FROM contacts");
        });
        let named = scene.rows("SELECT state, last_error FROM sync_outbox");
        assert!(
            named[0].starts_with("dead row 1, HubSpot record 101, is gone"),
            "{named:?}"
        );
        assert!(named[0].contains("write `stage` again"), "{named:?}");
    }

    #[test]
    fn a_record_that_left_before_the_answer_to_its_create_is_read() {
        for (left, is_erased) in [
            (
                "INSERT INTO _sync_tombstones (object, hs_id, at) VALUES ('contacts', 101, 'T')",
                false,
            ),
            (
                "INSERT INTO _sync_erasures (object, hs_id, asked_at, erased_at) VALUES ('contacts', 101, 'T', 'T')",
                true,
            ),
        ] {
            let scene = Scene::of(Policy::Local);
            scene.program("INSERT INTO contacts (email) VALUES ('ann@example.com')");
            scene.daemon("UPDATE sync_outbox SET state = 'in_flight', attempts = 1");
            scene.daemon(&left.replace("'T'", &format!("'{}'", at(15))));
            answered(&scene, &record(101, 10, &[("email", "ann@example.com")]));
            assert_eq!(scene.rows("SELECT hs_id FROM contacts"), ["101"]);
            assert_eq!(scene.rows("SELECT hs_id FROM _sync_reads"), ["101"]);
            let to_be_erased = "SELECT count(*) FROM _sync_erasures WHERE erased_at IS NULL";
            assert_eq!(scene.rows(to_be_erased), [u8::from(is_erased).to_string()]);
        }
    }
}
