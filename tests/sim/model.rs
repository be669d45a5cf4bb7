//! What the design's tables say must come of the writes of both sides, told from outside: this model knows the true time and
//! author of each write and what its author's side held at that moment, and shares nothing with the program's decisions.
//!
//! Of a field the last write of each side counts, unless it only takes back what its side had written. Where one was made
//! over a side that already held the other, it is the later word, and wins under every policy. Where neither was, the two
//! are concurrent: direction and policy decide (design, section 2), both values stand in a conflict, and the loser is kept.
//! A value that the daemon wrote over is in a table for people, always.

mod asked;

use std::collections::BTreeSet;

use hubsyncd::model::mapping::{Direction, Policy};

use crate::worlds::seen::ConflictSeen;

/// A value as both sides spell it; `None` is no value.
pub(crate) type Text = Option<String>;

/// Where a value stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    /// In the mirror.
    Local,
    /// In HubSpot.
    Remote,
}

/// What the model can't know of a run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Doubt {
    /// Whether HubSpot carried out a write whose answer never came: the daemon can't know what was made over it.
    pub(crate) unanswered: bool,
    /// By how much the clocks of both sides differed at most, milliseconds.
    pub(crate) clock_ms: i64,
}

/// How both sides of a field stand at rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stands {
    pub(crate) local: Text,
    pub(crate) remote: Text,
    pub(crate) conflict: Conflict,
}

/// What stands of them in the table for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Conflict {
    /// None is open.
    Settled,
    /// None is open, and one was closed in which this lost.
    Lost(Place, Text),
    /// One is open, and shows what both sides hold.
    Open,
}

/// A program's or a person's write.
#[derive(Debug, Clone)]
pub(crate) struct Told {
    place: Place,
    pub(crate) at_ms: i64,
    value: Text,
    bit: u128,
    /// The bits of the writes that its author's side held or had gone over.
    over: u128,
    /// Whether it is what its side was compared with, and no word of its own.
    takes_back: bool,
    /// Whether that can't be told.
    is_doubtful: bool,
    /// Whether it was written over by a push that could not know of it.
    fell_into_a_gap: bool,
}

/// One side of a field.
#[derive(Debug, Clone, Default)]
struct Side {
    value: Text,
    knows: u128,
    last: Option<usize>,
    /// Which write stands there, whoever brought it.
    stands: usize,
    /// What it is compared with; `None`: with nothing, so that whatever stands there is a word.
    base: Option<Text>,
    /// What it was compared with before the daemon read the other side; and where it may have forgotten that.
    former: Option<Text>,
    before: Option<Text>,
}

/// The writes of one field of one record.
#[derive(Debug, Clone)]
pub(crate) struct FieldModel {
    policy: Policy,
    pub(crate) direction: Direction,
    told: Vec<Told>,
    sides: [Side; 2],
    /// Whether what is written here goes out only where HubSpot has nothing.
    only_fills: bool,
    /// What the daemon has written in HubSpot.
    sent: BTreeSet<String>,
    /// Both sides came to one value without the daemon: it may have seen that, or not.
    pub(crate) coincided: bool,
    /// When HubSpot told the daemon last what it holds.
    pub(crate) read_at_ms: i64,
    /// A person has decided for a side: what is written there before that is carried out is what he decided for.
    was_asked: bool,
    /// What both sides held at the same time, or the daemon brought to one of them.
    agreed: BTreeSet<Text>,
    /// Values of another record, which a merge may bring to this one.
    pub(crate) elsewhere: BTreeSet<String>,
    /// What the daemon wrote over.
    pub(crate) gone_over: BTreeSet<(Place, String)>,
}

impl FieldModel {
    /// A field on which both sides agree.
    pub(crate) fn new(policy: Policy, direction: Direction, first: &str, at_ms: i64) -> Self {
        let mut model = Self {
            policy,
            direction,
            told: Vec::new(),
            sides: <[Side; 2]>::default(),
            only_fills: false,
            sent: BTreeSet::new(),
            coincided: false,
            read_at_ms: at_ms,
            was_asked: false,
            agreed: BTreeSet::new(),
            elsewhere: BTreeSet::new(),
            gone_over: BTreeSet::new(),
        };
        let first = Some(first.to_owned()).filter(|first| !first.is_empty());
        model.written(Place::Remote, at_ms, first.clone());
        model.carried(Place::Local, &first);
        model.sides[1].last = None;
        model
    }

    /// The daemon may know what a side holds, and compare with it from now on. An open conflict holds the base.
    pub(crate) fn may_be_known(&mut self, place: Place) {
        let value = Some(self.sides[place as usize].value.clone());
        let [local, remote] = &mut self.sides;
        if place == Place::Local {
            (local.base, local.former) = (value, None);
        } else if self.policy != Policy::Manual && remote.base != value {
            local.former = std::mem::replace(&mut local.base, value.clone());
            remote.before = std::mem::replace(&mut remote.base, value);
        }
    }

    /// The daemon was killed: what it had just read it may never have written down.
    pub(crate) fn may_be_forgotten(&mut self) {
        self.sides[1].former = self.sides[1].before.take();
    }

    /// A side begins with another record or row, which nobody has compared with the other side.
    pub(crate) fn begins_anew(&mut self, place: Place) {
        self.sides[place as usize] = Side::default();
    }

    /// A program or a person has written a value that differs from what stood there.
    pub(crate) fn written(&mut self, place: Place, at_ms: i64, value: Text) {
        // What it takes back with a value of a world's own is not told apart from a word.
        let is_own = self.told.first().is_some_and(|first| first.value != value);
        let (id, side) = (self.told.len(), &mut self.sides[place as usize]);
        let takes_back = side.base.as_ref() == Some(&value);
        self.told.push(Told {
            place,
            at_ms,
            value: value.clone(),
            bit: 1 << id,
            over: side.knows,
            takes_back,
            is_doubtful: side.former.as_ref() == Some(&value)
                || (takes_back && (is_own || self.was_asked)),
            fell_into_a_gap: false,
        });
        side.knows |= 1 << id;
        (side.last, side.stands) = (Some(id), id);
        side.value = value;
        self.coincided |= self.sides[0].value == self.sides[1].value;
        self.notes_agreement(place);
    }

    fn notes_agreement(&mut self, place: Place) {
        let [local, remote] = &self.sides;
        if local.value == remote.value {
            self.agreed.insert(self.sides[place as usize].value.clone());
        }
    }

    /// Whether it can be what both sides agreed on at some time.
    pub(crate) fn was_agreed(&self, value: &Text) -> bool {
        self.agreed.contains(value)
    }

    /// The daemon has written a value; `false`: nobody had written it.
    pub(crate) fn carried(&mut self, place: Place, value: &Text) -> bool {
        // What stood there before may come back over a request of ours that landed late.
        let Some(origin) = self.origin(place, value) else {
            return self.came_along(place, value);
        };
        let knows = self.told[origin].over | self.told[origin].bit;
        if place == Place::Remote {
            self.sent.extend(value.clone());
        }
        let side = &mut self.sides[place as usize];
        if let (Place::Remote, Some(last)) = (place, side.last) {
            let last = &mut self.told[last];
            last.fell_into_a_gap |= knows & last.bit == 0 && last.at_ms >= self.read_at_ms;
        }
        side.stands = origin;
        self.agreed.insert(value.clone());
        let side = &mut self.sides[place as usize];
        let former = std::mem::replace(&mut side.value, value.clone());
        self.gone_over.extend(former.map(|former| (place, former)));
        side.knows |= knows;
        let [local, remote] = &mut self.sides;
        (local.base, remote.base) = (Some(value.clone()), Some(value.clone()));
        (local.former, remote.former) = (None, None);
        if local.value == remote.value {
            local.knows |= remote.knows;
            remote.knows = local.knows;
        }
        true
    }

    /// A merge has brought the value of another record.
    fn came_along(&mut self, place: Place, value: &Text) -> bool {
        let is_known = value
            .as_ref()
            .is_some_and(|value| self.elsewhere.contains(value));
        if is_known {
            let former = std::mem::replace(&mut self.sides[place as usize].value, value.clone());
            self.gone_over.extend(former.map(|former| (place, former)));
            self.agreed.insert(value.clone());
        }
        is_known
    }

    /// Those conflicts that are not of another record.
    pub(crate) fn own(&self, mut conflicts: Vec<ConflictSeen>) -> Vec<ConflictSeen> {
        let is_other = |value: &Text| {
            value
                .as_ref()
                .is_some_and(|one| self.elsewhere.contains(one))
        };
        conflicts.retain(|conflict| !is_other(&conflict.local) && !is_other(&conflict.remote));
        conflicts
    }

    /// Whether the daemon would bring back with that what the write that stands there was made over.
    pub(crate) fn comes_back(&self, place: Place, value: &Text) -> bool {
        let stands = &self.told[self.sides[place as usize].stands];
        let origin = self
            .origin(place, value)
            .map(|origin| self.told[origin].bit);
        let is_plain = self.direction == Direction::Both && !self.only_fills;
        is_plain && origin.is_some_and(|bit| stands.over & bit != 0)
    }

    /// The write that brings a value to a side.
    fn origin(&self, place: Place, value: &Text) -> Option<usize> {
        let same = (0..self.told.len()).filter(|id| self.told[*id].value == *value);
        same.max_by_key(|id| (self.told[*id].place != place || *id == 0, *id))
    }

    /// The last write of a side.
    pub(crate) fn last(&self, place: Place) -> Option<&Told> {
        Some(&self.told[self.sides[place as usize].last?])
    }

    /// Whether the last write of a side may not have reached the other one.
    pub(crate) fn is_pending(&self, place: Place) -> bool {
        let other = &self.sides[1 - place as usize];
        let last = self.last(place);
        let is_said = |told: &Told| !told.takes_back && !told.fell_into_a_gap;
        last.is_some_and(|told| is_said(told) && other.knows & told.bit == 0)
    }

    /// Whether it can be told what the daemon compared with what.
    fn is_certain(&self, doubt: Doubt) -> bool {
        !doubt.unanswered && !self.coincided
    }

    /// Whether HubSpot holds what the daemon brought there last: of a request whose answer was lost an open conflict tells what it
    /// went over.
    pub(crate) fn landed_late(&self, doubt: Doubt) -> bool {
        let there = &self.sides[1];
        let is_sent = there
            .value
            .as_ref()
            .is_some_and(|value| self.sent.contains(value));
        let by_others = self
            .last(Place::Remote)
            .is_some_and(|told| told.value == there.value);
        doubt.unanswered && is_sent && !by_others
    }

    /// All that the design allows at rest.
    pub(crate) fn allowed(&self, doubt: Doubt) -> Vec<Stands> {
        let first = &self.told[0].value;
        let is_certain = self.is_certain(doubt) || self.went_over_ours(doubt);
        let explanation = |place| match self.last(place) {
            Some(told) if told.is_doubtful => vec![Some(told), None],
            Some(told) if !is_certain && told.value == *first => vec![Some(told), None],
            last => vec![last.filter(|told| !told.takes_back)],
        };
        let mut allowed = Vec::new();
        for local in explanation(Place::Local) {
            for remote in explanation(Place::Remote) {
                allowed.extend(self.of_words(local, remote, doubt));
            }
        }
        allowed
    }

    /// What the tables of section 2 say of the last word of each side.
    fn of_words(&self, l: Option<&Told>, r: Option<&Told>, doubt: Doubt) -> Vec<Stands> {
        let stand = |local: &Told, remote: &Told, conflict| Stands {
            local: local.value.clone(),
            remote: remote.value.clone(),
            conflict,
        };
        let both = |one: &Told| stand(one, one, Conflict::Settled);
        let first = &self.told[0];
        let (l, r) = match (self.direction, l, r) {
            (_, l, r) if self.only_fills => return self.filled(l, r).map(both).collect(),
            // HubSpot's value is pushed over when it is seen.
            (Direction::Push, l, r) => {
                let l = l.unwrap_or(first);
                return vec![both(l), stand(l, r.unwrap_or(l), Conflict::Settled)];
            }
            (_, Some(l), Some(r)) => (l, r),
            (_, l, r) => return vec![both(l.or(r).unwrap_or(first))],
        };
        let mut pairs = [(l, r), (r, l)].into_iter();
        let later = pairs.find(|(one, other)| one.over & other.bit != 0);
        let mut allowed = Vec::from_iter(later.map(|(one, _)| both(one)));
        if (self.is_certain(doubt) || self.went_over_ours(doubt)) && later.is_some() {
            return allowed;
        }
        let mine = stand(l, l, Conflict::Lost(Place::Remote, r.value.clone()));
        let theirs = stand(r, r, Conflict::Lost(Place::Local, l.value.clone()));
        allowed.extend((l.value == r.value).then(|| both(l)));
        if self.coincided {
            // What came after that was made over it, if it was seen.
            allowed.extend([both(l), both(r)]);
        }
        allowed.extend(r.fell_into_a_gap.then(|| mine.clone()));
        let ahead_ms = l.at_ms - r.at_ms;
        allowed.extend(match self.policy {
            Policy::Local => vec![mine],
            Policy::Remote => vec![theirs],
            // A late request of the daemon's own made both sides equal.
            Policy::Manual if doubt.unanswered && self.sides[1].value == l.value => vec![both(l)],
            Policy::Manual => vec![stand(l, r, Conflict::Open)],
            Policy::Newest if ahead_ms > doubt.clock_ms => vec![mine],
            // A tie goes to HubSpot.
            Policy::Newest if ahead_ms <= -doubt.clock_ms => vec![theirs],
            Policy::Newest => vec![mine, theirs],
        });
        allowed
    }
}
