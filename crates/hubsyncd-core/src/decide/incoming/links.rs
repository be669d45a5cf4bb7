//! What becomes of a record's associations when HubSpot has shown them: which rows come, which go, which entries have
//! nothing left to send.
//!
//! What HubSpot is known to have (the base) is the rows without those that wait for their `associate`, and with those that
//! wait for their `disassociate`. A type of a pair is there or not, so two sides that changed it agree.
//!
//! Of a pair that is only pushed the rows are what programs made and what HubSpot implies of it. What somebody there has taken away is
//! recorded and made again, what somebody added is left alone and does not come.
//!
//! What a person is to decide stays as it is on each side, and nothing is sent of it, until the sides meet or one of them goes
//! back to what both had.

use std::collections::BTreeSet;

use crate::decide::portal::exclusion::{Excludes, Exclusion};
use crate::model::association::TypeId;
use crate::model::conflict::Winner;
use crate::model::entry::{EntryState, Operation};
use crate::model::id::{HubspotId, LocalId, OutboxId};
use crate::model::mapping::{Direction, Policy};

/// A row of `associations`, from the record that HubSpot was asked about: mostly that is where the row starts. Asked about the record
/// where rows lead, `to` is where each starts, here and in all that follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkRow {
    /// The row's own number.
    pub id: i64,
    /// The row that it leads to.
    pub to: LocalId,
    /// Its type; `None` while it waits for the pair's default, or for its label to be known.
    pub kind: Option<TypeId>,
    /// Its label.
    pub label: Option<String>,
}

/// An association's entry of the outbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkEntry {
    /// The entry.
    pub id: OutboxId,
    /// `associate` or `disassociate`.
    pub operation: Operation,
    /// Where it stands.
    pub state: EntryState,
    /// The row that it leads to.
    pub to: LocalId,
    /// The type; `None` for the pair's default, or where a label alone is known.
    pub kind: Option<TypeId>,
    /// Whether it takes all types of the pair away: the plain one goes.
    pub takes_all: bool,
    /// Whether an attempt of it went out that nobody has answered: where HubSpot has come to what it asks for, it was us.
    pub is_in_doubt: bool,
}

impl LinkEntry {
    /// Whether what HubSpot has between its two records may be what a request of ours made whose answer was lost.
    pub fn may_have_made(&self, to: LocalId) -> bool {
        self.operation == Operation::Associate && self.to == to && self.is_in_doubt
    }
}

/// An association that HubSpot shows, whose other record is in the mirror.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ShownLink {
    /// The row that it leads to.
    pub to: LocalId,
    /// Its type.
    pub kind: TypeId,
}

/// What is known of a record's associations on both sides.
#[derive(Debug, Clone, Copy)]
pub struct LinkSides<'a> {
    /// The rows.
    pub rows: &'a [LinkRow],
    /// The entries.
    pub entries: &'a [LinkEntry],
    /// What HubSpot shows.
    pub shown: &'a [ShownLink],
    /// Who may write: of a pair that is only pushed HubSpot's word is never taken.
    pub direction: Direction,
    /// Who wins where what both sides changed excludes each other.
    pub policy: Policy,
    /// The pair's plain type, where it is known.
    pub plain: Option<&'a TypeId>,
    /// What of the pair's types excludes what.
    pub exclusion: &'a Exclusion,
    /// The conflict of the record's associations that waits for a person.
    pub open: Option<&'a OpenLinks>,
    /// What a person has said of it.
    pub word: Option<Winner>,
    /// What HubSpot shows of records that are not in the mirror.
    pub elsewhere: &'a BTreeSet<(HubspotId, TypeId)>,
    /// What it showed of such records before; `None` where nobody has noted it.
    pub known_elsewhere: Option<&'a BTreeSet<(HubspotId, TypeId)>>,
    /// Rows of a pair of one object whose open conflict is also about this record: what is between the two waits for that.
    pub held: &'a BTreeSet<LocalId>,
    /// Rows, by their numbers, whose type a younger row of ours has taken at the other end.
    pub outdone: &'a BTreeSet<i64>,
    /// Rows at the other end of which nobody knows whether they lost their associations, or one of the two records is gone
    /// with all of its own (`decide/incoming/unshown`).
    pub doubted: &'a BTreeSet<LocalId>,
    /// Rows with which an association of ours was made, and nobody has read since what HubSpot made beside it.
    pub unread: &'a BTreeSet<LocalId>,
}

/// A conflict of a record's associations that waits for a person: those of each side which it is about.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OpenLinks {
    /// What both sides had.
    pub base: Vec<ShownLink>,
    /// Ours.
    pub local: Vec<ShownLink>,
    /// HubSpot's.
    pub remote: Vec<ShownLink>,
}

/// What becomes of that conflict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OpenChange {
    /// It is over.
    Ends(Winner),
    /// It is about these from now on.
    Moves(OpenLinks),
}

/// What both sides changed and can't both have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkConflict {
    /// Whose associations stand; `None`: a person decides.
    pub winner: Option<Winner>,
    /// What both sides had.
    pub base: Vec<ShownLink>,
    /// Ours.
    pub local: Vec<ShownLink>,
    /// HubSpot's.
    pub remote: Vec<ShownLink>,
    /// HubSpot's whose other record is not in the mirror.
    pub elsewhere: Vec<(HubspotId, TypeId)>,
    /// Why it ended as it did, or what it waits for.
    pub reason: &'static str,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LinkChanges {
    /// Associations that come, in the order in which they were shown.
    pub come: Vec<ShownLink>,
    /// Rows that go, by their numbers.
    pub go: Vec<i64>,
    /// Entries that have nothing left to send: HubSpot holds already what they ask for, or what they ask for has lost.
    pub end: Vec<OutboxId>,
    /// Entries whose type, and whose row's, becomes the plain one: the exclusive one has lost.
    pub demote: Vec<OutboxId>,
    /// Associations that are to be made in HubSpot, with their rows: an open conflict has ended so.
    pub make: Vec<ShownLink>,
    /// Associations that are to be taken away there, likewise.
    pub take: Vec<ShownLink>,
    /// Conflicts, decided ones and one that opens.
    pub conflicts: Vec<LinkConflict>,
    /// What becomes of the conflict that was open.
    pub open: Option<OpenChange>,
}

/// Whether an answer may be taken in: while an entry of the record is in flight, nobody knows whether the answer is from
/// before it.
pub fn may_be_taken(entries: &[LinkEntry]) -> bool {
    entries
        .iter()
        .all(|entry| entry.state != EntryState::InFlight)
}

/// Decides what becomes of a record's associations.
pub fn decide(sides: LinkSides<'_>) -> LinkChanges {
    let scope = sides.held_scope();
    let mut changes = merged(sides, &scope);
    if !sides.direction.pulls() {
        sides.push_over(&mut changes);
    }
    for entry in sides.entries.iter().filter(|entry| {
        !scope.has(entry.to, entry.kind.as_ref()) && !sides.held.contains(&entry.to)
    }) {
        match entry.operation {
            Operation::Associate => sides.contest_exclusive(entry, &mut changes),
            Operation::Disassociate => sides.contest_deleted(entry, &mut changes),
            Operation::Create | Operation::Update | Operation::Archive => {}
        }
    }
    sides.hold(&mut changes);
    changes.end.sort_unstable();
    changes.end.dedup();
    changes
}

/// Decides of what excludes others alone, where HubSpot was asked about the record to which a pair's rows lead: what else becomes of
/// each association is decided from where it starts.
pub fn decide_exclusive(sides: LinkSides<'_>) -> LinkChanges {
    let scope = sides.held_scope();
    let is_held = |entry: &&LinkEntry| scope.has(entry.to, entry.kind.as_ref());
    let held = sides.entries.iter().filter(is_held);
    let mut changes = LinkChanges {
        come: merged(sides, &scope).come,
        end: held.map(|entry| entry.id).collect(),
        ..LinkChanges::default()
    };
    for entry in sides.entries.iter().filter(|entry| !is_held(entry)) {
        if entry.operation == Operation::Associate {
            sides.contest_exclusive(entry, &mut changes);
        }
    }
    let is_rival = |link: &ShownLink| {
        changes
            .conflicts
            .iter()
            .any(|one| one.remote.contains(link))
    };
    changes.come.retain(is_rival);
    sides.hold(&mut changes);
    changes
}

/// Decides about the open conflict alone, where nothing is known of HubSpot's side but what that holds.
pub fn decide_held(sides: LinkSides<'_>) -> LinkChanges {
    let scope = sides.held_scope();
    let own = |entry: &&LinkEntry| scope.has(entry.to, entry.kind.as_ref());
    let own = sides.entries.iter().filter(own);
    let mut changes = LinkChanges {
        end: own.map(|entry| entry.id).collect(),
        ..LinkChanges::default()
    };
    sides.hold(&mut changes);
    changes
}

/// What of a record's associations a person is to decide: whose the exclusive types are, and what becomes of pairs.
#[derive(Debug, Default)]
struct Scope {
    /// The exclusive types.
    kinds: BTreeSet<TypeId>,
    /// Whether all associations of the record exclude each other.
    of_all: bool,
    pairs: BTreeSet<LocalId>,
}

impl Scope {
    fn of(open: &OpenLinks, exclusion: &Exclusion) -> Self {
        let all = || open.base.iter().chain(&open.local).chain(&open.remote);
        let of_pairs = all().filter(|link| exclusion.why(Some(&link.kind)).is_none());
        let pairs: BTreeSet<LocalId> = of_pairs.map(|link| link.to).collect();
        let kinds = all().filter(|link| !pairs.contains(&link.to));
        let kinds: BTreeSet<TypeId> = kinds.map(|link| link.kind.clone()).collect();
        let of_all = exclusion.why(None).is_some() && !kinds.is_empty();
        Self {
            kinds,
            of_all,
            pairs,
        }
    }

    fn has(&self, to: LocalId, kind: Option<&TypeId>) -> bool {
        self.pairs.contains(&to) || self.has_kind(kind)
    }

    fn has_kind(&self, kind: Option<&TypeId>) -> bool {
        self.of_all || kind.is_some_and(|kind| self.kinds.contains(kind))
    }

    fn of_shown(&self, shown: &[ShownLink]) -> BTreeSet<ShownLink> {
        let own = shown
            .iter()
            .filter(|link| self.has(link.to, Some(&link.kind)));
        own.cloned().collect()
    }
}

/// What becomes of each association for itself.
fn merged(sides: LinkSides<'_>, scope: &Scope) -> LinkChanges {
    let LinkSides {
        rows,
        entries,
        shown,
        held,
        doubted,
        ..
    } = sides;
    let is_shown =
        |to: LocalId, kind: &TypeId| shown.iter().any(|link| link.to == to && link.kind == *kind);
    let of = |operation: Operation, to: LocalId| {
        entries
            .iter()
            .filter(move |entry| entry.operation == operation && entry.to == to)
    };
    let has_row = |link: &ShownLink| {
        rows.iter()
            .any(|row| row.to == link.to && row.kind.as_ref() == Some(&link.kind))
    };
    let is_being_taken = |link: &ShownLink| {
        of(Operation::Disassociate, link.to)
            .any(|entry| entry.takes_all || entry.kind.as_ref() == Some(&link.kind))
    };
    let waits =
        |row: &LinkRow| of(Operation::Associate, row.to).any(|entry| entry.kind == row.kind);
    let goes = |row: &&LinkRow| match &row.kind {
        _ if doubted.contains(&row.to) || held.contains(&row.to) => false,
        kind if scope.has(row.to, kind.as_ref()) => false,
        Some(kind) => !is_shown(row.to, kind) && !waits(row),
        None => !waits(row),
    };
    let is_done = |entry: &&LinkEntry| match (entry.operation, &entry.kind) {
        _ if held.contains(&entry.to) => false,
        (_, kind) if scope.has(entry.to, kind.as_ref()) => true,
        (Operation::Associate, Some(kind)) => is_shown(entry.to, kind),
        (Operation::Disassociate, Some(_)) if entry.takes_all => {
            shown.iter().all(|link| link.to != entry.to)
        }
        (Operation::Disassociate, Some(kind)) => !is_shown(entry.to, kind),
        _ => false,
    };
    LinkChanges {
        come: shown
            .iter()
            .filter(|link| {
                sides.takes(link)
                    && !has_row(link)
                    && !is_being_taken(link)
                    && !held.contains(&link.to)
                    && !scope.has(link.to, Some(&link.kind))
            })
            .cloned()
            .collect(),
        go: rows.iter().filter(goes).map(|row| row.id).collect(),
        end: entries
            .iter()
            .filter(is_done)
            .map(|entry| entry.id)
            .collect(),
        ..LinkChanges::default()
    }
}

impl LinkSides<'_> {
    fn held_scope(&self) -> Scope {
        let open = self.open.map(|open| Scope::of(open, self.exclusion));
        open.unwrap_or_default()
    }

    /// Whether what HubSpot shows beyond the rows comes: of a pair that is only pushed, what it implies of ours.
    fn takes(&self, link: &ShownLink) -> bool {
        let is_ours = || self.rows.iter().any(|row| row.to == link.to);
        let is_made_beside_ours = || match self.plain == Some(&link.kind) {
            true => true,
            false => self.may_be_implied(link),
        };
        may_come(self.direction, &link.kind, self.plain)
            && (self.direction.pulls() || (is_ours() && is_made_beside_ours()))
    }

    /// Rows of a pair that is only pushed stay where somebody in HubSpot has taken their associations away: that is recorded, and they
    /// are made again. A primary that another row of ours has taken from one goes.
    fn push_over(&self, changes: &mut LinkChanges) {
        let (mut made, mut gone) = (Vec::new(), Vec::new());
        for id in std::mem::take(&mut changes.go) {
            let row = self.rows.iter().find(|row| row.id == id);
            let Some((row, kind)) = row.and_then(|row| Some((row, row.kind.clone()?))) else {
                gone.push(id);
                continue;
            };
            match self.is_taken_by_ours(row) {
                true => gone.push(id),
                false => made.push(ShownLink { to: row.to, kind }),
            }
        }
        changes.go = gone;
        if made.is_empty() {
            return;
        }
        let is_of_same = |link: &&ShownLink| made.iter().any(|own| own.to == link.to);
        changes.conflicts.push(LinkConflict {
            winner: Some(Winner::Local),
            base: made.clone(),
            local: made.clone(),
            remote: self.shown.iter().filter(is_of_same).cloned().collect(),
            elsewhere: Vec::new(),
            reason: PUSH_ONLY,
        });
        changes.make.extend(made);
    }

    /// Whether another row of ours has taken a row's primary from it: a younger one, or the one that HubSpot shows.
    fn is_taken_by_ours(&self, row: &LinkRow) -> bool {
        let kind = row.kind.as_ref();
        let is_rival = |other: &&LinkRow| {
            other.to != row.to && self.exclusion.parts(kind, other.kind.as_ref())
        };
        let is_shown = |other: &LinkRow| {
            let mut shown = self.shown.iter();
            shown.any(|link| link.to == other.to && Some(&link.kind) == other.kind.as_ref())
        };
        let is_primary = self.exclusion.why(kind) == Some(Excludes::Primary);
        let mut rivals = self.rows.iter().filter(is_rival);
        self.outdone.contains(&row.id)
            || (is_primary && rivals.any(|other| other.id > row.id || is_shown(other)))
    }

    /// Who wins: of a pair that is only pushed, our side.
    fn stands(&self) -> Policy {
        match self.direction.pulls() {
            true => self.policy,
            false => Policy::Local,
        }
    }

    /// An association of ours that excludes one which HubSpot's side named since.
    fn contest_exclusive(&self, entry: &LinkEntry, changes: &mut LinkChanges) {
        let kind = entry.kind.as_ref();
        let Some(excludes) = self.exclusion.why(kind) else {
            return;
        };
        let given = |link: &&ShownLink| self.exclusion.parts(kind, Some(&link.kind));
        let given = self.shown.iter().filter(given);
        let is_ours = |link: &ShownLink| link.to == entry.to;
        if given.clone().any(is_ours) || self.is_contested(entry, changes) {
            return;
        }
        // What both sides name under a limit is one too many on both.
        let is_new = |link: &&ShownLink| {
            !self.was_known(link)
                && match excludes {
                    Excludes::Primary => !self.may_be_implied(link),
                    Excludes::Limited | Excludes::Pair => !self.is_here(link),
                }
        };
        let rivals: Vec<ShownLink> = given.filter(is_new).cloned().collect();
        let is_away = |link: &&(HubspotId, TypeId)| {
            self.exclusion.parts(kind, Some(&link.1)) && self.is_new_elsewhere(link)
        };
        let away = self.elsewhere.iter().find(is_away).cloned();
        if rivals.is_empty() && away.is_none() {
            return;
        }
        let (winner, reason) = match self.stands() {
            Policy::Remote | Policy::Newest => (Some(Winner::Remote), BOTH_NAMED_ONE),
            Policy::Local => (Some(Winner::Local), BOTH_NAMED_ONE),
            Policy::Manual => (None, WAITS),
        };
        match (winner, excludes) {
            (Some(Winner::Remote), Excludes::Pair) => self.give_up_pair(entry.to, changes),
            (Some(Winner::Remote), Excludes::Primary | Excludes::Limited) => {
                self.demote(entry, changes);
            }
            // HubSpot's comes as the base over which ours goes out; what ours implies takes it away again.
            (Some(_), Excludes::Primary) => {}
            // Nobody here can take away what leads to a record that is not in the mirror: HubSpot refuses ours.
            (Some(_), _) if rivals.is_empty() => return,
            // What people made there under a limit is nothing of ours to take away: HubSpot refuses ours likewise.
            (Some(_), Excludes::Limited | Excludes::Pair) if !self.direction.pulls() => return,
            (Some(_), Excludes::Limited | Excludes::Pair) => {
                changes.come.retain(|link| !rivals.contains(link));
                changes.take.extend_from_slice(&rivals);
            }
            (None, _) => {
                changes.come.retain(|link| !rivals.contains(link));
                changes.end.extend(self.makes(entry, excludes));
            }
        }
        changes.conflicts.push(LinkConflict {
            winner,
            base: self.base(|_, known| self.exclusion.parts(kind, Some(known))),
            local: self.named_by(entry, excludes),
            remote: rivals,
            elsewhere: away.into_iter().collect(),
            reason,
        });
    }

    /// Whether HubSpot may have named a primary by itself, beside an association of ours whose answer was lost, or was not read any
    /// further: nobody there has said a word against ours.
    fn may_be_implied(&self, link: &ShownLink) -> bool {
        let is_ours = |entry: &LinkEntry| entry.may_have_made(link.to);
        self.unread.contains(&link.to) || self.entries.iter().any(is_ours)
    }

    /// Whether HubSpot has associated a record that is not in the mirror since both sides agreed. Where nobody has noted what it had
    /// before, that is known where it has taken another one's place.
    fn is_new_elsewhere(&self, link: &(HubspotId, TypeId)) -> bool {
        match self.known_elsewhere {
            Some(known) => !known.contains(link),
            None => {
                let replaced = self.base(|_, kind| self.exclusion.parts(Some(&link.1), Some(kind)));
                replaced.iter().any(|former| !self.shown.contains(former))
            }
        }
    }

    /// Whether the pair of an entry, all of which excludes others, is in conflict already by another of its types.
    fn is_contested(&self, entry: &LinkEntry, changes: &LinkChanges) -> bool {
        let is_of = |link: &ShownLink| link.to == entry.to;
        let mut conflicts = changes.conflicts.iter();
        self.exclusion.why(entry.kind.as_ref()) == Some(Excludes::Pair)
            && conflicts.any(|conflict| conflict.local.iter().any(is_of))
    }

    /// Whether a row of ours says the same.
    fn is_here(&self, link: &ShownLink) -> bool {
        let mut rows = self.rows.iter();
        rows.any(|row| row.to == link.to && row.kind.as_ref() == Some(&link.kind))
    }

    /// What goes out with an entry and excludes the same: itself, or all that is to be made of its pair.
    fn makes(&self, entry: &LinkEntry, excludes: Excludes) -> Vec<OutboxId> {
        let of_pair = |other: &&LinkEntry| {
            excludes == Excludes::Pair
                && other.operation == Operation::Associate
                && other.to == entry.to
        };
        let own = |other: &&LinkEntry| other.id == entry.id || of_pair(other);
        let own = self.entries.iter().filter(own);
        own.map(|other| other.id).collect()
    }

    /// What an entry names that excludes others: its type, or all of its pair.
    fn named_by(&self, entry: &LinkEntry, excludes: Excludes) -> Vec<ShownLink> {
        let link = |kind: &TypeId| ShownLink {
            to: entry.to,
            kind: kind.clone(),
        };
        if excludes != Excludes::Pair {
            return entry.kind.iter().map(link).collect();
        }
        let rows = self.rows.iter().filter(|row| row.to == entry.to);
        let kinds: BTreeSet<&TypeId> = rows.filter_map(|row| row.kind.as_ref()).collect();
        kinds
            .into_iter()
            .chain(entry.kind.as_ref().filter(|_| self.rows.is_empty()))
            .map(link)
            .collect()
    }

    /// All that is to be made of a pair of ours loses: nothing is left of it that HubSpot would take.
    fn give_up_pair(&self, to: LocalId, changes: &mut LinkChanges) {
        let rows = self.rows.iter().filter(|row| row.to == to);
        changes.go.extend(rows.map(|row| row.id));
        changes.go.sort_unstable();
        changes.go.dedup();
        let made = |entry: &&LinkEntry| entry.operation == Operation::Associate && entry.to == to;
        let made = self.entries.iter().filter(made);
        changes.end.extend(made.map(|entry| entry.id));
    }

    /// What HubSpot is known to have had, of some of a record's associations.
    fn base(&self, which: impl Fn(LocalId, &TypeId) -> bool) -> Vec<ShownLink> {
        let rows = self.rows.iter().map(|row| (row.to, &row.kind));
        let taken = self.entries.iter().map(|entry| (entry.to, &entry.kind));
        let all = rows.chain(taken).filter_map(|(to, kind)| {
            let kind = kind.clone().filter(|kind| which(to, kind))?;
            Some(ShownLink { to, kind })
        });
        let known: BTreeSet<ShownLink> = all.filter(|link| self.was_known(link)).collect();
        known.into_iter().collect()
    }

    /// Whether an association is part of the base.
    fn was_known(&self, link: &ShownLink) -> bool {
        let is_same =
            |to: LocalId, kind: Option<&TypeId>| to == link.to && kind == Some(&link.kind);
        let entry = |operation: Operation| {
            self.entries
                .iter()
                .any(|entry| entry.operation == operation && is_same(entry.to, entry.kind.as_ref()))
        };
        let has_row = self
            .rows
            .iter()
            .any(|row| is_same(row.to, row.kind.as_ref()));
        entry(Operation::Disassociate) || (has_row && !entry(Operation::Associate))
    }

    /// Our exclusive type loses: the pair keeps its plain one, which goes out like any other.
    fn demote(&self, entry: &LinkEntry, changes: &mut LinkChanges) {
        let own = |row: &&LinkRow| row.to == entry.to && row.kind == entry.kind;
        let Some(row) = self.rows.iter().find(own) else {
            changes.end.push(entry.id);
            return;
        };
        let has_plain = self.has_plain(entry.to);
        if has_plain {
            changes.go.push(row.id);
            changes.end.push(entry.id);
        } else {
            changes.demote.push(entry.id);
        }
    }

    /// Whether a pair needs no plain type of ours: each side has one, or nobody knows it.
    fn has_plain(&self, to: LocalId) -> bool {
        let Some(plain) = self.plain else {
            return true;
        };
        let is_shown = |link: &ShownLink| link.to == to && link.kind == *plain;
        let is_here = |row: &LinkRow| row.to == to && row.kind.as_ref() == Some(plain);
        self.shown.iter().any(is_shown) || self.rows.iter().any(is_here)
    }

    /// A pair that was deleted here, to which HubSpot added a type since.
    fn contest_deleted(&self, entry: &LinkEntry, changes: &mut LinkChanges) {
        if !entry.takes_all {
            return;
        }
        let of_pair = || self.shown.iter().filter(|link| link.to == entry.to);
        if of_pair().all(|link| self.was_known(link)) {
            return;
        }
        let (winner, reason) = match self.stands() {
            Policy::Remote | Policy::Newest => (Some(Winner::Remote), LABELLED_SINCE),
            Policy::Local => (Some(Winner::Local), LABELLED_SINCE),
            Policy::Manual => (None, LABELLED_WAITS),
        };
        if winner == Some(Winner::Remote) {
            let missing = of_pair().filter(|link| !changes.come.contains(link));
            let missing: Vec<ShownLink> = missing.cloned().collect();
            changes.come.extend(missing);
        }
        if winner != Some(Winner::Local) {
            let of_same = |other: &&LinkEntry| {
                other.operation == Operation::Disassociate && other.to == entry.to
            };
            let ends = self.entries.iter().filter(of_same).map(|other| other.id);
            changes.end.extend(ends);
        }
        changes.conflicts.push(LinkConflict {
            winner,
            base: self.base(|to, _| to == entry.to),
            local: Vec::new(),
            remote: of_pair().cloned().collect(),
            elsewhere: Vec::new(),
            reason,
        });
    }

    /// What waits for a person is one conflict of the record: it moves with both sides, takes in what is contested beside it, and
    /// ends by itself where they meet or one of them goes back to what both had.
    fn hold(&self, changes: &mut LinkChanges) {
        let mut all = self.open.cloned().unwrap_or_default();
        let (mut reason, mut elsewhere) = (None, Vec::new());
        changes.conflicts.retain(|new| {
            if new.winner.is_none() {
                all.base.extend_from_slice(&new.base);
                all.local.extend_from_slice(&new.local);
                all.remote.extend_from_slice(&new.remote);
                elsewhere.extend_from_slice(&new.elsewhere);
                reason.get_or_insert(new.reason);
            }
            new.winner.is_some()
        });
        if self.open.is_none() && reason.is_none() {
            return;
        }
        let scope = Scope::of(&all, self.exclusion);
        let base = scope.of_shown(&all.base);
        let there = scope.of_shown(self.shown);
        let here = self.held_here(&scope, changes);
        let now = OpenLinks {
            base: base.iter().cloned().collect(),
            local: here.iter().cloned().collect(),
            remote: there.iter().cloned().collect(),
        };
        if self.open.is_none() {
            changes.conflicts.push(LinkConflict {
                winner: None,
                base: now.base,
                local: now.local,
                remote: now.remote,
                elsewhere,
                reason: reason.unwrap_or(WAITS),
            });
            return;
        }
        // Of a record that is not in the mirror yet nothing is concluded: its arrival asks again.
        let mut elsewhere_now = self.elsewhere.iter();
        let is_away = elsewhere_now.any(|(_, kind)| scope.has_kind(Some(kind)));
        let winner = match self.word {
            None if is_away && reason.is_none() => return,
            None if is_away => None,
            _ if here == there => Some(Winner::Agreed),
            None if there == base => Some(Winner::Local),
            None if here == base => Some(Winner::Remote),
            word => word,
        };
        match winner {
            Some(Winner::Remote) => self.give_way(&here, &there, changes),
            Some(Winner::Local) => self.send_ours(&here, &there, changes),
            Some(Winner::Agreed | Winner::Value) | None => {}
        }
        changes.open = match winner {
            Some(winner) => Some(OpenChange::Ends(winner)),
            None => (self.open != Some(&now)).then_some(OpenChange::Moves(now)),
        };
    }

    /// What is contested on our side. Of several rows of one exclusive type the last one that was written stands.
    fn held_here(&self, scope: &Scope, changes: &mut LinkChanges) -> BTreeSet<ShownLink> {
        let own = |row: &&LinkRow| scope.has(row.to, row.kind.as_ref());
        let mut rows: Vec<&LinkRow> = self.rows.iter().filter(own).collect();
        rows.retain(|row| !changes.go.contains(&row.id));
        rows.sort_by_key(|row| row.id);
        let mut here = BTreeSet::new();
        for (at, row) in rows.iter().enumerate() {
            let Some(kind) = &row.kind else { continue };
            let is_parted = |later: &&LinkRow| {
                later.to != row.to && self.exclusion.parts(Some(kind), later.kind.as_ref())
            };
            if rows[at + 1..].iter().any(is_parted) {
                self.give_up(row, changes);
                continue;
            }
            here.insert(ShownLink {
                to: row.to,
                kind: kind.clone(),
            });
        }
        here
    }

    /// A row of ours goes; where its type was an exclusive one, the pair keeps its plain type, which goes out like any other.
    fn give_up(&self, row: &LinkRow, changes: &mut LinkChanges) {
        changes.go.push(row.id);
        let excludes = self.exclusion.why(row.kind.as_ref());
        let keeps_plain = matches!(excludes, Some(Excludes::Primary | Excludes::Limited));
        if let Some(plain) = self
            .plain
            .filter(|_| keeps_plain && !self.has_plain(row.to))
        {
            changes.make.push(ShownLink {
                to: row.to,
                kind: plain.clone(),
            });
        }
    }

    /// HubSpot's side stands.
    fn give_way(
        &self,
        here: &BTreeSet<ShownLink>,
        there: &BTreeSet<ShownLink>,
        changes: &mut LinkChanges,
    ) {
        changes.come.extend(there.difference(here).cloned());
        for link in here.difference(there) {
            let is_it = |row: &&LinkRow| row.to == link.to && row.kind.as_ref() == Some(&link.kind);
            if let Some(row) = self.rows.iter().find(is_it) {
                self.give_up(row, changes);
            }
        }
    }

    /// Our side stands. HubSpot takes a primary from the other one by itself: that comes as the base over which ours goes out.
    /// What it only limits is taken away first.
    fn send_ours(
        &self,
        here: &BTreeSet<ShownLink>,
        there: &BTreeSet<ShownLink>,
        changes: &mut LinkChanges,
    ) {
        changes.make.extend(here.difference(there).cloned());
        for link in there.difference(here) {
            let kind = Some(&link.kind);
            let is_given = self.exclusion.why(kind) == Some(Excludes::Primary)
                && here.iter().any(|own| own.kind == link.kind);
            match is_given {
                true => changes.come.push(link.clone()),
                false => changes.take.push(link.clone()),
            }
        }
    }
}

/// Whether a type of two records that HubSpot shows beyond ours may come by itself: of a pair that is only pushed, what HubSpot makes
/// beside an association, which is the plain type and the first primary.
pub fn may_come(direction: Direction, kind: &TypeId, plain: Option<&TypeId>) -> bool {
    direction.pulls() || plain == Some(kind) || kind.is_primary()
}

/// Why an association is made again that only our side may take away.
const PUSH_ONLY: &str = "the pair is only pushed";

/// Why an exclusive type was in conflict.
const BOTH_NAMED_ONE: &str = "each side named another record where only one can be";

/// The same, where a person decides.
const WAITS: &str = "each side named another record where only one can be: set `resolution`";

/// Why the deletion of a pair was in conflict.
const LABELLED_SINCE: &str = "the pair was deleted here, and HubSpot added a type to it since";

/// The same, where a person decides.
const LABELLED_WAITS: &str =
    "the pair was deleted here, and HubSpot added a type to it since: set `resolution`";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::portal::link_types::KnownType;
    use crate::model::association::{Category, ExclusiveEnd};

    use std::sync::LazyLock;

    use proptest::prelude::*;

    const PLAIN: i64 = 279;
    const PRIMARY: i64 = 1;

    fn kind(number: i64) -> TypeId {
        match number {
            PLAIN | PRIMARY => TypeId::of_hubspot(number),
            number => TypeId {
                category: Category::UserDefined,
                number,
            },
        }
    }

    fn row(id: i64, to: i64, number: i64) -> LinkRow {
        LinkRow {
            id,
            to: LocalId(to),
            kind: (number != 0).then(|| kind(number)),
            label: None,
        }
    }

    fn shown(to: i64, number: i64) -> ShownLink {
        ShownLink {
            to: LocalId(to),
            kind: kind(number),
        }
    }

    fn entry(id: i64, operation: Operation, to: i64, number: i64) -> LinkEntry {
        LinkEntry {
            id: OutboxId(id),
            operation,
            state: EntryState::Pending,
            to: LocalId(to),
            kind: (number != 0).then(|| kind(number)),
            takes_all: operation == Operation::Disassociate && number == PLAIN,
            is_in_doubt: false,
        }
    }

    static NOWHERE: BTreeSet<(HubspotId, TypeId)> = BTreeSet::new();
    static NONE: BTreeSet<LocalId> = BTreeSet::new();
    static NO_ROW: BTreeSet<i64> = BTreeSet::new();
    static PRIMARIES: LazyLock<Exclusion> = LazyLock::new(Exclusion::default);

    const MAKES: Operation = Operation::Associate;
    const TAKES: Operation = Operation::Disassociate;

    fn sides<'a>(
        rows: &'a [LinkRow],
        entries: &'a [LinkEntry],
        shown: &'a [ShownLink],
    ) -> LinkSides<'a> {
        LinkSides {
            rows,
            entries,
            shown,
            direction: Direction::Both,
            policy: Policy::Local,
            plain: None,
            exclusion: &PRIMARIES,
            open: None,
            word: None,
            elsewhere: &NOWHERE,
            known_elsewhere: Some(&NOWHERE),
            held: &NONE,
            outdone: &NO_ROW,
            doubted: &NONE,
            unread: &NONE,
        }
    }

    /// The types that come, the rows that go, the entries that end.
    fn check(
        (rows, entries, links): (&[LinkRow], &[LinkEntry], &[ShownLink]),
        (come, go, end): (&[ShownLink], &[i64], &[i64]),
    ) {
        let ids: Vec<OutboxId> = end.iter().copied().map(OutboxId).collect();
        let expected = LinkChanges {
            come: come.to_vec(),
            go: go.to_vec(),
            end: ids,
            ..LinkChanges::default()
        };
        assert_eq!(
            decide(sides(rows, entries, links)),
            expected,
            "{rows:?} {entries:?} {links:?}"
        );
    }

    #[test]
    fn of_a_pair_that_is_only_pushed_ours_is_made_again_and_what_people_add_does_not_come() {
        let plain = kind(PLAIN);
        let decided = |rows: &[LinkRow], there: &[ShownLink], unread: &BTreeSet<LocalId>| {
            decide(LinkSides {
                direction: Direction::Push,
                policy: Policy::Remote,
                plain: Some(&plain),
                unread,
                ..sides(rows, &[], there)
            })
        };
        // A pair and a label of theirs, and a primary on ours; its plain type is what HubSpot makes beside ours.
        let ours = [row(7, 1, 36)];
        let theirs = [
            shown(1, 36),
            shown(1, PLAIN),
            shown(1, PRIMARY),
            shown(1, 38),
            shown(2, PLAIN),
        ];
        let changes = decided(&ours, &theirs, &NONE);
        assert_eq!(changes.come, [shown(1, PLAIN)]);
        assert_eq!((&changes.go, changes.conflicts.len()), (&vec![], 0));
        // Right behind our write the primary is of its making.
        let changes = decided(&ours, &theirs, &BTreeSet::from([LocalId(1)]));
        assert_eq!(changes.come, [shown(1, PLAIN), shown(1, PRIMARY)]);
        // Somebody took ours away, and named another primary.
        let ours = [row(7, 1, PLAIN), row(8, 1, PRIMARY), row(9, 2, PLAIN)];
        let theirs = [shown(1, PLAIN), shown(3, PRIMARY), shown(3, PLAIN)];
        let changes = decided(&ours, &theirs, &NONE);
        let made = vec![shown(1, PRIMARY), shown(2, PLAIN)];
        assert_eq!((&changes.make, &changes.go), (&made, &vec![]));
        let [conflict] = changes.conflicts.as_slice() else {
            panic!("{changes:?}");
        };
        assert_eq!(conflict.winner, Some(Winner::Local));
        assert_eq!((&conflict.local, &conflict.base), (&made, &made));
        assert_eq!(conflict.remote, [shown(1, PLAIN)]);
        // Our own younger primary took it, or HubSpot kept the older one of two records that were merged.
        let ours = [row(8, 1, PRIMARY), row(9, 2, PRIMARY)];
        for (there, gone) in [(2, 8), (1, 9)] {
            let changes = decided(&ours, &[shown(there, PRIMARY)], &NONE);
            assert_eq!((&changes.make, &changes.go), (&vec![], &vec![gone]));
        }
    }

    #[test]
    fn each_side_of_an_association_decides_what_becomes_of_it() {
        let (plain, primary) = (shown(1, PLAIN), shown(1, PRIMARY));
        // Both hold the same.
        check(
            (&[row(7, 1, PLAIN)], &[], &[shown(1, PLAIN)]),
            (&[], &[], &[]),
        );
        // HubSpot made one, and took one away.
        check(
            (&[], &[], &[shown(1, PLAIN)]),
            (&[shown(1, PLAIN)], &[], &[]),
        );
        check((&[row(7, 1, PLAIN)], &[], &[]), (&[], &[7], &[]));
        // A primary was demoted: the plain type stays.
        let both = [row(7, 1, PLAIN), row(8, 1, PRIMARY)];
        check((&both, &[], &[shown(1, PLAIN)]), (&[], &[8], &[]));
        // Ours is on its way, with and without a type.
        let ours = [row(7, 1, PRIMARY)];
        check(
            (&ours, &[entry(3, MAKES, 1, PRIMARY)], &[]),
            (&[], &[], &[]),
        );
        check(
            (&[row(7, 1, 0)], &[entry(3, MAKES, 1, 0)], &[]),
            (&[], &[], &[]),
        );
        // HubSpot has it already.
        check(
            (
                &ours,
                &[entry(3, MAKES, 1, PRIMARY)],
                &[primary.clone(), plain.clone()],
            ),
            (&[shown(1, PLAIN)], &[], &[3]),
        );
        // What was deleted here does not come back before HubSpot has heard of it; nothing is left to say where it is gone.
        check(
            (&[], &[entry(3, TAKES, 1, PRIMARY)], &[shown(1, PRIMARY)]),
            (&[], &[], &[]),
        );
        check((&[], &[entry(3, TAKES, 1, PRIMARY)], &[]), (&[], &[], &[3]));
        check(
            (
                &[],
                &[entry(3, TAKES, 1, PLAIN), entry(4, TAKES, 1, 36)],
                &[plain.clone(), shown(1, 36)],
            ),
            (&[], &[], &[]),
        );
        check(
            (&[], &[entry(3, TAKES, 1, PLAIN)], &[shown(2, PLAIN)]),
            (&[shown(2, PLAIN)], &[], &[3]),
        );
        // One pair's entry says nothing of another's.
        check(
            (&[row(7, 2, PLAIN)], &[entry(3, MAKES, 1, PLAIN)], &[]),
            (&[], &[7], &[]),
        );
    }

    #[test]
    fn of_two_primaries_the_policy_takes_one_and_the_other_pair_keeps_its_plain_type() {
        let plain = kind(PLAIN);
        let (ours, theirs) = (shown(1, PRIMARY), shown(2, PRIMARY));
        let rows = [row(7, 1, PRIMARY)];
        let entries = [entry(3, MAKES, 1, PRIMARY)];
        let there = [theirs.clone(), shown(2, PLAIN)];
        let by = |policy, rows: &[LinkRow], there: &[ShownLink]| {
            decide(LinkSides {
                policy,
                plain: Some(&plain),
                ..sides(rows, &entries, there)
            })
        };
        let won = |changes: &LinkChanges| {
            let [conflict] = &changes.conflicts[..] else {
                panic!("one conflict: {changes:?}");
            };
            assert_eq!(
                (&conflict.local, &conflict.remote),
                (&vec![ours.clone()], &vec![theirs.clone()])
            );
            conflict.winner
        };
        let remote = by(Policy::Remote, &rows, &there);
        assert_eq!(won(&remote), Some(Winner::Remote));
        assert_eq!(
            (&remote.come, &remote.go, &remote.end),
            (&there.to_vec(), &vec![], &vec![])
        );
        assert_eq!(remote.demote, [OutboxId(3)]);
        // Its plain type is in HubSpot already.
        let with_plain = [&there[..], &[shown(1, PLAIN)]].concat();
        let remote = by(
            Policy::Remote,
            &[row(7, 1, PRIMARY), row(8, 1, PLAIN)],
            &with_plain,
        );
        assert_eq!(
            (&remote.go, &remote.end, &remote.demote),
            (&vec![7], &vec![OutboxId(3)], &vec![])
        );
        let local = by(Policy::Local, &rows, &there);
        assert_eq!(won(&local), Some(Winner::Local));
        assert_eq!(
            (&local.come, &local.go, &local.end),
            (&there.to_vec(), &vec![], &vec![])
        );
        let manual = by(Policy::Manual, &rows, &there);
        assert_eq!(won(&manual), None);
        assert_eq!(
            (&manual.come, &manual.go, &manual.end),
            (&vec![shown(2, PLAIN)], &vec![], &vec![OutboxId(3)])
        );
        // While it waits both sides stay as they are.
        let open = opened(&manual);
        let waiting = decide(LinkSides {
            open: Some(&open),
            ..sides(&rows, &[], &there)
        });
        let plain_comes = LinkChanges {
            come: vec![shown(2, PLAIN)],
            ..LinkChanges::default()
        };
        assert_eq!(waiting, plain_comes);
        // HubSpot's primary is the one that ours is to follow: no conflict.
        let known = [row(7, 1, PRIMARY), row(9, 2, PRIMARY), row(10, 2, PLAIN)];
        for policy in [Policy::Remote, Policy::Local, Policy::Manual] {
            assert_eq!(by(policy, &known, &there), LinkChanges::default());
        }
    }

    #[test]
    fn a_primary_that_is_given_to_a_record_outside_the_mirror_is_in_conflict_as_well() {
        let plain = kind(PLAIN);
        let rows = [row(7, 1, PRIMARY)];
        let entries = [entry(3, MAKES, 1, PRIMARY)];
        let away = BTreeSet::from([(HubspotId(900), kind(PRIMARY))]);
        let by = |policy, entries: &[LinkEntry], open, known_elsewhere| {
            decide(LinkSides {
                policy,
                open,
                plain: Some(&plain),
                elsewhere: &away,
                known_elsewhere: Some(known_elsewhere),
                ..sides(&rows, entries, &[])
            })
        };
        for (policy, winner) in [
            (Policy::Remote, Some(Winner::Remote)),
            (Policy::Local, Some(Winner::Local)),
            (Policy::Manual, None),
        ] {
            let changes = by(policy, &entries, None, &NOWHERE);
            let [conflict] = &changes.conflicts[..] else {
                panic!("one conflict: {changes:?}");
            };
            assert_eq!(conflict.winner, winner);
            assert_eq!(conflict.elsewhere, [(HubspotId(900), kind(PRIMARY))]);
            let is_demoted = changes.demote == [OutboxId(3)];
            assert_eq!(is_demoted, policy == Policy::Remote);
            assert_eq!(changes.end.is_empty(), policy != Policy::Manual);
            // HubSpot had it before ours was written.
            assert_eq!(by(policy, &entries, None, &away), LinkChanges::default());
        }
        // Nobody has noted what it had: another one's place tells.
        let unnoted = |rows: &[LinkRow]| {
            let changes = decide(LinkSides {
                plain: Some(&plain),
                policy: Policy::Remote,
                elsewhere: &away,
                known_elsewhere: None,
                ..sides(rows, &entries, &[])
            });
            changes.conflicts.len()
        };
        assert_eq!(unnoted(&rows), 0);
        assert_eq!(unnoted(&[row(6, 2, PRIMARY), row(7, 1, PRIMARY)]), 1);
        // An open conflict waits until the record is here: it is not taken for one that has gone back.
        let open = OpenLinks {
            local: vec![shown(1, PRIMARY)],
            ..OpenLinks::default()
        };
        assert_eq!(
            by(Policy::Manual, &[], Some(&open), &away),
            LinkChanges::default()
        );
    }

    #[test]
    fn a_deleted_pair_that_got_a_label_since_comes_back_or_goes_by_the_policy() {
        let entries = [entry(3, TAKES, 1, PLAIN), entry(4, TAKES, 1, PRIMARY)];
        let there = [shown(1, PLAIN), shown(1, 36)];
        let by = |policy| {
            decide(LinkSides {
                policy,
                ..sides(&[], &entries, &there)
            })
        };
        let remote = by(Policy::Remote);
        let mut back = remote.come.clone();
        back.sort_by_key(|link| link.kind.number);
        assert_eq!(back, [shown(1, 36), shown(1, PLAIN)]);
        assert!(remote.end.contains(&OutboxId(3)) && remote.end.contains(&OutboxId(4)));
        assert_eq!(remote.conflicts[0].winner, Some(Winner::Remote));
        let local = by(Policy::Local);
        assert_eq!(
            (&local.come, &local.conflicts[0].winner),
            (&vec![], &Some(Winner::Local))
        );
        assert!(!local.end.contains(&OutboxId(3)));
    }

    /// The conflict that opens.
    fn opened(changes: &LinkChanges) -> OpenLinks {
        let [conflict] = &changes.conflicts[..] else {
            panic!("one conflict: {changes:?}");
        };
        assert_eq!(conflict.winner, None);
        OpenLinks {
            base: conflict.base.clone(),
            local: conflict.local.clone(),
            remote: conflict.remote.clone(),
        }
    }

    /// What excludes where one type is limited to one record.
    fn limited(number: i64) -> Exclusion {
        let known = |id: i64, label: Option<&str>| KnownType {
            id: kind(id),
            label: label.map(str::to_owned),
            inverse: None,
            archived: false,
            most: (id == number).then_some(1),
            most_back: None,
        };
        Exclusion::of(
            &[known(PLAIN, None), known(36, Some("Boss"))],
            ExclusiveEnd::From,
        )
    }

    #[test]
    fn under_a_limit_of_one_the_policy_takes_one_side_and_what_is_in_its_way_is_taken_away_first() {
        let plain = kind(PLAIN);
        // A label is limited: the pair that loses keeps its plain type. The plain type is: nothing is left of it.
        for (number, of_pair) in [(36, false), (PLAIN, true)] {
            let exclusion = limited(number);
            let rows = [row(7, 1, number)];
            let entries = [entry(3, MAKES, 1, number)];
            let theirs = shown(2, number);
            let by = |policy, rows: &[LinkRow], entries: &[LinkEntry], open, word| {
                let sides = LinkSides {
                    policy,
                    plain: Some(&plain),
                    exclusion: &exclusion,
                    open,
                    word,
                    ..sides(rows, entries, std::slice::from_ref(&theirs))
                };
                match word {
                    Some(_) => decide_held(sides),
                    None => decide(sides),
                }
            };
            let remote = by(Policy::Remote, &rows, &entries, None, None);
            assert_eq!(remote.conflicts[0].winner, Some(Winner::Remote));
            assert_eq!(remote.come, std::slice::from_ref(&theirs));
            match of_pair {
                true => assert_eq!((&remote.go, &remote.end), (&vec![7], &vec![OutboxId(3)])),
                false => assert_eq!(remote.demote, [OutboxId(3)]),
            }
            let local = by(Policy::Local, &rows, &entries, None, None);
            assert_eq!(local.conflicts[0].winner, Some(Winner::Local));
            assert_eq!(
                (&local.come, &local.take, &local.end),
                (&vec![], &vec![theirs.clone()], &vec![])
            );
            // That is written down once: the other one is on its way out from then on.
            let leaving = [entries[0].clone(), entry(4, TAKES, 2, number)];
            let later = by(Policy::Local, &rows, &leaving, None, None);
            assert_eq!((later.conflicts, later.take), (vec![], vec![]));
            let manual = by(Policy::Manual, &rows, &entries, None, None);
            assert_eq!((&manual.come, &manual.end), (&vec![], &vec![OutboxId(3)]));
            let open = opened(&manual);
            let waiting = by(Policy::Manual, &rows, &[], Some(&open), None);
            assert_eq!(waiting, LinkChanges::default());
            let local = by(Policy::Manual, &rows, &[], Some(&open), Some(Winner::Local));
            let ours = [shown(1, number)];
            assert_eq!(
                (&local.make[..], &local.take),
                (&ours[..], &vec![theirs.clone()])
            );
            let remote = by(
                Policy::Manual,
                &rows,
                &[],
                Some(&open),
                Some(Winner::Remote),
            );
            assert_eq!(
                (&remote.come, &remote.go),
                (&vec![theirs.clone()], &vec![7])
            );
            assert_eq!(remote.make.len(), usize::from(!of_pair), "the plain type");
            // HubSpot had it before: what is one too many it refuses itself.
            let known = [rows[0].clone(), row(8, 2, number)];
            for policy in [Policy::Remote, Policy::Local, Policy::Manual] {
                let known = by(policy, &known, &entries, None, None);
                assert_eq!(known, LinkChanges::default());
            }
        }
    }

    #[test]
    fn a_pair_of_which_only_one_may_be_is_in_conflict_once_whatever_types_it_is_to_have() {
        let exclusion = limited(PLAIN);
        let (rows, there) = (
            [row(7, 1, PLAIN), row(8, 1, 36)],
            [shown(2, PLAIN), shown(2, 36)],
        );
        let entries = [entry(3, MAKES, 1, PLAIN), entry(4, MAKES, 1, 36)];
        let by = |policy| {
            decide(LinkSides {
                policy,
                exclusion: &exclusion,
                ..sides(&rows, &entries, &there)
            })
        };
        let remote = by(Policy::Remote);
        let [conflict] = &remote.conflicts[..] else {
            panic!("one conflict: {remote:?}");
        };
        assert_eq!(
            (conflict.local.len(), &conflict.remote[..]),
            (2, &there[..])
        );
        assert_eq!(
            (remote.go, remote.end),
            (vec![7, 8], vec![OutboxId(3), OutboxId(4)])
        );
        let local = by(Policy::Local);
        assert_eq!((local.conflicts.len(), &local.take[..]), (1, &there[..]));
        let manual = by(Policy::Manual);
        assert_eq!(manual.end, [OutboxId(3), OutboxId(4)]);
        assert_eq!(manual.conflicts.len(), 1);
    }

    #[test]
    fn an_open_conflict_moves_with_both_sides_and_ends_where_they_meet_or_one_goes_back() {
        let plain = kind(PLAIN);
        // Both had 3; here it is 1 since, in HubSpot 2.
        let open = OpenLinks {
            base: vec![shown(3, PRIMARY)],
            local: vec![shown(1, PRIMARY)],
            remote: vec![shown(2, PRIMARY)],
        };
        let by = |rows: &[LinkRow], entries: &[LinkEntry], there: &[ShownLink], word| {
            let sides = LinkSides {
                plain: Some(&plain),
                open: Some(&open),
                word,
                ..sides(rows, entries, there)
            };
            match word {
                Some(_) => decide_held(sides),
                None => decide(sides),
            }
        };
        let primary = |to| [shown(to, PRIMARY)];
        let rows = [row(7, 1, PRIMARY)];
        let nothing = LinkChanges::default;
        assert_eq!(by(&rows, &[], &primary(2), None), nothing());
        // HubSpot sets ours.
        let ends = |winner| Some(OpenChange::Ends(winner));
        let agreed = LinkChanges {
            open: ends(Winner::Agreed),
            ..nothing()
        };
        assert_eq!(by(&rows, &[], &primary(1), None), agreed);
        // It names another one.
        let moved = |local: i64, remote: i64| {
            Some(OpenChange::Moves(OpenLinks {
                base: open.base.clone(),
                local: primary(local).to_vec(),
                remote: primary(remote).to_vec(),
            }))
        };
        let elsewhere = by(&rows, &[], &primary(4), None);
        assert_eq!(elsewhere.open, moved(1, 4));
        assert!(elsewhere.come.is_empty() && elsewhere.go.is_empty());
        // A program names another one: the last one stands, nothing is sent, and the former keeps its plain type.
        let both = [row(7, 1, PRIMARY), row(8, 5, PRIMARY)];
        let written = by(&both, &[entry(3, MAKES, 5, PRIMARY)], &primary(2), None);
        assert_eq!(written.open, moved(5, 2));
        assert_eq!((&written.go, &written.end), (&vec![7], &vec![OutboxId(3)]));
        assert_eq!(written.make, [shown(1, PLAIN)]);
        // The one that HubSpot has: both sides are equal, and one row is left.
        let equal = [row(7, 1, PRIMARY), row(8, 2, PRIMARY)];
        let written = by(&equal, &[entry(3, MAKES, 2, PRIMARY)], &primary(2), None);
        assert_eq!((written.open, written.go), (ends(Winner::Agreed), vec![7]));
        // HubSpot goes back to what both had: ours goes out over it.
        let back = by(&rows, &[], &primary(3), None);
        assert_eq!(back.open, ends(Winner::Local));
        assert_eq!(
            (&back.make, &back.come),
            (&primary(1).to_vec(), &primary(3).to_vec())
        );
        // So does this side: HubSpot's comes.
        let here = [row(8, 3, PRIMARY), row(9, 3, PLAIN)];
        let there = [shown(2, PRIMARY), shown(3, PLAIN)];
        let back = by(&here, &[entry(3, MAKES, 3, PRIMARY)], &there, None);
        assert_eq!(back.open, ends(Winner::Remote));
        assert_eq!((&back.come, &back.go), (&primary(2).to_vec(), &vec![8]));
        // A person's word.
        let local = by(&rows, &[], &primary(2), Some(Winner::Local));
        assert_eq!(
            (&local.make, &local.come),
            (&primary(1).to_vec(), &primary(2).to_vec())
        );
        let remote = by(&rows, &[], &primary(2), Some(Winner::Remote));
        assert_eq!((&remote.come, &remote.go), (&primary(2).to_vec(), &vec![7]));
        assert_eq!(
            remote.make,
            [shown(1, PLAIN)],
            "the pair keeps its plain type"
        );
    }

    #[test]
    fn a_deleted_pair_that_a_person_decides_about_is_neither_sent_nor_brought_back_before() {
        let plain = kind(PLAIN);
        let entries = [entry(3, TAKES, 1, PLAIN)];
        let there = [shown(1, PLAIN), shown(1, 36)];
        let manual = decide(LinkSides {
            policy: Policy::Manual,
            plain: Some(&plain),
            ..sides(&[], &entries, &there)
        });
        assert_eq!((&manual.come, &manual.end), (&vec![], &vec![OutboxId(3)]));
        let open = opened(&manual);
        assert_eq!((&open.base, &open.local), (&vec![shown(1, PLAIN)], &vec![]));
        let by = |rows: &[LinkRow], there: &[ShownLink], word| {
            decide(LinkSides {
                plain: Some(&plain),
                open: Some(&open),
                word,
                ..sides(rows, &[], there)
            })
        };
        assert_eq!(by(&[], &there, None), LinkChanges::default());
        let local = by(&[], &there, Some(Winner::Local));
        assert!(local.come.is_empty() && local.take.len() == 2, "{local:?}");
        let remote = by(&[], &there, Some(Winner::Remote));
        assert!(
            remote.come.len() == 2 && remote.take.is_empty(),
            "{remote:?}"
        );
        // HubSpot takes its label away again: what was deleted here goes there.
        let back = by(&[], &[shown(1, PLAIN)], None);
        assert_eq!(back.open, Some(OpenChange::Ends(Winner::Local)));
        assert_eq!(back.take, [shown(1, PLAIN)]);
        // It is made again here: its label comes.
        let again = by(&[row(7, 1, PLAIN)], &there, None);
        assert_eq!(again.open, Some(OpenChange::Ends(Winner::Remote)));
        assert_eq!(again.come, [shown(1, 36)]);
        // It is gone there too.
        let agreed = by(&[], &[], None);
        assert_eq!(agreed.open, Some(OpenChange::Ends(Winner::Agreed)));
    }

    #[test]
    fn a_primary_beside_an_association_of_ours_whose_answer_was_lost_is_nobody_s_word() {
        let rows = [row(7, 1, PLAIN), row(8, 2, PRIMARY)];
        let there = [shown(1, PLAIN), shown(1, PRIMARY)];
        for (is_in_doubt, conflicts) in [(true, 0), (false, 1)] {
            let mut first = entry(3, MAKES, 1, PLAIN);
            first.is_in_doubt = is_in_doubt;
            let changes = decide(LinkSides {
                policy: Policy::Remote,
                ..sides(&rows, &[first, entry(4, MAKES, 2, PRIMARY)], &there)
            });
            assert_eq!(changes.conflicts.len(), conflicts);
            // It comes as what HubSpot has, and ours goes out over it.
            assert_eq!(changes.come, [shown(1, PRIMARY)]);
            assert_eq!(changes.end.contains(&OutboxId(4)), !is_in_doubt);
        }
    }

    #[test]
    fn of_the_record_where_rows_lead_only_what_excludes_there_is_decided() {
        let (plain, primary) = (kind(PLAIN), TypeId::of_hubspot(2));
        let exclusion = Exclusion::of(&[], ExclusiveEnd::To);
        // Seen from the contact: ours is company 1, HubSpot's is company 2; company 5 is the company's own matter.
        let ours = LinkRow {
            kind: Some(primary.clone()),
            ..row(7, 1, PLAIN)
        };
        let made = LinkEntry {
            kind: Some(primary.clone()),
            ..entry(3, MAKES, 1, PLAIN)
        };
        let theirs = ShownLink {
            to: LocalId(2),
            kind: primary,
        };
        let (rows, there) = (
            [ours, row(8, 5, PLAIN)],
            [theirs.clone(), shown(2, PLAIN), shown(1, PLAIN)],
        );
        let by = |policy| {
            decide_exclusive(LinkSides {
                policy,
                plain: Some(&plain),
                exclusion: &exclusion,
                ..sides(&rows, std::slice::from_ref(&made), &there)
            })
        };
        let remote = by(Policy::Remote);
        assert_eq!(remote.conflicts[0].winner, Some(Winner::Remote));
        assert_eq!(remote.come, std::slice::from_ref(&theirs));
        assert_eq!((&remote.go, &remote.end), (&vec![7], &vec![OutboxId(3)]));
        let local = by(Policy::Local);
        assert_eq!(local.conflicts[0].winner, Some(Winner::Local));
        assert_eq!((&local.come, &local.end), (&vec![theirs], &vec![]));
        let manual = by(Policy::Manual);
        assert_eq!((&manual.come, &manual.end), (&vec![], &vec![OutboxId(3)]));
        assert_eq!(opened(&manual).local[0].to, LocalId(1));
        assert_eq!(
            [remote.take, local.take, manual.take],
            [vec![], vec![], vec![]]
        );
    }

    #[test]
    fn what_another_record_s_open_conflict_is_about_waits_for_that() {
        let rows = [row(7, 1, PLAIN), row(8, 2, PLAIN)];
        let entries = [entry(3, TAKES, 1, 36), entry(4, TAKES, 2, 36)];
        let there = [shown(1, 36), shown(1, PRIMARY)];
        let changes = decide(LinkSides {
            held: &BTreeSet::from([LocalId(1)]),
            ..sides(&rows, &entries, &there)
        });
        let expected = LinkChanges {
            go: vec![8],
            end: vec![OutboxId(4)],
            ..LinkChanges::default()
        };
        assert_eq!(changes, expected);
    }

    #[test]
    fn rows_stay_while_nobody_knows_whether_a_record_took_them_along() {
        let rows = [row(7, 1, PLAIN), row(8, 2, PLAIN)];
        let there = [shown(2, 36)];
        let changes = decide(LinkSides {
            doubted: &BTreeSet::from([LocalId(1)]),
            ..sides(&rows, &[], &there)
        });
        assert_eq!((changes.go, changes.come), (vec![8], vec![shown(2, 36)]));
    }

    #[test]
    fn what_is_in_flight_makes_an_answer_worthless() {
        let mut flying = entry(3, MAKES, 1, PLAIN);
        assert!(may_be_taken(std::slice::from_ref(&flying)));
        flying.state = EntryState::InFlight;
        assert!(!may_be_taken(&[entry(2, MAKES, 1, PRIMARY), flying]));
    }

    fn links() -> impl Strategy<Value = Vec<(i64, i64)>> {
        prop::collection::btree_set(
            (1_i64..4, prop_oneof![Just(PLAIN), Just(PRIMARY), Just(36)]),
            0..8,
        )
        .prop_map(|links| links.into_iter().collect())
    }

    proptest! {
        #[test]
        fn without_entries_the_rows_become_what_hubspot_shows_and_then_rest(here in links(), there in links()) {
            let rows: Vec<LinkRow> = here.iter().enumerate().map(|(id, (to, number))| row(id as i64, *to, *number)).collect();
            let shown: Vec<ShownLink> = there.iter().map(|(to, number)| shown(*to, *number)).collect();
            let changes = decide(sides(&rows, &[], &shown));
            let stay = rows.iter().filter(|row| !changes.go.contains(&row.id));
            let mut after: Vec<ShownLink> = stay.map(|row| ShownLink { to: row.to, kind: row.kind.clone().expect("a type") }).collect();
            after.extend(changes.come);
            let order = |link: &ShownLink| (link.to, link.kind.clone());
            after.sort_by_key(order);
            let mut expected = shown.clone();
            expected.sort_by_key(order);
            prop_assert_eq!(&after, &expected);
            let rows: Vec<LinkRow> = after.iter().enumerate().map(|(id, link)| LinkRow { id: id as i64, to: link.to, kind: Some(link.kind.clone()), label: None }).collect();
            prop_assert_eq!(decide(sides(&rows, &[], &shown)), LinkChanges::default());
        }
    }
}
