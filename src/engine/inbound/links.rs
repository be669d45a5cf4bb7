//! A record's associations, as HubSpot shows them → rows of `associations`, history, and what waits for the other record.
//!
//! Which records' are read is noted in `_sync_links_due`, in the transaction that brings the record.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rusqlite::Transaction;

use crate::decide::incoming::links::{
    LinkConflict, LinkEntry, LinkRow, LinkSides, ShownLink, decide, may_be_taken,
};
use crate::decide::portal::link_types::KnownType;
use crate::decide::retry::AFTER_FLIGHT;
use crate::engine::pass::Pass;
use crate::engine::portal::objects::ObjectSync;
use crate::model::association::json::LinkJson;
use crate::model::association::{Links, PairMapping, TypeId};
use crate::model::entry::Operation;
use crate::model::id::{HubspotId, LocalId};
use crate::model::name::{ObjectType, PropertyName};
use crate::model::time::Timestamp;
use crate::store::conflicts::{About, NewConflict};
use crate::store::history::Origin;
use crate::store::links::due::Side;
use crate::store::links::told::{self, LinkWay};
use crate::store::links::{due, rows, types, waiting};
use crate::store::{StoreError, conflicts, outbox};

/// A pair whose two objects are in force.
#[derive(Debug, Clone)]
pub struct PairSync {
    /// The pair.
    pub mapping: PairMapping,
    /// The object that its rows start from.
    pub from: Arc<ObjectSync>,
    /// The object that they lead to.
    pub to: Arc<ObjectSync>,
}

/// What HubSpot shows of one record.
#[derive(Debug, Clone)]
pub struct ShownLinks {
    /// The record that was asked about.
    pub id: HubspotId,
    /// Its associations.
    pub links: Links,
    /// The number of the question, where one waited for an answer when it was asked.
    pub asked: Option<i64>,
    /// What `sync_history` says of the changes; `None` in the first pass, which has no history.
    pub origin: Option<Origin>,
}

/// Asks for a record's associations and for those that wait for it, or for the latter alone: a first read is followed by a
/// pass over all.
pub fn ask(
    tx: &Transaction<'_>,
    pass: &Pass<'_>,
    id: HubspotId,
    own: OwnLinks,
) -> Result<(), StoreError> {
    for pair in pass
        .object
        .pairs
        .iter()
        .filter(|pair| pair.direction.pulls())
    {
        if pair.from == *pass.name() && own == OwnLinks::Too {
            due::ask(tx, &pair.key, id, pass.origin, pass.now)?;
        }
        if pair.to == *pass.name() {
            for from in waiting::for_record(tx, &pair.key, id)? {
                due::ask(tx, &pair.key, from, pass.origin, pass.now)?;
            }
            if own == OwnLinks::Too && !pair.is_of_one_object() {
                due::ask_from(tx, (&pair.key, Side::To), id, pass.origin, pass.now)?;
            }
        }
    }
    Ok(())
}

/// Asks for the associations of which a webhook says that they changed: between a record and others.
pub fn ask_announced(
    tx: &Transaction<'_>,
    pass: &Pass<'_>,
    id: HubspotId,
    others: &[HubspotId],
) -> Result<(), StoreError> {
    for pair in pass
        .object
        .pairs
        .iter()
        .filter(|pair| pair.direction.pulls())
    {
        if pair.from == *pass.name() {
            due::ask(tx, &pair.key, id, pass.origin, pass.now)?;
        }
        if pair.to == *pass.name() {
            for from in others {
                due::ask(tx, &pair.key, *from, pass.origin, pass.now)?;
            }
        }
    }
    Ok(())
}

/// Whether a record's own associations are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OwnLinks {
    /// Beside those that wait for it.
    Too,
    /// Only those that wait for it.
    No,
}

/// Takes in what HubSpot shows of one record. Tells how many rows came or went.
pub fn apply(
    tx: &Transaction<'_>,
    pair: &PairSync,
    shown: &ShownLinks,
    labels: &BTreeMap<TypeId, Option<String>>,
    now: Timestamp,
) -> Result<usize, StoreError> {
    let key = &pair.mapping.key;
    // Somebody has asked since, and may have written: that answer is to come.
    if due::number_of(tx, (key, Side::From), shown.id)? != shown.asked {
        return Ok(0);
    }
    let Some(row) = pair.from.table.by_hs_id(tx, shown.id)? else {
        waiting::replace(tx, key, shown.id, &BTreeSet::new())?;
        due::done(tx, (key, Side::From), shown.id)?;
        return Ok(0);
    };
    let from = row.record.local_id;
    let known = types::of(tx, &pair.mapping)?;
    let entries = rows::entries(tx, &pair.mapping, &known, from)?;
    if !may_be_taken(&entries) {
        let origin = shown.origin.unwrap_or(Origin::Reconcile);
        due::put_off(tx, (key, Side::From), shown.id, origin, now + AFTER_FLIGHT)?;
        return Ok(0);
    }
    let mut found = FoundLinks::default();
    for (to, types) in &shown.links {
        found.add(tx, pair, *to, types)?;
    }
    let here = rows::from(tx, &pair.mapping, from)?;
    let name = pair.mapping.name();
    let plain = plain_of(&known);
    let changes = decide(LinkSides {
        rows: &here,
        entries: &entries,
        shown: &found.shown,
        policy: pair.mapping.policy,
        plain,
        is_held: conflicts::open_of(tx, &name, from)?.contains_key(&association()),
    });
    let writing = Writing {
        tx,
        pair,
        name: &name,
        labels,
        from: (from, shown.id),
        origin: shown.origin,
        now,
    };
    for conflict in &changes.conflicts {
        writing.conflict(conflict)?;
    }
    if let Some(plain) = plain {
        for entry in &changes.demote {
            outbox::links::name(tx, *entry, plain, &known)?;
        }
    }
    for link in &changes.come {
        let label = labels.get(&link.kind).and_then(Option::as_deref);
        rows::insert(tx, &pair.mapping, (from, link.to), &link.kind, label)?;
        writing.record(link.to, Some(&link.kind), label, LinkWay::Came)?;
    }
    for row in here.iter().filter(|row| changes.go.contains(&row.id)) {
        rows::delete(tx, row.id)?;
        let LinkRow {
            to, kind, label, ..
        } = row;
        writing.record(*to, kind.as_ref(), label.as_deref(), LinkWay::Went)?;
    }
    for entry in entries
        .iter()
        .filter(|entry| changes.end.contains(&entry.id))
    {
        if entry.is_in_doubt {
            writing.landed(entry)?;
        }
        outbox::end(tx, entry.id)?;
    }
    waiting::replace(tx, key, shown.id, &found.waiting)?;
    due::done(tx, (key, Side::From), shown.id)?;
    Ok(changes.come.len() + changes.go.len())
}

/// The pair's plain type, where there is one alone.
fn plain_of(known: &[KnownType]) -> Option<&TypeId> {
    let mut plain = known
        .iter()
        .filter(|known| known.label.is_none() && !known.archived);
    let first = plain.next()?;
    plain.next().is_none().then_some(&first.id)
}

/// Takes in what HubSpot shows of one record from the end to which a pair's rows lead: the records at the other end that it
/// is associated with otherwise than the rows say are asked for from there.
pub fn apply_other_end(
    tx: &Transaction<'_>,
    pair: &PairSync,
    shown: &ShownLinks,
    now: Timestamp,
) -> Result<(), StoreError> {
    let key = &pair.mapping.key;
    if due::number_of(tx, (key, Side::To), shown.id)? != shown.asked {
        return Ok(());
    }
    let mut here: BTreeMap<HubspotId, usize> = BTreeMap::new();
    if let Some(row) = pair.to.table.by_hs_id(tx, shown.id)? {
        for from in rows::leading_to(tx, &pair.mapping, row.record.local_id)? {
            let row = pair.from.table.by_local_id(tx, from)?;
            if let Some(id) = row.and_then(|row| row.record.hs_id) {
                *here.entry(id).or_default() += 1;
            }
        }
    }
    // Each type has one of the other direction, so that their numbers are the same.
    let there: BTreeMap<HubspotId, usize> = shown
        .links
        .iter()
        .map(|(id, types)| (*id, types.len()))
        .collect();
    let origin = shown.origin.unwrap_or(Origin::Poll);
    let all: BTreeSet<&HubspotId> = here.keys().chain(there.keys()).collect();
    for id in all.into_iter().filter(|id| here.get(id) != there.get(id)) {
        due::ask(tx, key, *id, origin, now)?;
    }
    due::done(tx, (key, Side::To), shown.id)
}

/// A record's associations, by whether the other record is in the mirror.
#[derive(Default)]
struct FoundLinks {
    shown: Vec<ShownLink>,
    waiting: BTreeSet<waiting::WaitingLink>,
}

impl FoundLinks {
    fn add(
        &mut self,
        tx: &Transaction<'_>,
        pair: &PairSync,
        to: HubspotId,
        types: &BTreeSet<TypeId>,
    ) -> Result<(), StoreError> {
        let row = pair.to.table.by_hs_id(tx, to)?;
        let types = types.iter().cloned();
        match row {
            Some(row) => self.shown.extend(types.map(|kind| ShownLink {
                to: row.record.local_id,
                kind,
            })),
            None => self.waiting.extend(types.map(|kind| (to, kind))),
        }
        Ok(())
    }
}

/// What is written down of a change.
struct Writing<'a> {
    tx: &'a Transaction<'a>,
    pair: &'a PairSync,
    /// The pair's key, as history and conflicts name it.
    name: &'a ObjectType,
    labels: &'a BTreeMap<TypeId, Option<String>>,
    from: (LocalId, HubspotId),
    origin: Option<Origin>,
    now: Timestamp,
}

impl Writing<'_> {
    /// What a request of ours did whose answer was lost is a push like any other.
    fn landed(&self, entry: &LinkEntry) -> Result<(), StoreError> {
        let way = match entry.operation {
            Operation::Disassociate => LinkWay::Went,
            Operation::Create | Operation::Update | Operation::Archive | Operation::Associate => {
                LinkWay::Came
            }
        };
        let kind = entry.kind.as_ref();
        let label = kind.and_then(|kind| self.labels.get(kind)?.as_deref());
        let pushing = Writing {
            origin: Some(Origin::Push),
            ..*self
        };
        pushing.record(entry.to, kind, label, way)
    }

    fn record(
        &self,
        to: LocalId,
        kind: Option<&TypeId>,
        label: Option<&str>,
        way: LinkWay,
    ) -> Result<(), StoreError> {
        let Some(origin) = self.origin else {
            return Ok(());
        };
        let link = self.json(to, kind, label)?;
        told::record(self.tx, &self.pair.mapping, link, (way, origin), self.now)
    }

    fn json<'b>(
        &self,
        to: LocalId,
        kind: Option<&'b TypeId>,
        label: Option<&'b str>,
    ) -> Result<LinkJson<'b>, StoreError> {
        let to_record = self.pair.to.table.by_local_id(self.tx, to)?;
        Ok(LinkJson {
            from_local_id: self.from.0,
            from_hs_id: Some(self.from.1),
            to_local_id: to,
            to_hs_id: to_record.and_then(|row| row.record.hs_id),
            kind,
            label,
        })
    }

    /// Writes a conflict down, once.
    fn conflict(&self, conflict: &LinkConflict) -> Result<(), StoreError> {
        let list = |links: &[ShownLink]| -> Result<String, StoreError> {
            let one = |link: &ShownLink| {
                let label = self.labels.get(&link.kind).and_then(Option::as_deref);
                self.json(link.to, Some(&link.kind), label)
                    .map(|json| json.to_text())
            };
            let texts = links.iter().map(one).collect::<Result<Vec<_>, _>>()?;
            Ok(format!("[{}]", texts.join(",")))
        };
        let (local, remote) = (list(&conflict.local)?, list(&conflict.remote)?);
        let about = About {
            object: self.name,
            local_id: self.from.0,
            hs_id: Some(self.from.1),
        };
        let new = NewConflict {
            property: conflicts::ASSOCIATION,
            base: None,
            base_known: false,
            local: Some(&local),
            remote: Some(&remote),
            policy: self.pair.mapping.policy.as_str(),
            reason: conflict.reason,
        };
        match conflict.winner {
            Some(winner) if conflicts::is_recorded(self.tx, about, new, winner)? => Ok(()),
            Some(winner) => conflicts::record_closed(self.tx, about, new, winner, self.now),
            None => conflicts::record_open(self.tx, about, new, self.now),
        }
    }
}

fn association() -> PropertyName {
    PropertyName::parse(conflicts::ASSOCIATION).expect("a word is a property's name")
}
