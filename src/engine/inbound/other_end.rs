//! A record's associations as HubSpot shows them from the end to which a pair's rows lead: whose are to be read from the other end,
//! and what of them excludes each other here.
//!
//! A contact names its primary company; where rows lead from companies to contacts, each of those rows starts from another company,
//! and only the contact's own associations tell that one excludes the other. All else is decided from where a row starts
//! (`engine/inbound/links`), which leaves alone what is decided here.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::Transaction;

use crate::decide::incoming::links::{
    LinkRow, LinkSides, ShownLink, decide_exclusive, may_be_taken,
};
use crate::decide::portal::exclusion::{Excludes, Exclusion};
use crate::decide::portal::link_types::{KnownType, turned};
use crate::decide::retry::AFTER_FLIGHT;
use crate::engine::inbound::links::{
    FoundLinks, OwnSides, PairSync, ShownLinks, Taken, Writing, labels_of, open_of, plain_of,
};
use crate::model::association::{ExclusiveEnd, Links, PairMapping, TypeId};
use crate::model::entry::Operation;
use crate::model::id::{HubspotId, LocalId};
use crate::model::time::Timestamp;
use crate::store::history::Origin;
use crate::store::links::due::Side;
use crate::store::links::{due, rows, types};
use crate::store::{StoreError, outbox};

/// Takes in what HubSpot shows of one record from the end to which a pair's rows lead: what excludes each other there is decided, and
/// the records at the other end that it is associated with otherwise than the rows say are asked for from there. `answers` are those
/// of them that came with this one, from there: whoever says the same needs no further question.
pub(crate) fn apply_other_end(
    tx: &Transaction<'_>,
    pair: &PairSync,
    shown: &ShownLinks,
    answers: &BTreeMap<HubspotId, Links>,
    now: Timestamp,
) -> Result<Taken, StoreError> {
    let key = (&pair.mapping.key, Side::To);
    if due::number_of(tx, key, shown.id)? != shown.asked {
        return Ok(Taken::Outdated);
    }
    let origin = shown.origin.unwrap_or(Origin::Poll);
    let row = pair.to.table.by_hs_id(tx, shown.id)?;
    let row = row.map(|row| row.record.local_id);
    if let Some(to) = row
        && !settle_exclusive(tx, pair, (to, shown), now)?
    {
        due::put_off(tx, key, shown.id, origin, now + AFTER_FLIGHT)?;
        return Ok(Taken::InFlight);
    }
    let mut here: BTreeMap<HubspotId, usize> = BTreeMap::new();
    let starts = match row {
        Some(to) => rows::leading_to(tx, &pair.mapping, to)?,
        None => Vec::new(),
    };
    for from in starts {
        let row = pair.from.table.by_local_id(tx, from)?;
        if let Some(id) = row.and_then(|row| row.record.hs_id) {
            *here.entry(id).or_default() += 1;
        }
    }
    // Each type has one of the other direction, so that their numbers are the same.
    let there: BTreeMap<HubspotId, usize> = shown
        .links
        .iter()
        .map(|(id, types)| (*id, types.len()))
        .collect();
    let all: BTreeSet<&HubspotId> = here.keys().chain(there.keys()).collect();
    let is_told = |id: &HubspotId| {
        answers.get(id).is_some_and(|links| {
            let types = links.get(&shown.id).map(BTreeSet::len);
            types == there.get(id).copied()
        })
    };
    let others = all
        .into_iter()
        .filter(|id| here.get(id) != there.get(id) && !is_told(id));
    for id in others {
        due::ask(tx, &pair.mapping.key, *id, origin, now)?;
    }
    due::done(tx, key, shown.id)?;
    Ok(Taken::In(0))
}

/// Decides what of the associations that lead to a row excludes each other there. `false`: one of them is on its way, and nobody
/// knows whether the answer is from before it.
fn settle_exclusive(
    tx: &Transaction<'_>,
    pair: &PairSync,
    (to, shown): (LocalId, &ShownLinks),
    now: Timestamp,
) -> Result<bool, StoreError> {
    let mapping = &pair.mapping;
    if mapping.is_of_one_object() {
        return Ok(true);
    }
    let (name, known) = (mapping.name(), types::of(tx, mapping)?);
    let exclusion = Exclusion::of(&known, ExclusiveEnd::To);
    let entries = rows::entries_at_other_end(tx, mapping, &known, to)?;
    let open = open_of(tx, &name, (ExclusiveEnd::To, to))?;
    let mut named = entries.iter().filter(|entry| {
        entry.operation == Operation::Associate && exclusion.why(entry.kind.as_ref()).is_some()
    });
    if open.is_none() && named.next().is_none() {
        return Ok(true);
    }
    if !may_be_taken(&entries) {
        return Ok(false);
    }
    let mut found = FoundLinks::default();
    for (from, types) in &shown.links {
        let types = types.iter().filter_map(|back| turned(&known, back));
        found.add(tx, &pair.from, *from, types)?;
    }
    let here = rows::at_other_end(tx, mapping, to)?;
    let plain = plain_of(&known);
    let changes = decide_exclusive(LinkSides {
        rows: &here,
        entries: &entries,
        shown: &found.shown,
        direction: mapping.direction,
        policy: mapping.policy,
        plain,
        exclusion: &exclusion,
        open: open.as_ref().map(|(_, links)| links),
        word: None,
        elsewhere: &found.waiting,
        known_elsewhere: None,
        held: &BTreeSet::new(),
        outdone: &BTreeSet::new(),
        doubted: &BTreeSet::new(),
        unread: &unread_behind_ours(tx, pair, &here)?,
    });
    if let Some(plain) = plain {
        for entry in &changes.demote {
            outbox::links::name_plain(tx, mapping, *entry, plain, &known)?;
        }
    }
    let writing = Writing {
        tx,
        pair,
        name: &name,
        labels: &labels_of(&known),
        end: ExclusiveEnd::To,
        own: (to, Some(shown.id)),
        origin: shown.origin,
        demoted_by: None,
        is_decided: false,
        now,
    };
    writing.carry_out(&changes, (&here, &entries), open.as_ref())?;
    Ok(true)
}

/// Rows of a record, by their numbers, whose primary a younger row has taken at the other end. Where nothing but our own rows stands in
/// the table, a read from where they start does not tell whose doing it is that HubSpot shows one no more.
pub(super) fn outdone(
    tx: &Transaction<'_>,
    pair: &PairMapping,
    known: &[KnownType],
    (from, here): (LocalId, &[LinkRow]),
) -> Result<BTreeSet<i64>, StoreError> {
    let exclusion = Exclusion::of(known, ExclusiveEnd::To);
    let mut outdone = BTreeSet::new();
    let primaries = here
        .iter()
        .filter(|row| exclusion.why(row.kind.as_ref()) == Some(Excludes::Primary));
    for row in primaries.filter(|_| !pair.direction.pulls()) {
        let others = rows::at_other_end(tx, pair, row.to)?;
        let is_younger =
            |other: &LinkRow| other.to != from && other.kind == row.kind && other.id > row.id;
        outdone.extend(others.iter().any(is_younger).then_some(row.id));
    }
    Ok(outdone)
}

/// The rows from which associations lead here, of which nobody has read what HubSpot made beside a write of ours.
fn unread_behind_ours(
    tx: &Transaction<'_>,
    pair: &PairSync,
    here: &[LinkRow],
) -> Result<BTreeSet<LocalId>, StoreError> {
    let mut unread = BTreeSet::new();
    for row in here {
        let start = pair.from.table.by_local_id(tx, row.to)?;
        if let Some(id) = start.and_then(|start| start.record.hs_id)
            && due::question(tx, (&pair.mapping.key, Side::From), id)?
                .is_some_and(|question| question.origin == Origin::Push)
        {
            unread.insert(row.to);
        }
    }
    Ok(unread)
}

/// Leaves alone what of a row's associations is decided at their other end: types that exclude others there, while a conflict of
/// that record is open, and such a type that HubSpot shows while another row is to be associated by it, and that is not to be taken
/// away. Where the other end does not know it yet, that is asked.
pub(super) fn leave(
    tx: &Transaction<'_>,
    pair: &PairSync,
    known: &[KnownType],
    from: LocalId,
    sides: &mut OwnSides,
    now: Timestamp,
) -> Result<(), StoreError> {
    let (mapping, name) = (&pair.mapping, pair.mapping.name());
    if mapping.is_of_one_object() {
        return Ok(());
    }
    let exclusion = Exclusion::of(known, ExclusiveEnd::To);
    let excludes = |kind: Option<&TypeId>| exclusion.why(kind).is_some();
    let rows = sides.rows.iter();
    let rows = rows.filter(|row| excludes(row.kind.as_ref()));
    let shown = sides.shown.iter();
    let shown = shown.filter(|link| excludes(Some(&link.kind)));
    let others: BTreeSet<LocalId> = rows
        .map(|row| row.to)
        .chain(shown.map(|link| link.to))
        .collect();
    for to in others {
        let is_own = |other: LocalId, kind: Option<&TypeId>| other == to && excludes(kind);
        let there = sides.shown.iter();
        let there: BTreeSet<ShownLink> = there
            .filter(|link| is_own(link.to, Some(&link.kind)))
            .cloned()
            .collect();
        let is_told = match open_of(tx, &name, (ExclusiveEnd::To, to))? {
            Some((_, open)) => {
                let told = open.remote.iter().filter(|link| link.to == from);
                let told: BTreeSet<&TypeId> = told.map(|link| &link.kind).collect();
                sides.rows.retain(|row| !is_own(row.to, row.kind.as_ref()));
                sides
                    .entries
                    .retain(|entry| !is_own(entry.to, entry.kind.as_ref()));
                sides.shown.retain(|link| !there.contains(link));
                told == there.iter().map(|link| &link.kind).collect()
            }
            None => {
                let is_here = |link: &ShownLink| {
                    let mut rows = sides.rows.iter();
                    rows.any(|row| row.to == to && row.kind.as_ref() == Some(&link.kind))
                };
                // What is decided is to be taken away there.
                let is_taken = |link: &ShownLink| {
                    sides.entries.iter().any(|entry| {
                        entry.operation == Operation::Disassociate
                            && entry.to == to
                            && (entry.takes_all || entry.kind.as_ref() == Some(&link.kind))
                    })
                };
                let entries = rows::entries_at_other_end(tx, mapping, known, to)?;
                let is_rival = |link: &ShownLink| {
                    !is_here(link)
                        && !is_taken(link)
                        && entries.iter().any(|entry| {
                            entry.operation == Operation::Associate
                                && entry.to != from
                                && exclusion.parts(entry.kind.as_ref(), Some(&link.kind))
                        })
                };
                let rivals: BTreeSet<ShownLink> =
                    there.into_iter().filter(|link| is_rival(link)).collect();
                sides.shown.retain(|link| !rivals.contains(link));
                rivals.is_empty()
            }
        };
        if is_told {
            continue;
        }
        let row = pair.to.table.by_local_id(tx, to)?;
        if let Some(id) = row.and_then(|row| row.record.hs_id) {
            due::ask_from(tx, (&mapping.key, Side::To), id, Origin::Poll, now)?;
        }
    }
    Ok(())
}
