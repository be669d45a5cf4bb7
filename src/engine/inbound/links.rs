//! A record's associations, as HubSpot shows them → rows of `associations`, history, and what waits for the other record.
//!
//! Which records' are read is noted in `_sync_links_due`, in the transaction that brings the record.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rusqlite::Transaction;

use crate::decide::incoming::links::{
    LinkChanges, LinkConflict, LinkEntry, LinkRow, LinkSides, OpenChange, OpenLinks, ShownLink,
    decide, decide_held, may_be_taken,
};
use crate::decide::incoming::unshown::missed as missed_of;
use crate::decide::portal::exclusion::Exclusion;
use crate::decide::portal::link_types::KnownType;
use crate::decide::record::ended_by_itself;
use crate::decide::retry::AFTER_FLIGHT;
use crate::engine::inbound::other_end;
use crate::engine::inbound::unshown::DoubtedLinks;
use crate::engine::pass::Pass;
use crate::engine::portal::objects::ObjectSync;
use crate::hubspot::endpoints::associations::Ends;
use crate::model::association::json::{self, LinkJson};
use crate::model::association::{ExclusiveEnd, Links, PairMapping, TypeId};
use crate::model::conflict::Winner;
use crate::model::entry::Operation;
use crate::model::id::{ConflictId, HubspotId, LocalId};
use crate::model::name::ObjectType;
use crate::model::time::Timestamp;
use crate::store::conflicts::{About, End, NewConflict};
use crate::store::history::Origin;
use crate::store::links::due::Side;
use crate::store::links::missed::MissedLink;
use crate::store::links::told::{self, LinkWay};
use crate::store::links::waiting::{self, WaitingLink};
use crate::store::links::{due, noted, rows, types};
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

impl PairSync {
    /// Its objects, in the order in which its rows stand.
    pub(crate) fn ends(&self) -> Ends<'_> {
        Ends {
            from: &self.mapping.from,
            to: &self.mapping.to,
        }
    }

    /// The pair in which the other direction of its associations stands.
    pub(crate) fn opposite(&self) -> Option<&PairMapping> {
        self.mapping.opposite(&self.from.pairs)
    }

    /// Its objects as seen from an end: that which stands there, and the other one.
    pub(super) fn seen_from(&self, end: ExclusiveEnd) -> (&ObjectSync, &ObjectSync) {
        match end {
            ExclusiveEnd::From => (&self.from, &self.to),
            ExclusiveEnd::To => (&self.to, &self.from),
        }
    }
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
    /// Whose doing it is that a primary went: who has named another one right before, as far as that is known.
    pub demoted_by: Option<Origin>,
}

/// Asks for a record's associations and for those that wait for it, or for the latter alone: a first read is followed by a
/// pass over all.
pub(crate) fn ask(
    tx: &Transaction<'_>,
    pass: &Pass<'_>,
    id: HubspotId,
    own: OwnLinks,
) -> Result<(), StoreError> {
    for pair in &pass.object.pairs {
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
pub(crate) fn ask_announced(
    tx: &Transaction<'_>,
    pass: &Pass<'_>,
    id: HubspotId,
    others: &[HubspotId],
) -> Result<(), StoreError> {
    for pair in &pass.object.pairs {
        if pair.from == *pass.name() {
            due::ask(tx, &pair.key, id, pass.origin, pass.now)?;
        }
        if pair.to == *pass.name() {
            for from in others {
                due::ask(tx, &pair.key, *from, pass.origin, pass.now)?;
            }
            // Whose association it is the event does not say: a read from this end tells.
            if others.is_empty() && !pair.is_of_one_object() {
                due::ask_from(tx, (&pair.key, Side::To), id, pass.origin, pass.now)?;
            }
        }
    }
    Ok(())
}

/// Whether a record's own associations are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OwnLinks {
    /// Beside those that wait for it.
    Too,
    /// Only those that wait for it.
    No,
}

/// What became of an answer about a record's associations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// It is taken in: so many rows came or went.
    In(usize),
    /// Somebody has asked since, and may have written: another answer is to come.
    Outdated,
    /// An association of the record is on its way: it is asked about again.
    InFlight,
}

/// Takes in what HubSpot shows of one record.
pub fn apply(
    tx: &Transaction<'_>,
    pair: &PairSync,
    shown: &ShownLinks,
    labels: &BTreeMap<TypeId, Option<String>>,
    now: Timestamp,
) -> Result<Taken, StoreError> {
    let key = &pair.mapping.key;
    let question = due::question(tx, (key, Side::From), shown.id)?;
    if question.map(|question| question.asked) != shown.asked {
        return Ok(Taken::Outdated);
    }
    let Some(row) = pair.from.table.by_hs_id(tx, shown.id)? else {
        noted::replace(tx, key, shown.id, &BTreeSet::<WaitingLink>::new())?;
        noted::replace(tx, key, shown.id, &BTreeSet::<MissedLink>::new())?;
        due::done(tx, (key, Side::From), shown.id)?;
        return Ok(Taken::In(0));
    };
    let from = row.record.local_id;
    let known = types::of(tx, &pair.mapping)?;
    let entries = rows::entries(tx, &pair.mapping, &known, from)?;
    if !may_be_taken(&entries) {
        let origin = shown.origin.unwrap_or(Origin::Reconcile);
        due::put_off(tx, (key, Side::From), shown.id, origin, now + AFTER_FLIGHT)?;
        return Ok(Taken::InFlight);
    }
    let mut found = FoundLinks::default();
    for (to, types) in &shown.links {
        found.add(tx, &pair.to, *to, types.iter().cloned())?;
    }
    let mut sides = OwnSides {
        rows: rows::from(tx, &pair.mapping, from)?,
        entries,
        shown: found.shown,
    };
    other_end::leave(tx, pair, &known, from, &mut sides, now)?;
    let OwnSides {
        rows: here,
        entries,
        shown: links,
    } = sides;
    let name = pair.mapping.name();
    let open = open_of(tx, &name, (ExclusiveEnd::From, from))?;
    let held = match pair.mapping.is_of_one_object() {
        true => conflicts::open_about(tx, &name, from)?,
        false => BTreeSet::new(),
    };
    let plain = plain_of(&known);
    let known_elsewhere = noted::of(tx, key, shown.id)?;
    let doubted = DoubtedLinks::look(tx, pair, &row, missed_of(&here, &entries, &links), now)?;
    let is_behind_ours = question.is_some_and(|question| question.origin == Origin::Push);
    let others = here.iter().map(|row| row.to);
    let unread: BTreeSet<LocalId> = others.filter(|_| is_behind_ours).collect();
    let changes = decide(LinkSides {
        rows: &here,
        entries: &entries,
        shown: &links,
        direction: pair.mapping.direction,
        policy: pair.mapping.policy,
        plain,
        exclusion: &Exclusion::of(&known, ExclusiveEnd::From),
        open: open.as_ref().map(|(_, links)| links),
        word: None,
        elsewhere: &found.waiting,
        known_elsewhere: Some(&known_elsewhere),
        held: &held,
        outdone: &other_end::outdone(tx, &pair.mapping, &known, (from, &here))?,
        doubted: &doubted.rows,
        unread: &unread,
    });
    let writing = Writing {
        tx,
        pair,
        name: &name,
        labels,
        end: ExclusiveEnd::From,
        own: (from, Some(shown.id)),
        origin: shown.origin,
        demoted_by: shown.demoted_by,
        is_decided: false,
        now,
    };
    if let Some(plain) = plain {
        for entry in &changes.demote {
            outbox::links::name_plain(tx, &pair.mapping, *entry, plain, &known)?;
        }
    }
    writing.carry_out(&changes, (&here, &entries), open.as_ref())?;
    // What HubSpot has beyond a pair that is only pushed waits for nobody's row.
    let mut others = found.waiting;
    others.retain(|_| pair.mapping.direction.pulls());
    noted::replace(tx, key, shown.id, &others)?;
    if let Some(origin) = shown.origin {
        ask_others(tx, pair, (&here, &changes), origin, now)?;
    }
    if doubted.is_to_be_looked_at {
        let origin = shown.origin.unwrap_or(Origin::Reconcile);
        due::put_off(tx, (key, Side::From), shown.id, origin, now + AFTER_FLIGHT)?;
    } else {
        due::done(tx, (key, Side::From), shown.id)?;
    }
    Ok(Taken::In(changes.come.len() + changes.go.len()))
}

/// The other direction is a row of the other record, in a pair of one object or one that is mapped in both orders, and nothing else may
/// have told of that one.
fn ask_others(
    tx: &Transaction<'_>,
    pair: &PairSync,
    (here, changes): (&[LinkRow], &LinkChanges),
    origin: Origin,
    now: Timestamp,
) -> Result<(), StoreError> {
    let Some(back) = pair.opposite() else {
        return Ok(());
    };
    let gone = here.iter().filter(|row| changes.go.contains(&row.id));
    let come = changes.come.iter().map(|link| link.to);
    let others: BTreeSet<LocalId> = come.chain(gone.map(|row| row.to)).collect();
    for other in others {
        let record = pair.to.table.by_local_id(tx, other)?;
        if let Some(id) = record.and_then(|row| row.record.hs_id) {
            due::ask(tx, &back.key, id, origin, now)?;
        }
    }
    Ok(())
}

/// Carries out what a person has said of an open conflict of the associations of a row that stands at an end of its pair, by what
/// it holds of HubSpot's side; without a word what became of it when a row went that it names.
pub(crate) fn decide_open(
    tx: &Transaction<'_>,
    pair: &PairSync,
    (end, local_id): (ExclusiveEnd, LocalId),
    word: Option<Winner>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let name = pair.mapping.name();
    let (object, other) = pair.seen_from(end);
    let (Some(row), Some((id, mut open))) = (
        object.table.by_local_id(tx, local_id)?,
        open_of(tx, &name, (end, local_id))?,
    ) else {
        return Ok(());
    };
    for list in [&mut open.base, &mut open.remote] {
        let mut there = Vec::new();
        for link in list.drain(..) {
            there.extend(other.table.by_local_id(tx, link.to)?.map(|_| link));
        }
        *list = there;
    }
    let known = types::of(tx, &pair.mapping)?;
    let (entries, here) = match end {
        ExclusiveEnd::From => (
            rows::entries(tx, &pair.mapping, &known, local_id)?,
            rows::from(tx, &pair.mapping, local_id)?,
        ),
        ExclusiveEnd::To => (
            rows::entries_at_other_end(tx, &pair.mapping, &known, local_id)?,
            rows::at_other_end(tx, &pair.mapping, local_id)?,
        ),
    };
    let elsewhere = match row.record.hs_id {
        Some(hs_id) if end == ExclusiveEnd::From => noted::of(tx, &pair.mapping.key, hs_id)?,
        Some(_) | None => BTreeSet::new(),
    };
    let changes = decide_held(LinkSides {
        rows: &here,
        entries: &entries,
        shown: &open.remote,
        direction: pair.mapping.direction,
        policy: pair.mapping.policy,
        plain: plain_of(&known),
        exclusion: &Exclusion::of(&known, end),
        open: Some(&open),
        word,
        elsewhere: &elsewhere,
        known_elsewhere: Some(&elsewhere),
        held: &BTreeSet::new(),
        outdone: &BTreeSet::new(),
        doubted: &BTreeSet::new(),
        unread: &BTreeSet::new(),
    });
    let writing = Writing {
        tx,
        pair,
        name: &name,
        labels: &labels_of(&known),
        end,
        own: (local_id, row.record.hs_id),
        origin: Some(Origin::Conflict),
        demoted_by: None,
        is_decided: word.is_some(),
        now,
    };
    writing.carry_out(&changes, (&here, &entries), Some(&(id, open.clone())))?;
    if end == ExclusiveEnd::From {
        ask_others(tx, pair, (&here, &changes), Origin::Poll, now)?;
    }
    let side = match end {
        ExclusiveEnd::From => Side::From,
        ExclusiveEnd::To => Side::To,
    };
    match row.record.hs_id {
        Some(hs_id) => due::ask_from(tx, (&pair.mapping.key, side), hs_id, Origin::Poll, now),
        None => Ok(()),
    }
}

/// The labels of a pair's types.
pub(super) fn labels_of(known: &[KnownType]) -> BTreeMap<TypeId, Option<String>> {
    let labels = known.iter();
    labels
        .map(|known| (known.id.clone(), known.label.clone()))
        .collect()
}

/// The open conflict of the associations of a row that stands at an end of a pair.
pub(super) fn open_of(
    tx: &Transaction<'_>,
    name: &ObjectType,
    (end, local_id): (ExclusiveEnd, LocalId),
) -> Result<Option<(ConflictId, OpenLinks)>, StoreError> {
    let Some((id, lists)) = conflicts::open_association(tx, name, (end, local_id))? else {
        return Ok(None);
    };
    let [base, local, remote] = lists.map(|list| {
        let links = json::listed(&list, end).into_iter();
        links.map(|(to, kind)| ShownLink { to, kind }).collect()
    });
    let open = OpenLinks {
        base,
        local,
        remote,
    };
    Ok(Some((id, open)))
}

/// The pair's plain type, where there is one alone.
pub(crate) fn plain_of(known: &[KnownType]) -> Option<&TypeId> {
    let mut plain = known
        .iter()
        .filter(|known| known.label.is_none() && !known.archived);
    let first = plain.next()?;
    plain.next().is_none().then_some(&first.id)
}

/// A record's associations, by whether the other record is in the mirror.
#[derive(Default)]
pub(super) struct FoundLinks {
    pub(super) shown: Vec<ShownLink>,
    pub(super) waiting: BTreeSet<WaitingLink>,
}

/// What is decided of a record's associations from where they start.
pub(super) struct OwnSides {
    pub(super) rows: Vec<LinkRow>,
    pub(super) entries: Vec<LinkEntry>,
    pub(super) shown: Vec<ShownLink>,
}

impl FoundLinks {
    pub(super) fn add(
        &mut self,
        tx: &Transaction<'_>,
        object: &ObjectSync,
        to: HubspotId,
        types: impl Iterator<Item = TypeId>,
    ) -> Result<(), StoreError> {
        match object.table.by_hs_id(tx, to)? {
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
#[derive(Clone, Copy)]
pub(super) struct Writing<'a> {
    pub(super) tx: &'a Transaction<'a>,
    pub(super) pair: &'a PairSync,
    /// The pair's key, as history and conflicts name it.
    pub(super) name: &'a ObjectType,
    pub(super) labels: &'a BTreeMap<TypeId, Option<String>>,
    /// The end at which the record stands whose associations these are.
    pub(super) end: ExclusiveEnd,
    /// That record.
    pub(super) own: (LocalId, Option<HubspotId>),
    pub(super) origin: Option<Origin>,
    /// Whose doing it is that a primary went, as far as that is known.
    pub(super) demoted_by: Option<Origin>,
    /// Whether a person has decided the open conflict.
    pub(super) is_decided: bool,
    pub(super) now: Timestamp,
}

impl Writing<'_> {
    /// Carries out what was decided of a record's associations.
    pub(super) fn carry_out(
        &self,
        changes: &LinkChanges,
        (here, entries): (&[LinkRow], &[LinkEntry]),
        open: Option<&(ConflictId, OpenLinks)>,
    ) -> Result<(), StoreError> {
        let (tx, mapping) = (self.tx, &self.pair.mapping);
        for conflict in &changes.conflicts {
            self.conflict(conflict)?;
        }
        for link in &changes.come {
            let label = self.label(&link.kind);
            rows::insert(tx, mapping, self.rows_of(link.to), &link.kind, label)?;
            let mut ended = entries
                .iter()
                .filter(|entry| changes.end.contains(&entry.id));
            // With what a request of ours made comes what that implies.
            let writing = match ended.any(|entry| entry.may_have_made(link.to)) {
                true => self.pushing(),
                false => *self,
            };
            writing.record(link.to, Some(&link.kind), label, LinkWay::Came)?;
        }
        for row in here.iter().filter(|row| changes.go.contains(&row.id)) {
            rows::delete(tx, row.id)?;
            let writing = match (self.demoted_by, &row.kind) {
                (Some(origin), Some(kind)) if kind.is_primary() => Writing {
                    origin: Some(origin),
                    ..*self
                },
                (Some(_) | None, _) => *self,
            };
            writing.record(
                row.to,
                row.kind.as_ref(),
                row.label.as_deref(),
                LinkWay::Went,
            )?;
        }
        for entry in entries
            .iter()
            .filter(|entry| changes.end.contains(&entry.id))
        {
            // What came of it, or in its place where it knew no type, has its line.
            let is_told = |link: &ShownLink| {
                let kind = entry.kind.as_ref();
                entry.may_have_made(link.to) && kind.is_none_or(|kind| *kind == link.kind)
            };
            if entry.is_in_doubt && !changes.come.iter().any(is_told) {
                self.landed(entry)?;
            }
            outbox::end(tx, entry.id)?;
        }
        let (make, take) = (self.list(&changes.make)?, self.list(&changes.take)?);
        outbox::links::insert_listed(tx, mapping, &make)?;
        outbox::links::associate_listed(tx, mapping, &make, self.now)?;
        outbox::links::disassociate_listed(tx, mapping, &take, self.now)?;
        match open.zip(changes.open.as_ref()) {
            Some(((id, former), change)) => self.move_open(*id, former, change),
            None => Ok(()),
        }
    }

    /// An open conflict ends, or is about other associations from now on; what HubSpot no longer has of it goes to the history.
    fn move_open(
        &self,
        id: ConflictId,
        former: &OpenLinks,
        change: &OpenChange,
    ) -> Result<(), StoreError> {
        let now = match change {
            OpenChange::Ends(winner) => {
                self.ask_other_ends(former)?;
                let end = match self.is_decided && *winner != Winner::Agreed {
                    true => End {
                        winner: *winner,
                        resolution: winner.as_str(),
                        reason: "a person decided",
                    },
                    false => ended_by_itself(*winner),
                };
                return conflicts::close(self.tx, id, end, self.now);
            }
            OpenChange::Moves(now) => now,
        };
        let gone = former
            .remote
            .iter()
            .filter(|link| !now.remote.contains(link));
        let contested = Writing {
            origin: Some(Origin::Conflict),
            ..*self
        };
        for link in gone {
            let label = self.label(&link.kind);
            contested.record(link.to, Some(&link.kind), label, LinkWay::Went)?;
        }
        let (base, local) = (self.list(&now.base)?, self.list(&now.local)?);
        let remote = self.list(&now.remote)?;
        if self.end == ExclusiveEnd::To {
            let (from, hs_id) = self.stands_by(&now.local, &now.remote)?;
            conflicts::stand_by(self.tx, id, from, hs_id)?;
        }
        conflicts::move_association(self.tx, id, [&base, &local, &remote])
    }

    /// What an open conflict was about waited for it at its other ends too: that of a pair of one object, and that of a record where
    /// associations lead.
    fn ask_other_ends(&self, former: &OpenLinks) -> Result<(), StoreError> {
        if !self.pair.mapping.is_of_one_object() && self.end == ExclusiveEnd::From {
            return Ok(());
        }
        let all = former
            .base
            .iter()
            .chain(&former.local)
            .chain(&former.remote);
        let others: BTreeSet<LocalId> = all.map(|link| link.to).collect();
        for other in others {
            let row = self.other().table.by_local_id(self.tx, other)?;
            if let Some(id) = row.and_then(|row| row.record.hs_id) {
                due::ask(self.tx, &self.pair.mapping.key, id, Origin::Poll, self.now)?;
            }
        }
        Ok(())
    }

    /// The object at the other end.
    fn other(&self) -> &ObjectSync {
        self.pair.seen_from(self.end).1
    }

    /// The two rows of an association, from and to.
    fn rows_of(&self, other: LocalId) -> (LocalId, LocalId) {
        match self.end {
            ExclusiveEnd::From => (self.own.0, other),
            ExclusiveEnd::To => (other, self.own.0),
        }
    }

    /// The row where the associations of a conflict start, and its record: of those that start from several rows ours, or HubSpot's
    /// where we have none.
    fn stands_by(
        &self,
        local: &[ShownLink],
        remote: &[ShownLink],
    ) -> Result<(LocalId, Option<HubspotId>), StoreError> {
        let first = local.first().or_else(|| remote.first());
        let Some(first) = first.filter(|_| self.end == ExclusiveEnd::To) else {
            return Ok(self.own);
        };
        let row = self.pair.from.table.by_local_id(self.tx, first.to)?;
        Ok((first.to, row.and_then(|row| row.record.hs_id)))
    }

    fn label(&self, kind: &TypeId) -> Option<&str> {
        self.labels.get(kind).and_then(Option::as_deref)
    }

    /// Associations as a conflict has them.
    fn list(&self, links: &[ShownLink]) -> Result<String, StoreError> {
        self.list_with(links, &[])
    }

    /// The same with those whose other record is not in the mirror.
    fn list_with(
        &self,
        links: &[ShownLink],
        elsewhere: &[WaitingLink],
    ) -> Result<String, StoreError> {
        let one = |link| {
            let ShownLink { to, kind }: &ShownLink = link;
            self.json(*to, Some(kind), self.label(kind))
        };
        let mut links = links.iter().map(one).collect::<Result<Vec<_>, _>>()?;
        let away = elsewhere.iter().map(|(record, kind)| {
            self.json_of((None, Some(*record)), Some(kind), self.label(kind))
        });
        links.extend(away);
        Ok(LinkJson::list(&links))
    }

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
        self.pushing().record(entry.to, kind, label, way)
    }

    /// The same of what a push of ours did.
    fn pushing(&self) -> Self {
        Self {
            origin: Some(Origin::Push),
            ..*self
        }
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
        told::record(self.tx, &self.pair.mapping, link, (way, origin), self.now).map(drop)
    }

    fn json<'b>(
        &self,
        to: LocalId,
        kind: Option<&'b TypeId>,
        label: Option<&'b str>,
    ) -> Result<LinkJson<'b>, StoreError> {
        let row = self.other().table.by_local_id(self.tx, to)?;
        let other = (Some(to), row.and_then(|row| row.record.hs_id));
        Ok(self.json_of(other, kind, label))
    }

    /// The same of another record, in the mirror or outside.
    fn json_of<'b>(
        &self,
        other: (Option<LocalId>, Option<HubspotId>),
        kind: Option<&'b TypeId>,
        label: Option<&'b str>,
    ) -> LinkJson<'b> {
        let own = (Some(self.own.0), self.own.1);
        let (from, to) = match self.end {
            ExclusiveEnd::From => (own, other),
            ExclusiveEnd::To => (other, own),
        };
        LinkJson {
            from_local_id: from.0,
            from_hs_id: from.1,
            to_local_id: to.0,
            to_hs_id: to.1,
            kind,
            label,
        }
    }

    /// Writes a conflict down, once.
    fn conflict(&self, conflict: &LinkConflict) -> Result<(), StoreError> {
        let (base, local) = (self.list(&conflict.base)?, self.list(&conflict.local)?);
        let remote = self.list_with(&conflict.remote, &conflict.elsewhere)?;
        let (local_id, hs_id) = self.stands_by(&conflict.local, &conflict.remote)?;
        let about = About {
            object: self.name,
            local_id,
            hs_id,
        };
        let new = NewConflict {
            property: conflicts::ASSOCIATION,
            base: Some(&base),
            base_known: true,
            local: Some(&local),
            remote: Some(&remote),
            policy: self.pair.mapping.policy.as_str(),
            reason: conflict.reason,
            set: None,
        };
        match conflict.winner {
            Some(winner) if conflicts::is_recorded(self.tx, about, new, winner)? => Ok(()),
            Some(winner) => conflicts::record_closed(self.tx, about, new, winner, self.now),
            None if self.end == ExclusiveEnd::To => {
                conflicts::record_open_at(self.tx, about, new, self.own.0, self.now)
            }
            None => conflicts::record_open(self.tx, about, new, self.now),
        }
    }
}
