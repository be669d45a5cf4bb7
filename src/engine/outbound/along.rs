//! Associations that go along in a create: taken with it, asked for behind its answer, and settled in the same transaction.
//!
//! The answer to a create lists no associations, so that a read of the pair tells in the same step whether they are there. What it
//! does not show goes out by itself, like any other association, which does no harm where it is there all the same.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::Transaction;

use crate::decide::entry::EntryEvent;
use crate::decide::outgoing::along::{
    AlongSettlement, NamedLink, WithLinks, settle_along, with_links,
};
use crate::decide::outgoing::associate::{LinkAnswer, LinkCall, QueuedLink, TypesSay, UNTYPED};
use crate::decide::outgoing::settle::Settlement;
use crate::engine::Engine;
use crate::engine::inbound::links::PairSync;
use crate::engine::outbound::associate::{AFTER_TYPES, LinkWork};
use crate::engine::pass::Pass;
use crate::engine::portal::access::{self, Access};
use crate::engine::portal::objects::ObjectSync;
use crate::hubspot::Priority;
use crate::hubspot::endpoints::associations::{LinksWritten, MOST_READ};
use crate::model::association::{Links, TypeId};
use crate::model::attempt::{Along, NewEnd, Sent};
use crate::model::entry::{Entry, EntryState, Operation, WaitsFor};
use crate::model::id::{HubspotId, LocalId, OutboxId};
use crate::model::name::ObjectType;
use crate::model::object::NewLinks;
use crate::store::history::Origin;
use crate::store::links::types;
use crate::store::outbox::{self, Answered, Attempt, links};
use crate::store::{StoreError, reads};

/// The associations that go along in a create; `None` where it can't be sent without one, or waits for one, which is written
/// down.
pub(super) fn taken(
    tx: &Transaction<'_>,
    pass: &Pass<'_>,
    create: &Entry,
) -> Result<Option<Vec<Along>>, StoreError> {
    let (object, now) = (pass.object, pass.now);
    if object.new_links == NewLinks::Follow {
        return Ok(Some(Vec::new()));
    }
    let named = named(tx, pass, create)?;
    match with_links(object, create.local_id, &named) {
        WithLinks::Goes(along) => return Ok(Some(along)),
        WithLinks::WaitsForCreate => {
            let create_of_other = Some(WaitsFor::Create);
            outbox::retry(tx, create.id, now, None, create_of_other, Answered::Yes)?;
        }
        WithLinks::WaitsForTypes => {
            let next = now + AFTER_TYPES;
            outbox::retry(tx, create.id, next, Some(UNTYPED), None, Answered::Yes)?;
        }
        WithLinks::Lacks(explanation) => outbox::park(tx, create.id, &explanation, Answered::Yes)?,
    }
    Ok(None)
}

/// What would become of a create by the associations that name its row, once the creates that it waits for are answered. `is_made`:
/// whether such a row's goes in the same push. Nothing is written down.
pub(super) fn known(
    tx: &Transaction<'_>,
    pass: &Pass<'_>,
    create: &Entry,
    is_made: &dyn Fn(&ObjectType, LocalId) -> bool,
) -> Result<WithLinks, StoreError> {
    let object = pass.object;
    if object.new_links == NewLinks::Follow {
        return Ok(WithLinks::Goes(Vec::new()));
    }
    let mut named = Vec::new();
    for id in links::naming(tx, pass.name(), create.local_id)? {
        named.extend(named_by(tx, pass, create, id)?);
    }
    for named in &mut named {
        named.once_made(&object.new_links, is_made);
        let link = &mut named.link;
        if let (None, TypesSay::Means(kind)) = (&link.kind, &link.told) {
            link.kind = Some(kind.clone());
        }
    }
    Ok(with_links(object, create.local_id, &named))
}

/// The associations that name a create's row, of pairs that go to HubSpot. Labels and numbers are written down as their types.
fn named(
    tx: &Transaction<'_>,
    pass: &Pass<'_>,
    create: &Entry,
) -> Result<Vec<NamedLink>, StoreError> {
    let mut named = Vec::new();
    for id in links::naming(tx, pass.name(), create.local_id)? {
        let mut found = named_by(tx, pass, create, id)?;
        if let Some(NamedLink { link, types, .. }) = &found
            && let (None, TypesSay::Means(kind)) = (&link.kind, &link.told)
        {
            links::name(tx, id, kind, types)?;
            found = named_by(tx, pass, create, id)?;
        }
        named.extend(found);
    }
    Ok(named)
}

/// One of them.
fn named_by(
    tx: &Transaction<'_>,
    pass: &Pass<'_>,
    create: &Entry,
    id: OutboxId,
) -> Result<Option<NamedLink>, StoreError> {
    let pair = links::pair_of(tx, id, &pass.object.pairs)?;
    let Some(pair) = pair.filter(|pair| pair.direction.pushes()) else {
        return Ok(None);
    };
    let types = types::of(tx, &pair)?;
    let Some(link) = links::queued(tx, &types, id)? else {
        return Ok(None);
    };
    let is_from = pair.from == *pass.name() && link.from.local_id == create.local_id;
    Ok(Some(NamedLink {
        link,
        end: if is_from { NewEnd::From } else { NewEnd::To },
        object: if is_from { pair.to } else { pair.from },
        pair: pair.key,
        types,
    }))
}

/// Takes the entries of associations for the attempt of the create in which they go along.
pub(super) fn claim(
    tx: &Transaction<'_>,
    pass: &Pass<'_>,
    along: &[Along],
) -> Result<(), StoreError> {
    for one in along {
        outbox::retry(tx, one.entry, pass.now, None, None, Answered::No)?;
        if let Some(entry) = outbox::by_id(tx, one.entry)? {
            outbox::claim(tx, &entry, Attempt::Association, pass.now)?;
        }
    }
    Ok(())
}

/// What reads showed of the associations that went along in creates.
#[derive(Debug, Default)]
pub(super) struct AlongShown {
    /// The pairs of the object.
    pairs: Vec<PairSync>,
    /// By pair and record that its rows start from.
    links: BTreeMap<(String, HubspotId), Links>,
}

/// The pairs whose associations may have gone along in creates of an object, unread.
pub(super) fn unread(engine: &Engine, object: &ObjectSync) -> AlongShown {
    let pairs = object.pairs.iter().filter_map(|pair| {
        Some(PairSync {
            mapping: pair.clone(),
            from: engine.object(&pair.from)?,
            to: engine.object(&pair.to)?,
        })
    });
    AlongShown {
        pairs: pairs.collect(),
        ..AlongShown::default()
    }
}

/// Reads whether HubSpot has the associations that went along in creates that it acknowledged: one request a pair. What can't be
/// read is taken for not there.
pub(super) async fn read(
    engine: &Engine,
    object: &ObjectSync,
    settled: &[(Sent, Settlement)],
    priority: Priority,
) -> AlongShown {
    let mut asked: BTreeMap<&str, BTreeSet<HubspotId>> = BTreeMap::new();
    for (sent, settlement) in settled {
        if let Settlement::Acknowledge(record) = settlement {
            for along in &sent.along {
                let (from, _) = along.ends(record.id);
                asked.entry(along.pair.as_str()).or_default().insert(from);
            }
        }
    }
    if asked.is_empty() {
        return unread(engine, object);
    }
    let mut shown = unread(engine, object);
    for pair in &shown.pairs {
        let key = pair.mapping.key.as_str();
        let Some(ids) = asked.get(key) else {
            continue;
        };
        let ends = pair.ends();
        let ids: BTreeSet<HubspotId> = ids.iter().copied().take(MOST_READ).collect();
        let read = engine.client.read_associations(ends, &ids, priority);
        match access::of_pair(engine, ends, Access::Read, read).await {
            Ok(None) => {}
            Ok(Some(read)) => {
                let links = read.links.into_iter();
                let keyed = links.map(|(id, links)| ((key.to_owned(), id), links));
                shown.links.extend(keyed);
            }
            Err(error) => {
                tracing::warn!(object = %pair.mapping.key, error = %error, code = error.code(), "what went along in new records could not be read; it is sent by itself");
            }
        }
    }
    shown
}

impl AlongShown {
    /// The types that two records are shown to have.
    fn types(&self, pair: &str, (from, to): (HubspotId, HubspotId)) -> BTreeSet<TypeId> {
        let links = self.links.get(&(pair.to_owned(), from));
        links
            .and_then(|links| links.get(&to).cloned())
            .unwrap_or_default()
    }
}

/// Settles what went along in a create, once its own entry is settled.
pub(super) fn settle(
    tx: &Transaction<'_>,
    pass: &Pass<'_>,
    sent: &Sent,
    shown: &AlongShown,
) -> Result<(), StoreError> {
    if sent.along.is_empty() {
        return Ok(());
    }
    let create = outbox::by_id(tx, sent.entry)?.map(|create| create.standing);
    let unmade = create.filter(|standing| standing.operation == Operation::Create);
    let in_doubt = (unmade.as_ref()).is_some_and(|create| create.unanswered_since.is_some());
    for along in &sent.along {
        settle_one(tx, pass, along, (shown, in_doubt))?;
        if unmade.is_some() && !in_doubt {
            ask_for_other(tx, pass, along)?;
        }
    }
    Ok(())
}

/// HubSpot did not make the record: a read tells whether the one that it was to be associated with is still there.
fn ask_for_other(tx: &Transaction<'_>, pass: &Pass<'_>, along: &Along) -> Result<(), StoreError> {
    let mut pairs = pass.object.pairs.iter();
    let Some(pair) = pairs.find(|pair| pair.key == along.pair) else {
        return Ok(());
    };
    let other = match along.end {
        NewEnd::From => &pair.to,
        NewEnd::To => &pair.from,
    };
    reads::ask(tx, other, along.other, Origin::Poll, pass.now).map(drop)
}

fn settle_one(
    tx: &Transaction<'_>,
    pass: &Pass<'_>,
    along: &Along,
    (shown, in_doubt): (&AlongShown, bool),
) -> Result<(), StoreError> {
    let mut pairs = shown.pairs.iter();
    let Some(pair) = pairs.find(|pair| pair.mapping.key == along.pair) else {
        return Ok(());
    };
    let known = types::of(tx, &pair.mapping)?;
    let work = LinkWork {
        tx,
        pair,
        known: &known,
        now: pass.now,
    };
    // Somebody settled it already.
    let is_on_its_way = |link: &QueuedLink| link.standing.state == EntryState::InFlight;
    let Some(link) = work.queued(along.entry)?.filter(is_on_its_way) else {
        return Ok(());
    };
    let ends = link.from.hs_id.zip(link.to.hs_id);
    let key = along.pair.as_str();
    let types = ends.map_or_else(BTreeSet::new, |ends| shown.types(key, ends));
    let is_there = match &link.kind {
        Some(kind) => types.contains(kind),
        None => !types.is_empty(),
    };
    match (settle_along(&link, is_there, in_doubt, pass.now), ends) {
        (AlongSettlement::Arrived, Some(ends)) => {
            let written = LinksWritten {
                done: BTreeSet::from([ends]),
                types: BTreeMap::from([(ends, types)]),
                errors: Vec::new(),
            };
            let answer = (&LinkAnswer::Done, pass.now);
            work.settle_one(&link, LinkCall::Create, &written, answer)
                .map(drop)
        }
        (AlongSettlement::Arrived, None) | (AlongSettlement::Ends, _) => work.end_unsent(&link),
        (AlongSettlement::Befalls(event), _) => {
            work.befall(&link, event)?;
            // What a create carries is no attempt of its own.
            work.befall(&link, EntryEvent::Uncounted)
        }
    }
}
