//! Associations to HubSpot: one batch of one pair and one call a step, behind the object's creates and updates and before its
//! archives.
//!
//! Due entries → claim in one transaction → send → settle, record by record. Each of the calls may be repeated, so that an
//! answer that is lost is asked for by sending it again.

mod judged;
mod links_read;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rusqlite::{Connection, Transaction};

use crate::decide::acts::Act;
use crate::decide::entry::{Answered, EntryEvent};
use crate::decide::incoming::links::{LinkEntry, may_come};
use crate::decide::outgoing::associate::{
    LinkAnswer, LinkCall, LinkEnd, LinkSettlement, NamedType, QueuedLink, ReadyLink, TypesSay,
    UNTYPED, failed_link, makes_room, needs_reread, needs_reread_of_other_row, outdone, overtaken,
    ready, settle_link, together, waits,
};
use crate::decide::outgoing::batch::TogetherLinks;
use crate::decide::outgoing::plan::{BATCH, Order, first_queue, order};
use crate::decide::outgoing::refusal::{REFUSED, code_of, coded};
use crate::decide::outgoing::settle::{BatchFate, settle_failure};
use crate::decide::portal::exclusion::{Exclusion, PairExclusion, SeenLink};
use crate::decide::portal::link_types::KnownType;
use crate::decide::retry::AFTER_UNREAD;
use crate::engine::acts::EntryWork;
use crate::engine::inbound::links::{PairSync, Taken, plain_of};
pub(super) use crate::engine::outbound::associate::judged::guarded_pair;
use crate::engine::outbound::associate::judged::{judge_before_claim, judge_due};
use crate::engine::outbound::associate::links_read::{
    LinksReread, TakenEnds, number, read_before, read_ends, take_in, to_be_read_first,
};
use crate::engine::outbound::guarded::disassociation_key;
use crate::engine::outbound::sending::Correlated;
use crate::engine::outbound::sending::batches::{Batches, FailedBatch, send_all};
use crate::engine::portal::access::{self, Access};
use crate::engine::portal::contradictions;
use crate::engine::portal::objects::ObjectSync;
use crate::engine::{Engine, Progress, StepError};
use crate::hubspot::endpoints::associations::{
    AssociationsRead, LinkError, LinkInput, LinksWritten,
};
use crate::hubspot::{HubspotError, Priority, Reread};
use crate::model::association::json::LinkJson;
use crate::model::association::{ExclusiveEnd, TypeId};
use crate::model::attempt::Late;
use crate::model::entry::{EntryState, Operation, WaitsFor};
use crate::model::id::{HubspotId, LocalId, OutboxId};
use crate::model::time::Timestamp;
use crate::store::history::Origin;
use crate::store::links::due::Side;
use crate::store::links::told::{self, LinkWay};
use crate::store::links::{due, rows, types};
use crate::store::outbox::{self, Attempt};
use crate::store::outbox::{links, links_due};
use crate::store::runs::{self, Kind};
use crate::store::{Lane, StoreError, WriteTx, conflicts, holds, reads};

/// How long an association waits for its pair's types to be read.
pub(super) const AFTER_TYPES: std::time::Duration = std::time::Duration::from_secs(10);

/// What is said of an association while HubSpot does not show what the record has.
const UNREAD: &str = "HubSpot's answer does not show the record's associations, so that nothing is written over them: they are read again";

/// What is said of an association for which another one has to make room.
const CROWDED: &str =
    "the portal allows one association of this kind: the other one is taken away first";

/// Sends the next batch of an object's associations. Its pairs take turns.
pub(super) async fn step(engine: &Engine, object: &ObjectSync) -> Result<Progress, StepError> {
    let (mut said, mut failure) = (Progress::RING, None);
    let mut pairs = pairs_of(engine, object);
    if pairs.is_empty() {
        return Ok(said);
    }
    let turn = engine.memory.link_turns.next(object.object());
    let first = first_queue(pairs.len(), turn);
    pairs.rotate_left(first);
    for pair in &pairs {
        judge_due(engine, pair).await?;
        match send_some(engine, pair).await {
            Ok(Progress::More) => return Ok(Progress::More),
            Ok(idle @ Progress::Idle { .. }) => said = said.or(idle),
            // A pair of which HubSpot takes nothing does not keep the others from being sent.
            Err(StepError::Hubspot(error)) => {
                failure.get_or_insert(error);
            }
            Err(error) => return Err(error),
        }
    }
    failure.map_or(Ok(said), |error| Err(error.into()))
}

/// The pairs whose rows start from an object and go to HubSpot.
fn pairs_of(engine: &Engine, object: &ObjectSync) -> Vec<PairSync> {
    let own = object
        .pairs
        .iter()
        .filter(|pair| pair.from == *object.object() && pair.direction.pushes());
    own.filter_map(|pair| {
        Some(PairSync {
            mapping: pair.clone(),
            from: engine.object(&pair.from)?,
            to: engine.object(&pair.to)?,
        })
    })
    .collect()
}

/// Entries that were claimed to go out together.
struct LinkBatch {
    call: LinkCall,
    links: Vec<ClaimedLink>,
    claimed_at: Timestamp,
}

/// An entry that was claimed.
struct ClaimedLink {
    /// As it stood before.
    link: QueuedLink,
    /// Whether the guard has counted its two records with it.
    is_counted: bool,
}

async fn send_some(engine: &Engine, pair: &PairSync) -> Result<Progress, StepError> {
    let (sync, now) = (pair.clone(), engine.now());
    let name = pair.mapping.name();
    let turn = engine.memory.link_turns.next(&name);
    let most = engine.memory.links_at_once.of(&name);
    let look = engine
        .store
        .read(move |connection| look(connection, &sync, (turn, most), now))
        .await?;
    let (batch, is_to_be_read_first) = match look {
        LookedLinks::Idle(idle) => return Ok(idle),
        LookedLinks::Due {
            batch,
            is_to_be_read_first,
        } => (batch, is_to_be_read_first),
    };
    // It is asked again with the next read of the schema.
    if access::pair_waits(engine, pair.ends(), Access::Write) {
        return Ok(Progress::RING);
    }
    let mut batches = vec![batch];
    while let Some(batch) = batches.pop() {
        let is_read = is_to_be_read_first || batch.late > 0;
        let (late, reads) = send_once(engine, pair, &batch, is_read).await?;
        let again = late.into_iter().filter_map(|late| batch.again(late, reads));
        batches.extend(again);
    }
    Ok(Progress::More)
}

/// One try; tells what came too late, and how many requests the read before it took. What came too late before is read once more
/// behind its claim, as records are (`together`).
async fn send_once(
    engine: &Engine,
    pair: &PairSync,
    batch: &TogetherLinks,
    is_read: bool,
) -> Result<(Vec<Late>, u32), StepError> {
    let asked = match is_read {
        true => links_read::ask(engine, pair, batch.entries.clone()).await?,
        false => [BTreeMap::new(), BTreeMap::new()],
    };
    let (mut reread, shown) = read_before(engine, pair, batch, asked).await?;
    let shown = Arc::new(shown);
    let (sync, read, going) = (pair.clone(), Arc::clone(&shown), batch.clone());
    let (offset, guard) = (engine.client.clock_offset_ms(), engine.settings().guard);
    let claimed = engine
        .store
        .write(Lane::Interactive, move |tx| {
            judge_before_claim(tx, &sync.mapping, &guard, (tx.now(), offset))?;
            claim(tx, &sync, &going, &read, offset)
        })
        .await?;
    let Some(claimed) = claimed else {
        return Ok((Vec::new(), 0));
    };
    let mut sending = LinkSending {
        engine,
        pair,
        call: claimed.call,
        reread: None,
        claimed_at: claimed.claimed_at,
        look: access::look(engine),
        refused: AtomicUsize::new(NONE_REFUSED),
    };
    let mut links = claimed.links;
    if batch.late > 0 && reread.take().is_some() {
        match read_before(engine, pair, batch, shown.again()).await {
            Ok((again, second)) => {
                let is_alike =
                    |claimed: &ClaimedLink| shown.shows_alike(&second, pair, &claimed.link);
                let (same, other): (Vec<_>, Vec<_>) = links.into_iter().partition(is_alike);
                if !other.is_empty() {
                    sending.unclaim(other).await?;
                }
                (reread, links) = (again, same);
            }
            // Nothing was sent: an entry that stayed in flight would count as one whose answer was lost.
            Err(error) => {
                sending.unclaim(links).await?;
                return Err(error);
            }
        }
    }
    sending.reread = reread.as_ref();
    let late = send_all(&sending, links).await?;
    let refused = sending.refused.load(Ordering::Relaxed);
    if (1..NONE_REFUSED).contains(&refused) {
        let memory = &engine.memory.links_at_once;
        memory.learn(&pair.mapping.name(), refused);
    }
    Ok((late, reread.map_or(0, |reread| reread.reads())))
}

/// What a look at a pair's entries finds.
enum LookedLinks {
    /// How the step ends where nothing is due.
    Idle(Progress),
    /// What is to go next.
    Due {
        batch: TogetherLinks,
        is_to_be_read_first: bool,
    },
}

fn look(
    connection: &Connection,
    pair: &PairSync,
    (turn, most): (u64, usize),
    now: Timestamp,
) -> Result<LookedLinks, StoreError> {
    let mapping = &pair.mapping;
    let mut entries = links_due::due(connection, mapping, Order::OldestFirst, now, most + 1)?;
    if entries.is_empty() {
        let until = links::next_due(connection, mapping, None)?;
        return Ok(LookedLinks::Idle(Progress::Idle { until }));
    }
    let is_long = entries.len() > most;
    entries.truncate(most);
    let mut batch = TogetherLinks::of(entries, Order::OldestFirst);
    if order(is_long, turn) == Order::NewestFirst {
        let known = types::of(connection, mapping)?;
        let youngest = links_due::youngest(connection, mapping, &known, now, most)?;
        if !youngest.is_empty() {
            batch = TogetherLinks::of(youngest, Order::NewestFirst);
        }
    }
    let is_to_be_read_first = !to_be_read_first(connection, pair, &batch.entries)?.is_empty();
    Ok(LookedLinks::Due {
        batch,
        is_to_be_read_first,
    })
}

/// Claims the entries of the next request; what can't go out is settled on the way.
fn claim(
    tx: &WriteTx<'_>,
    pair: &PairSync,
    batch: &TogetherLinks,
    reread: &LinksReread,
    offset_ms: i64,
) -> Result<Option<LinkBatch>, StoreError> {
    let now = tx.now();
    let taken = take_in(tx, pair, reread)?;
    let known = types::of(tx, &pair.mapping)?;
    let exclusion = PairExclusion::of(&known, pair.mapping.is_of_one_object());
    let writing = LinkWork {
        tx,
        pair,
        known: &known,
        now,
    };
    let mut going: Vec<(QueuedLink, LinkCall)> = Vec::new();
    let mut crowded: Vec<(QueuedLink, OutboxId)> = Vec::new();
    let mut to_be_read: BTreeSet<OutboxId> = BTreeSet::new();
    // Pairs that are to go as a whole once their record is read, and whether they wait for that.
    let mut unread = BTreeMap::new();
    for id in links_due::still_due(tx, &batch.entries, now)? {
        let Some((link, call)) = writing.prepare(id)? else {
            continue;
        };
        if writing.is_reread(&link, &taken)? {
            match writing.makes_room(&link, &exclusion)? {
                Some(first) => crowded.push((link, first)),
                None => going.push((link, call)),
            }
        } else {
            let is_unsettled = reread.is_unsettled(pair, &link, &taken);
            if is_unsettled {
                writing.befall(&link, waits(None, Some(UNREAD), now + AFTER_UNREAD))?;
            } else {
                // Nobody knew a moment ago that it is to be read, or somebody has asked again since: the next look reads it.
                to_be_read.insert(link.id);
            }
            if call == LinkCall::ArchiveAll {
                unread.insert(ends_of(&link), is_unsettled);
            }
        }
    }
    // A type does not go alone just before its pair goes as a whole.
    let goes = |(link, call): &(QueuedLink, LinkCall)| {
        *call != LinkCall::ArchiveLabels || !unread.contains_key(&ends_of(link))
    };
    let (mut going, with_their_pair): (Vec<_>, Vec<_>) = going.into_iter().partition(goes);
    for (link, _) in with_their_pair {
        if unread.get(&ends_of(&link)) == Some(&true) {
            writing.befall(&link, waits(None, Some(UNREAD), now + AFTER_UNREAD))?;
        }
    }
    // What makes room goes out in this round or, where the next look reads it, in the next one; or it waits itself.
    for (link, first) in crowded {
        if !to_be_read.contains(&first) && going.iter().all(|(other, _)| other.id != first) {
            writing.befall(&link, waits(None, Some(CROWDED), now + AFTER_UNREAD))?;
        }
    }
    take_whole_pairs(&mut going);
    if let Some((_, youngest)) = going.last().filter(|_| batch.are_youngest) {
        let youngest = *youngest;
        going.retain(|(_, call)| *call == youngest);
    }
    let chosen = together(&going, &exclusion);
    let Some(call) = chosen.first().map(|first| going[*first].1) else {
        return Ok(None);
    };
    let mut leaving = BTreeSet::new();
    let mut claimed = Vec::new();
    for link in chosen.iter().map(|at| going[*at].0.clone()) {
        let Some(entry) = outbox::by_id(tx, link.id)? else {
            continue;
        };
        outbox::claim(tx, &entry, Attempt::Association, now)?;
        let is_first = link.standing.operation == Operation::Disassociate
            && link.standing.attempts == 0
            && link.standing.approved_hold.is_none();
        let is_counted = is_first && leaving.insert(ends_of(&link));
        claimed.push(ClaimedLink { link, is_counted });
    }
    if !leaving.is_empty() {
        let name = pair.mapping.name();
        let key = disassociation_key(&name);
        holds::count(tx, key, leaving.len() as u64, now.plus_millis(offset_ms))?;
    }
    Ok(Some(LinkBatch {
        call,
        links: claimed,
        claimed_at: now,
    }))
}

/// Where the plain type of two records is taken away, its call takes the others too.
fn take_whole_pairs(going: &mut [(QueuedLink, LinkCall)]) {
    let whole: BTreeSet<_> = going
        .iter()
        .filter(|(_, call)| *call == LinkCall::ArchiveAll)
        .map(|(link, _)| ends_of(link))
        .collect();
    for (link, call) in going {
        if *call == LinkCall::ArchiveLabels && whole.contains(&ends_of(link)) {
            *call = LinkCall::ArchiveAll;
        }
    }
}

/// The two rows that an entry is about.
fn ends_of(link: &QueuedLink) -> (LocalId, LocalId) {
    (link.from.local_id, link.to.local_id)
}

/// How claimed entries of a pair are sent.
struct LinkSending<'a> {
    engine: &'a Engine,
    pair: &'a PairSync,
    call: LinkCall,
    /// The read before them; `None` where nothing was to be read.
    reread: Option<&'a Reread>,
    claimed_at: Timestamp,
    /// The last read of the schema before them.
    look: u64,
    /// The fewest that were refused at once while each of them was taken in a part: [`NONE_REFUSED`], or 0 where one was refused by
    /// itself, so that the number tells nothing.
    refused: AtomicUsize,
}

/// More than go at once.
const NONE_REFUSED: usize = usize::MAX;

impl Batches for LinkSending<'_> {
    type Claimed = ClaimedLink;
    type Answer = LinksWritten;

    fn engine(&self) -> &Engine {
        self.engine
    }

    fn entry(claimed: &ClaimedLink) -> OutboxId {
        claimed.link.id
    }

    fn attempts(claimed: &ClaimedLink) -> u32 {
        claimed.link.standing.attempts + 1
    }

    /// A record that HubSpot does not find may be that of any of them.
    fn fate(&self, error: &HubspotError, inputs: usize, attempts: u32) -> BatchFate {
        match LinkError::of_missing(error) {
            Some(_) if inputs > 1 => BatchFate::Split,
            Some(_) | None => {
                let fate = settle_failure(error.batch_failure(), inputs, attempts);
                let refused = match fate {
                    BatchFate::Split => inputs,
                    BatchFate::Dead | BatchFate::Retry | BatchFate::Lost => 0,
                };
                self.refused.fetch_min(refused, Ordering::Relaxed);
                fate
            }
        }
    }

    /// A pair that the token may not write holds up nothing else, and a record that is missing is settled.
    fn ends_step(&self, error: &HubspotError, fate: BatchFate) -> bool {
        let is_settled = error.is_forbidden() || LinkError::of_missing(error).is_some();
        fate != BatchFate::Dead && !is_settled
    }

    async fn send(&self, batch: &[ClaimedLink]) -> Result<LinksWritten, HubspotError> {
        let (client, ends) = (&self.engine.client, self.pair.ends());
        let priority = match batch.len() < BATCH {
            true => Priority::Interactive,
            false => Priority::Poll,
        };
        let within = (priority, self.reread);
        let inputs = inputs_of(self.call, batch);
        match self.call {
            LinkCall::Default => client.associate_by_default(ends, &inputs, within).await,
            LinkCall::Create => client.create_associations(ends, &inputs, within).await,
            LinkCall::ArchiveLabels => client.archive_labels(ends, &inputs, within).await,
            LinkCall::ArchiveAll => client.archive_associations(ends, &inputs, within).await,
        }
    }

    async fn answered(
        &self,
        batch: Vec<ClaimedLink>,
        written: LinksWritten,
        _asked_at: Timestamp,
    ) -> Result<(), StepError> {
        let sent = self.sent(batch);
        let implied = read_implied(self.engine, self.pair, &sent).await?;
        settle(self.engine, self.pair, sent, (written, implied)).await
    }

    async fn unclaim(&self, batch: Vec<ClaimedLink>) -> Result<(), StoreError> {
        let (name, claimed_at) = (self.pair.mapping.name(), self.claimed_at);
        let offset = self.engine.client.clock_offset_ms();
        self.engine
            .store
            .write(Lane::Interactive, move |tx| {
                for claimed in &batch {
                    outbox::unclaim(tx, claimed.link.id, claimed_at)?;
                }
                let counted = batch.iter().filter(|claimed| claimed.is_counted).count() as u64;
                let at = tx.now().plus_millis(offset);
                match counted {
                    0 => Ok(()),
                    _ => holds::uncount(tx, disassociation_key(&name), counted, at),
                }
            })
            .await
    }

    async fn failed(
        &self,
        batch: Vec<ClaimedLink>,
        failed: FailedBatch,
        error: &HubspotError,
    ) -> Result<(), StepError> {
        let (engine, pair, sent) = (self.engine, self.pair, self.sent(batch));
        if let Some(missing) = LinkError::of_missing(error) {
            let written = LinksWritten {
                errors: vec![missing],
                ..LinksWritten::default()
            };
            return settle(engine, pair, sent, (written, LinksReread::default())).await;
        }
        fail(engine, pair, sent, failed).await?;
        if error.is_forbidden() {
            access::meet_of_pair(engine, pair.ends(), Access::Write, self.look);
        }
        Ok(())
    }
}

impl LinkSending<'_> {
    /// What was sent just now, with what HubSpot called the request.
    fn sent(&self, batch: Vec<ClaimedLink>) -> SentLinks {
        let links: Vec<QueuedLink> = batch.into_iter().map(|claimed| claimed.link).collect();
        SentLinks {
            call: self.call,
            answered: Correlated::just_now(self.engine, links.iter().map(|link| link.id)),
            links,
        }
    }
}

/// Entries that were sent in one request.
struct SentLinks {
    call: LinkCall,
    links: Vec<QueuedLink>,
    answered: Correlated,
}

/// The inputs of a request, one for each two records.
fn inputs_of(call: LinkCall, batch: &[ClaimedLink]) -> Vec<LinkInput> {
    let mut inputs: BTreeMap<(HubspotId, HubspotId), BTreeSet<TypeId>> = BTreeMap::new();
    for ClaimedLink { link, .. } in batch {
        if let Some(ends) = link.from.hs_id.zip(link.to.hs_id) {
            let types = inputs.entry(ends).or_default();
            if matches!(call, LinkCall::Create | LinkCall::ArchiveLabels) {
                types.extend(link.kind.clone());
            }
        }
    }
    let inputs = inputs.into_iter();
    inputs
        .map(|((from, to), types)| LinkInput { from, to, types })
        .collect()
}

/// What HubSpot made beside what it was asked for: it answers which types it set, not what that took from others, and may not say
/// that it named a primary. Where no answer comes, the records are read later, and until then it may have.
async fn read_implied(
    engine: &Engine,
    pair: &PairSync,
    batch: &SentLinks,
) -> Result<LinksReread, StepError> {
    let makes = matches!(batch.call, LinkCall::Default | LinkCall::Create);
    if !makes {
        return Ok(LinksReread::default());
    }
    let sync = pair.clone();
    let starts = batch.links.iter().filter_map(|link| link.from.hs_id);
    let written: BTreeSet<HubspotId> = starts.collect();
    let asked = engine
        .store
        .write(Lane::Interactive, move |tx| {
            let known = types::of(tx, &sync.mapping)?;
            match known.iter().any(|known| known.id.is_primary()) {
                true => number(tx, &sync, Side::From, &written),
                false => Ok(BTreeMap::new()),
            }
        })
        .await?;
    match read_ends(engine, pair, [asked.clone(), BTreeMap::new()], None).await {
        Err(StepError::Hubspot(error)) => {
            tracing::debug!(object = %pair.mapping.key, error = %error, "what HubSpot made of associations could not be read at once");
            Ok(LinksReread {
                asked,
                ..LinksReread::default()
            })
        }
        read => read,
    }
}

/// An association between the two records of an entry, as the history has it.
fn json_of<'a>(
    link: &QueuedLink,
    (kind, label): (Option<&'a TypeId>, Option<&'a str>),
) -> LinkJson<'a> {
    LinkJson {
        from_local_id: Some(link.from.local_id),
        from_hs_id: link.from.hs_id,
        to_local_id: Some(link.to.local_id),
        to_hs_id: link.to.hs_id,
        kind,
        label,
    }
}

/// Carries out the answer to a batch in one transaction, with what it implied.
async fn settle(
    engine: &Engine,
    pair: &PairSync,
    batch: SentLinks,
    (written, implied): (LinksWritten, LinksReread),
) -> Result<(), StepError> {
    let is_alone = batch.links.len() == 1;
    let answers: Vec<LinkAnswer> = batch
        .links
        .iter()
        .map(|sent| answer_to(sent, &written, is_alone))
        .collect();
    // What the limits are said to be decides what a refusal means.
    let is_full = answers.iter().any(LinkAnswer::is_of_limit);
    let is_limited_otherwise =
        is_full && contradictions::after_full_pair(engine, &pair.mapping).await?;
    let waits: Vec<_> = batch
        .links
        .iter()
        .map(|link| engine.backoff(link.standing.attempts + 1))
        .collect();
    let sync = pair.clone();
    engine
        .store
        .write(Lane::Interactive, move |tx| {
            batch.answered.note(tx)?;
            let mut implied = implied;
            let (now, known) = (tx.now(), types::of(tx, &sync.mapping)?);
            let working = LinkWork {
                tx,
                pair: &sync,
                known: &known,
                now,
            };
            // Whoever asked since the read wants another answer. Settling asks anew itself.
            let key = (&sync.mapping.key, Side::From);
            let mut is_asked = BTreeSet::new();
            for (id, number) in &implied.asked {
                if due::number_of(tx, key, *id)? == Some(*number) {
                    is_asked.insert(*id);
                }
            }
            let _run = runs::begin_job(tx, &sync.mapping.from, Kind::Push)?;
            let (mut done, mut told) = (0, Vec::new());
            for ((sent, wait), answer) in batch.links.iter().zip(waits).zip(&answers) {
                if is_limited_otherwise && answer.is_of_limit() {
                    working.look_again(sent, now)?;
                    continue;
                }
                done += usize::from(*answer == LinkAnswer::Done);
                let answer = (answer, now + wait);
                let origin = working.settle_one(sent, batch.call, &written, answer)?;
                if *answer.0 == LinkAnswer::Done {
                    told.push((sent, origin.unwrap_or(Origin::Push)));
                }
            }
            for (sent, origin) in told {
                working.add_shown(sent, &implied.read, origin)?;
                if let Some(from) = sent.from.hs_id {
                    implied.named.insert(from, origin);
                }
            }
            for id in implied.asked.keys() {
                if !implied.read.links.contains_key(id) {
                    due::ask(tx, &sync.mapping.key, *id, Origin::Push, now)?;
                }
            }
            implied.asked.clear();
            for id in is_asked {
                if let Some(number) = due::number_of(tx, key, id)? {
                    implied.asked.insert(id, number);
                }
            }
            implied
                .read
                .links
                .retain(|id, _| implied.asked.contains_key(id));
            take_in(tx, &sync, &implied)?;
            let work = runs::Work {
                requests: 1 + usize::from(!implied.asked.is_empty()),
                seen: batch.links.len(),
                changed: done,
            };
            let object = &sync.mapping.from;
            runs::extend(tx, object, Kind::Push, work, now)?;
            runs::finish(tx, object, Kind::Push, None, now)
        })
        .await?;
    Ok(())
}

/// What the answer says of one association.
fn answer_to(sent: &QueuedLink, written: &LinksWritten, is_alone: bool) -> LinkAnswer {
    let Some((from, to)) = sent.from.hs_id.zip(sent.to.hs_id) else {
        return LinkAnswer::Silence;
    };
    if written.done.contains(&(from, to)) {
        return LinkAnswer::Done;
    }
    let names = |error: &&LinkError, least: usize| {
        let named = |id| usize::from(error.ids.contains(id));
        named(&from) + named(&to) >= least
    };
    let mut errors = written.errors.iter();
    let found = (errors.clone().find(|error| names(error, 2)))
        .or_else(|| errors.clone().find(|error| names(error, 1)))
        .or_else(|| errors.find(|_| is_alone));
    found.map_or(LinkAnswer::Silence, |error| LinkAnswer::Refused {
        category: error.category.clone(),
        code: code_of(&error.category, &error.codes),
        explanation: coded(error.message.as_str(), &error.category, &error.codes),
    })
}

async fn fail(
    engine: &Engine,
    pair: &PairSync,
    batch: SentLinks,
    failed: FailedBatch,
) -> Result<(), StepError> {
    let fate = failed.fate;
    let waits: Vec<_> = batch
        .links
        .iter()
        .map(|link| failed.wait(engine, link.standing.attempts + 1))
        .collect();
    let sync = pair.clone();
    engine
        .store
        .write(Lane::Interactive, move |tx| {
            batch.answered.note(tx)?;
            let (now, known) = (tx.now(), types::of(tx, &sync.mapping)?);
            for (sent, wait) in batch.links.iter().zip(waits) {
                let Some(entry) = outbox::by_id(tx, sent.id)? else {
                    continue;
                };
                if entry.standing.state != EntryState::InFlight {
                    continue;
                }
                ask_again(tx, &sync, sent, &known, now)?;
                let working = LinkWork {
                    tx,
                    pair: &sync,
                    known: &known,
                    now,
                };
                if working.was_refused_for_another(sent, &failed)? {
                    continue;
                }
                let until = (failed.next(wait, now), failed.waits_for());
                let acts = failed_link(fate, &failed.explanation, until, now);
                EntryWork::of_entry(tx, &sync.mapping.from, &entry, now).carry_out(acts)?;
            }
            failed.note_run(tx, &sync.mapping.from, batch.links.len(), now)
        })
        .await?;
    match fate {
        BatchFate::Dead => contradictions::after_full_pair(engine, &pair.mapping)
            .await
            .map(drop),
        BatchFate::Split | BatchFate::Retry | BatchFate::Lost => Ok(()),
    }
}

/// Whatever was asked for before this moment says nothing of what was sent since.
fn ask_again(
    tx: &Transaction<'_>,
    pair: &PairSync,
    sent: &QueuedLink,
    known: &[KnownType],
    now: Timestamp,
) -> Result<(), StoreError> {
    // Of one object, and of a pair that is mapped in both orders, the other direction has a row too.
    if let Some((to, back)) = sent.to.hs_id.zip(pair.opposite()) {
        due::ask(tx, &back.key, to, Origin::Poll, now)?;
    }
    let Some(from) = sent.from.hs_id else {
        return Ok(());
    };
    due::ask(tx, &pair.mapping.key, from, Origin::Poll, now)?;
    // What it takes from another one shows at the end where it excludes.
    let exclusion = Exclusion::of(known, ExclusiveEnd::To);
    let excludes = exclusion.why(sent.kind.as_ref()).is_some();
    if let Some(to) = sent
        .to
        .hs_id
        .filter(|_| excludes && !pair.mapping.is_of_one_object())
    {
        due::ask_from(tx, (&pair.mapping.key, Side::To), to, Origin::Poll, now)?;
    }
    Ok(())
}

/// One transaction's work on a pair.
#[derive(Clone, Copy)]
pub(super) struct LinkWork<'a> {
    pub(super) tx: &'a Transaction<'a>,
    pub(super) pair: &'a PairSync,
    pub(super) known: &'a [KnownType],
    pub(super) now: Timestamp,
}

impl LinkWork<'_> {
    pub(super) fn queued(&self, id: OutboxId) -> Result<Option<QueuedLink>, StoreError> {
        links::queued(self.tx, self.known, id)
    }

    /// An entry that goes out, and by which call; what keeps another one here is written down.
    fn prepare(&self, id: OutboxId) -> Result<Option<(QueuedLink, LinkCall)>, StoreError> {
        let key = self.pair.mapping.key.as_str();
        let Some(mut link) = self.queued(id)? else {
            return Ok(None);
        };
        let mut verdict = ready(&link, key, self.now);
        if let ReadyLink::Turns(event) = verdict {
            self.befall(&link, event)?;
            let Some(turned) = self.queued(id)? else {
                return Ok(None);
            };
            verdict = ready(&turned, key, self.now);
            link = turned;
        }
        if let ReadyLink::Named(kind) = &verdict {
            if !links::name(self.tx, id, kind, self.known)? {
                return Ok(None);
            }
            let Some(named) = self.queued(id)? else {
                return Ok(None);
            };
            verdict = ready(&named, key, self.now);
            link = named;
        }
        match verdict {
            ReadyLink::Goes(call) => return Ok(Some((link, call))),
            ReadyLink::Ends => self.end_unsent(&link)?,
            ReadyLink::WaitsForCreate => {
                self.befall(&link, waits(Some(WaitsFor::Create), None, self.now))?;
            }
            ReadyLink::Turns(_) | ReadyLink::Named(_) | ReadyLink::WaitsForTypes => {
                self.befall(&link, waits(None, Some(UNTYPED), self.now + AFTER_TYPES))?;
            }
            ReadyLink::Dead(explanation) => self.befall(
                &link,
                EntryEvent::Refused {
                    explanation,
                    answered: Answered::Yes,
                },
            )?,
        }
        Ok(None)
    }

    /// Whether nothing keeps an association from being sent: the next look reads what is missing.
    fn is_reread(&self, link: &QueuedLink, taken: &TakenEnds) -> Result<bool, StoreError> {
        let mapping = &self.pair.mapping;
        let was_read = |end: LinkEnd| {
            let taken = end.hs_id.and_then(|id| taken.from.get(&id));
            matches!(taken, Some(Taken::In(_)))
        };
        let (name, property) = (mapping.name(), conflicts::ASSOCIATION);
        let is_open = |end: LinkEnd| conflicts::is_open(self.tx, &name, end.local_id, property);
        let (from, to, operation) = (link.from, link.to, link.standing.operation);
        let named = link.kind.as_ref().map(NamedType::of).unwrap_or_default();
        let own = was_read(from) || !needs_reread(operation, named, self.known, is_open(from)?);
        let others = !mapping.is_of_one_object()
            || was_read(to)
            || !needs_reread_of_other_row(operation, named, self.known, is_open(to)?);
        if !own || !others {
            return Ok(false);
        }
        let at_end = (operation, named, to.local_id);
        let is_reread = links::is_reread_at_other_end(self.tx, mapping, self.known, at_end)?;
        let taken = to.hs_id.and_then(|id| taken.to.get(&id));
        Ok(!is_reread || matches!(taken, Some(Taken::In(_))))
    }

    /// The entry that has to be done before this one can be.
    fn makes_room(
        &self,
        link: &QueuedLink,
        exclusion: &PairExclusion<'_>,
    ) -> Result<Option<OutboxId>, StoreError> {
        if link.standing.operation != Operation::Associate {
            return Ok(None);
        }
        let ends = ends_of(link);
        for seen in exclusion.seen(ends, link.kind.as_ref()) {
            let at_end = exclusion.at(seen.end);
            if at_end.limits_any()
                && let Some(first) = makes_room(&seen, &self.entries_of(&seen)?, at_end)
            {
                return Ok(Some(first));
            }
        }
        Ok(None)
    }

    /// What waits of the associations of a record that sees one of them.
    fn entries_of(&self, seen: &SeenLink<'_>) -> Result<Vec<LinkEntry>, StoreError> {
        let (tx, mapping, known) = (self.tx, &self.pair.mapping, self.known);
        match seen.end {
            ExclusiveEnd::From => rows::entries(tx, mapping, known, seen.own),
            ExclusiveEnd::To => rows::entries_at_other_end(tx, mapping, known, seen.own),
        }
    }

    /// HubSpot has named a record's primary: what was to name it another one by an older write keeps the plain type alone.
    fn end_outdone(&self, link: &QueuedLink) -> Result<(), StoreError> {
        let Some(plain) = plain_of(self.known) else {
            return Ok(());
        };
        let exclusion = PairExclusion::of(self.known, self.pair.mapping.is_of_one_object());
        let ends = ends_of(link);
        for seen in exclusion.seen(ends, link.kind.as_ref()) {
            let at_end = exclusion.at(seen.end);
            if at_end.why(seen.kind).is_none() {
                continue;
            }
            for id in outdone((link.id, &seen), &self.entries_of(&seen)?, at_end) {
                links::name_plain(self.tx, &self.pair.mapping, id, plain, self.known)?;
            }
        }
        Ok(())
    }

    pub(super) fn befall(&self, link: &QueuedLink, event: EntryEvent) -> Result<(), StoreError> {
        let Some(entry) = outbox::by_id(self.tx, link.id)? else {
            return Ok(());
        };
        let act = Act::Befall(event);
        outbox::act(self.tx, &self.pair.mapping.from, &entry, act, self.now)
    }

    /// Nothing is to be sent. An association whose record is gone ends with it, and that is written down.
    pub(super) fn end_unsent(&self, link: &QueuedLink) -> Result<(), StoreError> {
        let is_gone = !link.from.is_there || !link.to.is_there;
        if is_gone && link.standing.operation == Operation::Associate {
            self.record(link, Operation::Disassociate)?;
        }
        outbox::end(self.tx, link.id)
    }

    /// Writes down what was made in HubSpot, or taken away there, and tells whose doing the line says that it is.
    fn record(&self, link: &QueuedLink, operation: Operation) -> Result<Origin, StoreError> {
        let way = match operation == Operation::Associate {
            true => LinkWay::Came,
            false => LinkWay::Went,
        };
        told::record(
            self.tx,
            &self.pair.mapping,
            json_of(link, (link.kind.as_ref(), link.label.as_deref())),
            (way, Origin::Push),
            self.now,
        )
    }

    /// Carries out what an answer says of one entry, and tells whose doing its line of the history is, where it has one.
    pub(super) fn settle_one(
        &self,
        sent: &QueuedLink,
        call: LinkCall,
        written: &LinksWritten,
        (answer, next): (&LinkAnswer, Timestamp),
    ) -> Result<Option<Origin>, StoreError> {
        let Some(mut link) = self.queued(sent.id)? else {
            return Ok(None);
        };
        // Somebody settled it already.
        if link.standing.state != EntryState::InFlight {
            return Ok(None);
        }
        ask_again(self.tx, self.pair, sent, self.known, self.now)?;
        if let Some(again) = overtaken(&link, sent, answer, self.now) {
            return self.go_again(&link, again).map(|()| None);
        }
        let made = sent.from.hs_id.zip(sent.to.hs_id);
        let made = made.and_then(|ends| written.types.get(&ends));
        let made: Vec<&TypeId> = made.into_iter().flatten().collect();
        let plain = made.iter().find(|kind| !kind.is_primary());
        if let (Some(kind), None, TypesSay::Unread | TypesSay::Plain) =
            (plain, &link.kind, &link.told)
        {
            if !links::name(self.tx, link.id, kind, self.known)? {
                return Ok(None);
            }
            let Some(named) = self.queued(sent.id)? else {
                return Ok(None);
            };
            link = named;
        }
        let mut told = None;
        match settle_link(&link, answer, next, self.now) {
            LinkSettlement::Agreed => {
                let origin = self.record(&link, link.standing.operation)?;
                told = Some(origin);
                match link.standing.operation {
                    Operation::Associate => {
                        self.add_implied(&link, &made, origin)?;
                        self.end_outdone(&link)?;
                    }
                    Operation::Disassociate => self.make_room(&link)?,
                    Operation::Create | Operation::Update | Operation::Archive => {}
                }
                outbox::end(self.tx, link.id)?;
            }
            LinkSettlement::Gone => {
                self.ask_for_records(&link)?;
                outbox::end(self.tx, link.id)?;
            }
            LinkSettlement::LookAtRecords(event) => {
                self.ask_for_records(&link)?;
                self.befall(&link, event)?;
            }
            LinkSettlement::Befalls(event) => {
                let is_turned = matches!(event, EntryEvent::Linked { .. });
                if is_turned {
                    told = Some(self.record(&link, link.standing.operation)?);
                }
                if !link.from.is_there || !link.to.is_there {
                    outbox::end(self.tx, link.id)?;
                } else {
                    self.befall(&link, event)?;
                }
            }
        }
        if call == LinkCall::ArchiveAll && *answer == LinkAnswer::Done {
            links::associate_again(self.tx, &self.pair.mapping, (link.from, link.to), self.now)?;
        }
        Ok(told)
    }

    /// Whether a batch was refused for good whose entry was about other records than its rows are by now: it goes out for these.
    fn was_refused_for_another(
        &self,
        sent: &QueuedLink,
        failed: &FailedBatch,
    ) -> Result<bool, StoreError> {
        let link = match failed.fate {
            BatchFate::Split | BatchFate::Dead => self.queued(sent.id)?,
            BatchFate::Retry | BatchFate::Lost => None,
        };
        let refused = LinkAnswer::Refused {
            category: String::new(),
            code: REFUSED,
            explanation: failed.explanation.clone(),
        };
        match link.and_then(|link| overtaken(&link, sent, &refused, self.now).zip(Some(link))) {
            Some((again, link)) => self.go_again(&link, again).map(|()| true),
            None => Ok(false),
        }
    }

    /// An answer was about other records than the rows are by now: the entry goes out for these.
    fn go_again(&self, link: &QueuedLink, again: EntryEvent) -> Result<(), StoreError> {
        if let Some(hs_id) = link.from.hs_id {
            self.befall(link, EntryEvent::Renamed { hs_id })?;
        }
        self.befall(link, again)?;
        self.befall(link, EntryEvent::Uncounted)
    }

    /// HubSpot refused an association for a limit that was not known: it is decided by it before it is dead.
    fn look_again(&self, sent: &QueuedLink, now: Timestamp) -> Result<(), StoreError> {
        let again = EntryEvent::SentBack {
            next: now,
            explanation: None,
            waits_for: None,
            answered: Answered::Yes,
        };
        match self.queued(sent.id)? {
            Some(link) if link.standing.state == EntryState::InFlight => {
                ask_again(self.tx, self.pair, sent, self.known, now)?;
                self.befall(&link, again)
            }
            Some(_) | None => Ok(()),
        }
    }

    /// An association is gone: what a limit forbade meanwhile may have room by now.
    fn make_room(&self, link: &QueuedLink) -> Result<(), StoreError> {
        let ends = (link.from.local_id, link.to.local_id);
        links::revive_limited(self.tx, &self.pair.mapping, Some(ends), self.now)
    }

    /// What HubSpot makes beside an association: the plain type of the pair, what its answer names besides, and the other direction,
    /// where that has a row. It came with the association, by the same hand.
    fn add_implied(
        &self,
        link: &QueuedLink,
        made: &[&TypeId],
        origin: Origin,
    ) -> Result<(), StoreError> {
        let now = || self.known.iter().filter(|known| !known.archived);
        let own = now().find(|known| Some(&known.id) == link.kind.as_ref());
        let plain: Vec<&KnownType> = now().filter(|known| known.label.is_none()).collect();
        let plain = plain.first().copied().filter(|_| plain.len() == 1);
        let (from, to) = (link.from.local_id, link.to.local_id);
        let named = now().filter(|known| made.contains(&&known.id));
        let opposite = self.pair.opposite();
        let back = match opposite {
            Some(opposite) => types::of(self.tx, opposite)?,
            None => Vec::new(),
        };
        for made in [own, plain].into_iter().flatten().chain(named) {
            let label = made.label.as_deref();
            self.come(link, (&made.id, label), origin)?;
            let Some(opposite) = opposite else { continue };
            let turned = made.turned();
            let inverse = back.iter().find(|known| Some(&known.id) == turned.as_ref());
            if let Some(back) = inverse.filter(|back| !back.archived) {
                let label = back.label.as_deref();
                rows::insert(self.tx, opposite, (to, from), &back.id, label)?;
            }
        }
        Ok(())
    }

    /// A type that came beside what was asked for: the association's own has its line already.
    fn come(
        &self,
        link: &QueuedLink,
        (kind, label): (&TypeId, Option<&str>),
        origin: Origin,
    ) -> Result<(), StoreError> {
        let ends = (link.from.local_id, link.to.local_id);
        let is_new = rows::insert(self.tx, &self.pair.mapping, ends, kind, label)?;
        if !is_new || link.kind.as_ref() == Some(kind) {
            return Ok(());
        }
        let told = json_of(link, (Some(kind), label));
        let came = (LinkWay::Came, origin);
        told::record(self.tx, &self.pair.mapping, told, came, self.now).map(drop)
    }

    /// What HubSpot shows, right behind the write, of the two records that it was about is of our own making: a primary that it named
    /// by itself is nobody's word against ours. What a program has taken away since stays away.
    fn add_shown(
        &self,
        sent: &QueuedLink,
        read: &AssociationsRead,
        origin: Origin,
    ) -> Result<(), StoreError> {
        let Some((from, to)) = sent.from.hs_id.zip(sent.to.hs_id) else {
            return Ok(());
        };
        let mapping = &self.pair.mapping;
        let (own, other) = (sent.from.local_id, sent.to.local_id);
        let here = rows::from(self.tx, mapping, own)?;
        if here.iter().all(|row| row.to != other) {
            return Ok(());
        }
        let entries = rows::entries(self.tx, mapping, self.known, own)?;
        let is_taken = |kind: &TypeId| {
            entries.iter().any(|entry| {
                entry.operation == Operation::Disassociate
                    && entry.to == other
                    && (entry.takes_all || entry.kind.as_ref() == Some(kind))
            })
        };
        let plain = plain_of(self.known);
        let comes = |kind: &&TypeId| !is_taken(kind) && may_come(mapping.direction, kind, plain);
        let shown = read.links.get(&from).and_then(|links| links.get(&to));
        for kind in shown.into_iter().flatten().filter(comes) {
            let label = read.types.get(kind).and_then(Option::as_deref);
            self.come(sent, (kind, label), origin)?;
        }
        Ok(())
    }

    /// HubSpot does not find one of the records: a read tells what became of it.
    fn ask_for_records(&self, link: &QueuedLink) -> Result<(), StoreError> {
        let ends = [
            (&self.pair.mapping.from, link.from.hs_id),
            (&self.pair.mapping.to, link.to.hs_id),
        ];
        for (object, id) in ends {
            if let Some(id) = id {
                reads::ask(self.tx, object, id, Origin::Poll, self.now)?;
            }
        }
        Ok(())
    }
}
