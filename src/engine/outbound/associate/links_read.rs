//! What is read of associations before a write of them, and what it showed: over what is not known nothing is written. A write rests
//! on a read that is at most a second old (`decide/outgoing/gap`), as that of a record does.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::Connection;

use crate::decide::outgoing::associate::QueuedLink;
use crate::decide::outgoing::batch::TogetherLinks;
use crate::decide::retry::AFTER_FLIGHT;
use crate::engine::inbound::links::{PairSync, ShownLinks, Taken, apply};
use crate::engine::inbound::other_end::apply_other_end;
use crate::engine::portal::access::{self, Access};
use crate::engine::{Engine, StepError};
use crate::hubspot::endpoints::associations::{AssociationsRead, Ends};
use crate::hubspot::{Priority, Reread};
use crate::model::id::{HubspotId, OutboxId};
use crate::store::history::Origin;
use crate::store::links::due::Side;
use crate::store::links::{due, types};
use crate::store::outbox::links_due::{self, RereadEnds};
use crate::store::{Lane, StoreError, WriteTx};

/// What HubSpot shows, before the write, of the records of which it may go over what somebody did meanwhile
/// (`decide/outgoing/associate`).
#[derive(Default)]
pub(super) struct LinksReread {
    pub(super) read: AssociationsRead,
    /// The numbers of its questions.
    pub(super) asked: BTreeMap<HubspotId, i64>,
    /// The same from the end where the associations lead.
    pub(super) other_end: AssociationsRead,
    pub(super) asked_other_end: BTreeMap<HubspotId, i64>,
    /// Records that were associated right before the read, and whose doing that is told as.
    pub(super) named: BTreeMap<HubspotId, Origin>,
}

/// What became of the answers that were taken in, by the records of each end.
#[derive(Default)]
pub(super) struct TakenEnds {
    pub(super) from: BTreeMap<HubspotId, Taken>,
    pub(super) to: BTreeMap<HubspotId, Taken>,
}

impl LinksReread {
    /// Whether an answer was to tell of one of an association's ends, and could not, or could not be taken in.
    pub(super) fn is_unsettled(
        &self,
        pair: &PairSync,
        link: &QueuedLink,
        taken: &TakenEnds,
    ) -> bool {
        let is_unsettled =
            |id: HubspotId, read: &AssociationsRead, taken: &BTreeMap<HubspotId, Taken>| {
                read.unread.contains(&id) || taken.get(&id) == Some(&Taken::InFlight)
            };
        if let Some(to) = link.to.hs_id
            && is_unsettled(to, &self.other_end, &taken.to)
        {
            return true;
        }
        // Ids of two objects are numbers of their own.
        let other = link.to.hs_id.filter(|_| pair.mapping.is_of_one_object());
        let mut ends = [link.from.hs_id, other].into_iter().flatten();
        ends.any(|id| is_unsettled(id, &self.read, &taken.from))
    }

    /// Whether a second read shows the records of an association as this one did.
    pub(super) fn shows_alike(&self, second: &Self, pair: &PairSync, link: &QueuedLink) -> bool {
        let alike = |id: HubspotId, first: &AssociationsRead, second: &AssociationsRead| {
            first.links.get(&id) == second.links.get(&id) && !second.unread.contains(&id)
        };
        let other = link.to.hs_id.filter(|_| pair.mapping.is_of_one_object());
        let mut ends = [link.from.hs_id, other].into_iter().flatten();
        let mut leads = link.to.hs_id.into_iter();
        ends.all(|id| alike(id, &self.read, &second.read))
            && leads.all(|id| alike(id, &self.other_end, &second.other_end))
    }

    /// The same questions, for a second read: what it answers is taken in by nobody.
    pub(super) fn again(&self) -> [BTreeMap<HubspotId, i64>; 2] {
        [self.asked.clone(), self.asked_other_end.clone()]
    }
}

/// Records whose associations are to be read before what is due of them goes out.
pub(super) fn to_be_read_first(
    connection: &Connection,
    pair: &PairSync,
    entries: &[OutboxId],
) -> Result<RereadEnds, StoreError> {
    let known = types::of(connection, &pair.mapping)?;
    links_due::to_be_read(connection, &pair.mapping, &known, entries)
}

/// Numbers the questions about the records that are to be read first.
pub(super) async fn ask(
    engine: &Engine,
    pair: &PairSync,
    entries: Vec<OutboxId>,
) -> Result<[BTreeMap<HubspotId, i64>; 2], StepError> {
    let sync = pair.clone();
    let asked = engine
        .store
        .write(Lane::Interactive, move |tx| ask_first(tx, &sync, &entries))
        .await?;
    Ok(asked)
}

/// Reads before a write that is to rest on the read; `None` where nothing is to be read.
pub(super) async fn read_before(
    engine: &Engine,
    pair: &PairSync,
    batch: &TogetherLinks,
    asked: [BTreeMap<HubspotId, i64>; 2],
) -> Result<(Option<Reread>, LinksReread), StepError> {
    let ends = asked.iter().filter(|asked| !asked.is_empty()).count() as u32;
    if ends == 0 {
        return Ok((None, LinksReread::default()));
    }
    let begin = engine
        .client
        .begin_reread_of_links(batch.requests(ends), Priority::Interactive);
    let mut reread = begin.await?;
    if batch.goes_anyway(ends) {
        reread.never_stale();
    }
    let read = read_ends(engine, pair, asked, Some(&reread)).await?;
    Ok((Some(reread), read))
}

/// Reads the associations of the records that questions name, of each end.
pub(super) async fn read_ends(
    engine: &Engine,
    pair: &PairSync,
    [asked, asked_other_end]: [BTreeMap<HubspotId, i64>; 2],
    reread: Option<&Reread>,
) -> Result<LinksReread, StepError> {
    let ends = pair.ends();
    let turned = Ends {
        from: ends.to,
        to: ends.from,
    };
    Ok(LinksReread {
        read: read_asked(engine, ends, &asked, reread).await?,
        other_end: read_asked(engine, turned, &asked_other_end, reread).await?,
        asked,
        asked_other_end,
        named: BTreeMap::new(),
    })
}

/// Reads the associations of the records that questions name.
async fn read_asked(
    engine: &Engine,
    ends: Ends<'_>,
    asked: &BTreeMap<HubspotId, i64>,
    reread: Option<&Reread>,
) -> Result<AssociationsRead, StepError> {
    let ids: BTreeSet<HubspotId> = asked.keys().copied().collect();
    if ids.is_empty() {
        return Ok(AssociationsRead::default());
    }
    let read = engine
        .client
        .read_associations_within(ends, &ids, Priority::Interactive, reread);
    let read = access::of_pair(engine, ends, Access::Read, read).await?;
    // A pair that the token may not read holds up nothing else.
    Ok(read.unwrap_or_else(|| AssociationsRead {
        unread: ids,
        ..AssociationsRead::default()
    }))
}

/// Looks which records are to be read first, and numbers the questions: those of each end.
fn ask_first(
    tx: &WriteTx<'_>,
    pair: &PairSync,
    entries: &[OutboxId],
) -> Result<[BTreeMap<HubspotId, i64>; 2], StoreError> {
    let ids = to_be_read_first(tx, pair, entries)?;
    Ok([
        number(tx, pair, Side::From, &ids.from)?,
        number(tx, pair, Side::To, &ids.to)?,
    ])
}

/// Gives each question a number: an answer that was slow to come says nothing where a later one was taken in meanwhile. Where
/// none comes, the question is there still.
pub(super) fn number(
    tx: &WriteTx<'_>,
    pair: &PairSync,
    side: Side,
    ids: &BTreeSet<HubspotId>,
) -> Result<BTreeMap<HubspotId, i64>, StoreError> {
    let (key, again) = ((&pair.mapping.key, side), tx.now() + AFTER_FLIGHT);
    let mut numbers = BTreeMap::new();
    for id in ids {
        due::ask_from(tx, key, *id, Origin::Poll, again)?;
        let number = due::number_of(tx, key, *id)?;
        numbers.extend(number.map(|number| (*id, number)));
    }
    Ok(numbers)
}

/// Takes in what was read, and tells of which records: over what is not known nothing is written.
pub(super) fn take_in(
    tx: &WriteTx<'_>,
    pair: &PairSync,
    reread: &LinksReread,
) -> Result<TakenEnds, StoreError> {
    let mut taken = TakenEnds::default();
    for (id, links) in &reread.other_end.links {
        let shown = ShownLinks {
            id: *id,
            links: links.clone(),
            asked: reread.asked_other_end.get(id).copied(),
            origin: Some(Origin::Poll),
            demoted_by: None,
        };
        let what = apply_other_end(tx, pair, &shown, &reread.read.links, tx.now())?;
        taken.to.insert(*id, what);
    }
    for (id, links) in &reread.read.links {
        let shown = ShownLinks {
            id: *id,
            links: links.clone(),
            asked: reread.asked.get(id).copied(),
            origin: Some(Origin::Poll),
            demoted_by: reread.named.get(id).copied(),
        };
        let what = apply(tx, pair, &shown, &reread.read.types, tx.now())?;
        taken.from.insert(*id, what);
    }
    Ok(taken)
}
