//! What the design's tables say must come of the writes of both sides, told from outside: this model knows the true time and
//! author of each write and what its author's side held at that moment, and shares nothing with the program's decisions.
//!
//! Of a field the last write of each side counts. Where one was made over a side that already held the other, it is the
//! later word, and wins under every policy. Where neither was, the two are concurrent: direction and policy decide
//! (design, section 2), both values stand in a conflict, and the loser is kept. A value that the daemon wrote over is in a
//! table for people, always.

use std::collections::BTreeSet;

use hubsyncd::model::mapping::{Direction, Policy};

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

impl Place {
    fn other(self) -> Self {
        match self {
            Self::Local => Self::Remote,
            Self::Remote => Self::Local,
        }
    }
}

/// A program's or a person's write.
#[derive(Debug, Clone)]
struct Told {
    place: Place,
    at_ms: i64,
    value: Text,
    /// The writes that its author's side held or had gone over, a bit each.
    over: u64,
    /// Whether it only took back what its side had written since both last agreed.
    takes_back: bool,
    /// Whether it was written over by a push that could not know of it.
    fell_into_a_gap: bool,
}

/// One side of a field.
#[derive(Debug, Clone, Default)]
struct Half {
    value: Text,
    knows: u64,
    last: Option<usize>,
    /// Whether something that this side wrote reached the other since both agreed.
    was_carried: bool,
}

/// A conflict as the table for people shows it.
#[derive(Debug, Clone)]
pub(crate) struct ConflictSeen {
    pub(crate) local: Text,
    pub(crate) remote: Text,
    pub(crate) winner: Option<String>,
    pub(crate) reason: Option<String>,
    pub(crate) is_open: bool,
}

/// What is seen of a field when the world has come to rest.
#[derive(Debug, Clone, Default)]
pub(crate) struct FieldSeen {
    pub(crate) local: Text,
    pub(crate) remote: Text,
    pub(crate) conflicts: Vec<ConflictSeen>,
    /// Values of the field that lost, in `sync_history` and `sync_conflicts`.
    pub(crate) kept: BTreeSet<String>,
}

/// What the model can't know of a run.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Doubt {
    /// Whether HubSpot carried out a write whose answer never came: the daemon can't know what was made over it.
    pub(crate) unanswered: bool,
    /// By how much the clocks of both sides differed at most, milliseconds.
    pub(crate) clock_ms: i64,
}

/// The writes of one field of one record.
#[derive(Debug, Clone)]
pub(crate) struct FieldModel {
    policy: Policy,
    direction: Direction,
    told: Vec<Told>,
    halves: [Half; 2],
    agreed: Text,
    /// Both sides came to one value without the daemon: it may have seen that, or not.
    coincided: bool,
    read_at_ms: i64,
    gone_over: BTreeSet<(Place, String)>,
}

impl FieldModel {
    /// A field on which both sides agree.
    pub(crate) fn new(policy: Policy, direction: Direction, first: Text, at_ms: i64) -> Self {
        let half = Half {
            value: first.clone(),
            knows: 1,
            ..Half::default()
        };
        let told = Told {
            place: Place::Remote,
            at_ms,
            value: first.clone(),
            over: 0,
            takes_back: false,
            fell_into_a_gap: false,
        };
        Self {
            policy,
            direction,
            told: vec![told],
            halves: [half.clone(), half],
            agreed: first,
            coincided: false,
            read_at_ms: at_ms,
            gone_over: BTreeSet::new(),
        }
    }

    /// HubSpot has told the daemon what it holds.
    pub(crate) fn read(&mut self, at_ms: i64) {
        self.read_at_ms = at_ms;
        self.may_be_known(Place::Remote);
    }

    /// When HubSpot told that last.
    pub(crate) fn read_at_ms(&self) -> i64 {
        self.read_at_ms
    }

    /// The daemon may know what a side holds: what takes it back from now on is a write of its own.
    pub(crate) fn may_be_known(&mut self, place: Place) {
        let half = &mut self.halves[place as usize];
        half.was_carried |= half.value != self.agreed;
    }

    /// A side begins with another record or row, which nobody has compared with the other side.
    pub(crate) fn begins_anew(&mut self, place: Place) {
        self.halves[place as usize] = Half::default();
    }

    /// Whether the last write of a side may not have reached the other one.
    pub(crate) fn is_pending(&self, place: Place) -> bool {
        let last = self.halves[place as usize].last;
        last.is_some_and(|id| {
            !self.told[id].takes_back && self.halves[place.other() as usize].knows & 1 << id == 0
        })
    }

    /// Whether somebody wrote again what stood there first: what that makes of the record's existence is not told.
    pub(crate) fn was_taken_back(&self) -> bool {
        let mut later = self.told.iter().skip(1);
        later.any(|told| told.value == self.told[0].value)
    }

    /// Whether an edit of it is a word on the record's existence.
    pub(crate) fn goes_both_ways(&self) -> bool {
        self.direction == Direction::Both
    }

    /// When a side was written last.
    pub(crate) fn last_at_ms(&self, place: Place) -> Option<i64> {
        let last = self.halves[place as usize].last?;
        Some(self.told[last].at_ms)
    }

    /// A program or a person has written a value that differs from what stood there.
    pub(crate) fn written(&mut self, place: Place, at_ms: i64, value: Text) {
        let own = &self.halves[place as usize];
        let id = self.told.len();
        self.told.push(Told {
            place,
            at_ms,
            over: own.knows,
            takes_back: value == self.agreed && !own.was_carried,
            value: value.clone(),
            fell_into_a_gap: false,
        });
        let own = &mut self.halves[place as usize];
        own.knows |= 1 << id;
        own.last = Some(id);
        own.value = value;
        let [local, remote] = &self.halves;
        self.coincided |= local.value == remote.value;
    }

    /// The daemon has written a value. An error: nobody had written it on the other side.
    pub(crate) fn carried(&mut self, place: Place, value: Text) -> Result<(), String> {
        // What stood there before may come back over a request of ours that landed late.
        let find = |place: Option<Place>| {
            let mut told = self.told.iter().enumerate().rev();
            told.find(|(id, told)| {
                told.value == value && (*id == 0 || place.is_none_or(|place| told.place == place))
            })
        };
        let origin = find(Some(place.other())).or_else(|| find(None));
        let Some((id, origin)) = origin else {
            return Err(format!(
                "{place:?} was given {value:?}, which nobody had written"
            ));
        };
        let knows = origin.over | 1 << id;
        let own = &mut self.halves[place as usize];
        if place == Place::Remote
            && let Some(last) = own.last
            && knows & (1 << last) == 0
            && self.told[last].at_ms >= self.read_at_ms
        {
            self.told[last].fell_into_a_gap = true;
        }
        if let Some(former) = own.value.take() {
            self.gone_over.insert((place, former));
        }
        own.knows |= knows;
        own.value = value;
        self.halves[place.other() as usize].was_carried = true;
        let [local, remote] = &mut self.halves;
        if local.value == remote.value {
            self.agreed.clone_from(&local.value);
            local.knows |= remote.knows;
            remote.knows = local.knows;
            (local.was_carried, remote.was_carried) = (false, false);
        }
        Ok(())
    }

    /// Whether what is seen at rest is what must be.
    pub(crate) fn judge(&self, seen: &FieldSeen, doubt: Doubt) -> Result<(), String> {
        self.nothing_is_lost(seen)?;
        self.no_conflict_without_two_sides(seen, doubt)?;
        let [local, remote] = &self.halves;
        let choices = |last: Option<usize>| -> Vec<Option<usize>> {
            match last {
                Some(id) if self.told[id].takes_back && (doubt.unanswered || self.coincided) => {
                    vec![Some(id), None]
                }
                Some(id) if self.told[id].takes_back => vec![None],
                other => vec![other],
            }
        };
        let mut allowed = Vec::new();
        for l in choices(local.last) {
            for r in choices(remote.last) {
                self.outcomes(l, r, doubt, &mut allowed);
            }
        }
        if allowed.iter().any(|outcome| outcome.fits(self, seen)) {
            return Ok(());
        }
        let words: Vec<String> = allowed.iter().map(|one| one.words(self)).collect();
        Err(format!("{seen:?} where the design allows {words:?}"))
    }

    /// What the tables of section 2 allow for the last write of each side.
    fn outcomes(&self, l: Option<usize>, r: Option<usize>, doubt: Doubt, out: &mut Vec<Stands>) {
        let (Some(l), Some(r)) = (l, r) else {
            let one = l.or(r);
            out.push(match (self.direction, r) {
                (Direction::Push, Some(r)) => Stands::Apart { l: 0, r },
                _ => Stands::Both(one.unwrap_or(0)),
            });
            if self.direction == Direction::Push {
                out.push(Stands::Both(l.unwrap_or(0)));
            }
            return;
        };
        let (of_l, of_r) = (&self.told[l], &self.told[r]);
        if self.direction == Direction::Push {
            out.push(Stands::Both(l));
            out.push(Stands::Apart { l, r });
            return;
        }
        let (l_is_later, r_is_later) = (of_l.over & 1 << r != 0, of_r.over & 1 << l != 0);
        if l_is_later || r_is_later {
            out.push(Stands::Both(if l_is_later { l } else { r }));
            if !doubt.unanswered && !self.coincided {
                return;
            }
        }
        if of_l.value == of_r.value {
            out.push(Stands::Both(l));
        }
        if of_r.fell_into_a_gap {
            out.push(Stands::Won { by: l, over: r });
        }
        let (mine, theirs) = (
            Stands::Won { by: l, over: r },
            Stands::Won { by: r, over: l },
        );
        let ahead = of_l.at_ms - of_r.at_ms;
        match self.policy {
            Policy::Local => out.push(mine),
            Policy::Remote => out.push(theirs),
            Policy::Manual => out.push(Stands::Open { l, r }),
            Policy::Newest => {
                // A tie goes to HubSpot.
                if ahead > -doubt.clock_ms && (ahead != 0 || doubt.clock_ms > 0) {
                    out.push(mine);
                }
                if ahead <= doubt.clock_ms {
                    out.push(theirs);
                }
            }
        }
    }

    /// Whether every value that the daemon wrote over stands in a table for people.
    pub(crate) fn nothing_is_lost(&self, seen: &FieldSeen) -> Result<(), String> {
        let lost = |(_, value): &&(Place, String)| !seen.kept.contains(value);
        match self.gone_over.iter().find(lost) {
            Some((place, value)) => Err(format!(
                "{value} was written over in {place:?} and is kept nowhere"
            )),
            None => Ok(()),
        }
    }

    /// Whether a push went over a value that it could not know.
    pub(crate) fn has_a_gap(&self) -> bool {
        self.told.iter().any(|told| told.fell_into_a_gap)
    }

    fn no_conflict_without_two_sides(&self, seen: &FieldSeen, doubt: Doubt) -> Result<(), String> {
        for conflict in &seen.conflicts {
            if !conflict.is_open && conflict.reason.is_none() {
                return Err(format!("{conflict:?} has no reason"));
            }
            let of = |place, value: &Text| {
                let mut told = self.told.iter().enumerate();
                told.any(|(id, told)| told.value == *value && (told.place == place || id == 0))
            };
            let real = of(Place::Local, &conflict.local) && of(Place::Remote, &conflict.remote);
            let [local, remote] = &self.halves;
            let two = local.last.is_some() && remote.last.is_some();
            let is_of_direction = self.direction != Direction::Both;
            let is_excused = doubt.unanswered || is_of_direction;
            let is_real = real && two;
            if !is_excused && !is_real {
                return Err(format!("{conflict:?} is between nobody"));
            }
        }
        Ok(())
    }
}

/// What may stand at rest.
#[derive(Debug, Clone, Copy)]
enum Stands {
    /// One value on both sides.
    Both(usize),
    /// Two values, since the field goes one way.
    Apart { l: usize, r: usize },
    /// One value on both sides, and a closed conflict with the other.
    Won { by: usize, over: usize },
    /// Two values, and an open conflict.
    Open { l: usize, r: usize },
}

impl Stands {
    fn fits(self, model: &FieldModel, seen: &FieldSeen) -> bool {
        let value = |id: usize| &model.told[id].value;
        let stand = |l: usize, r: usize| seen.local == *value(l) && seen.remote == *value(r);
        let opens = seen.conflicts.iter().filter(|conflict| conflict.is_open);
        match self {
            Self::Both(one) => stand(one, one) && opens.count() == 0,
            Self::Apart { l, r } => stand(l, r),
            Self::Won { by, over } => {
                let (place, loser) = (model.told[by].place, value(over));
                let told = seen.conflicts.iter().any(|conflict| {
                    let (winner, lost) = match place {
                        Place::Local => ("local", &conflict.remote),
                        Place::Remote => ("remote", &conflict.local),
                    };
                    conflict.winner.as_deref() == Some(winner) && lost == loser
                });
                stand(by, by) && told && opens.count() == 0
            }
            Self::Open { l, r } => stand(l, r) && opens.count() == 1,
        }
    }

    fn words(self, model: &FieldModel) -> String {
        let value = |id: usize| model.told[id].value.as_deref().unwrap_or("nothing");
        match self {
            Self::Both(one) => format!("{} on both sides", value(one)),
            Self::Apart { l, r } => format!("{} here and {} there", value(l), value(r)),
            Self::Won { by, over } => {
                format!(
                    "{} on both sides and a conflict with {}",
                    value(by),
                    value(over)
                )
            }
            Self::Open { l, r } => {
                format!(
                    "{} here, {} there, and an open conflict",
                    value(l),
                    value(r)
                )
            }
        }
    }
}
