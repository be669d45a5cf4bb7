//! What happens beside the daemon: a list of acts that is drawn with the plan and can be replayed, shortened and read.
//!
//! An act carries the seed of its own draws, so that it does the same whatever was left out before it.

use std::collections::BTreeMap;
use std::fmt;

use rand::{Rng as _, RngExt as _};
use rand_chacha::ChaCha8Rng;

use crate::plan::pick;
use crate::points::{Call, Moment, Point};

/// Who acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// A local program.
    Program,
    /// A person with a SQL shell.
    Operator,
    /// A person in HubSpot.
    Person,
    /// The machine, the network, time.
    Machine,
}

/// Something that happens, to a hot record and a hot field more often than not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Act {
    Write,
    WriteTwice,
    WriteSame,
    ThereAndBack,
    Toggle,
    WriteAll,
    Insert,
    InsertKnown,
    InsertAndDelete,
    Delete,
    Reinsert,
    Replace,
    Upsert,
    PassOn,
    RollBack,
    Decide,
    Discard,
    Retry,
    Approve,
    Create,
    Edit,
    EditBack,
    Archive,
    Restore,
    Merge,
    Kill,
    PutBack,
    Jump,
    StepDate,
    Sleep,
    Lock,
    LoseAnswers,
}

impl Act {
    /// All of them, with who does it, how often in an even plan, and its words.
    pub(crate) const ALL: [(Self, Side, u32, &'static str); 32] = [
        (Self::Write, Side::Program, 20, "a program writes"),
        (Self::WriteTwice, Side::Program, 4, "a program writes twice"),
        (
            Self::WriteSame,
            Side::Program,
            3,
            "a program writes what is there",
        ),
        (
            Self::ThereAndBack,
            Side::Program,
            4,
            "a program writes and takes it back",
        ),
        (Self::Toggle, Side::Program, 2, "a program toggles a field"),
        (
            Self::WriteAll,
            Side::Program,
            1,
            "a program writes every row",
        ),
        (Self::Insert, Side::Program, 6, "a program inserts"),
        (
            Self::InsertKnown,
            Side::Program,
            3,
            "a program inserts a person that HubSpot knows",
        ),
        (
            Self::InsertAndDelete,
            Side::Program,
            1,
            "a program inserts and deletes",
        ),
        (Self::Delete, Side::Program, 4, "a program deletes"),
        (
            Self::Reinsert,
            Side::Program,
            3,
            "a program deletes and inserts again",
        ),
        (Self::Replace, Side::Program, 2, "a program replaces"),
        (Self::Upsert, Side::Program, 2, "a program upserts"),
        (
            Self::PassOn,
            Side::Program,
            2,
            "a program passes unique values on",
        ),
        (Self::RollBack, Side::Program, 1, "a program rolls back"),
        (Self::Decide, Side::Operator, 2, "an operator decides"),
        (Self::Discard, Side::Operator, 2, "an operator discards"),
        (Self::Retry, Side::Operator, 2, "an operator retries"),
        (Self::Approve, Side::Operator, 2, "an operator approves"),
        (Self::Create, Side::Person, 6, "a person creates"),
        (Self::Edit, Side::Person, 24, "a person edits"),
        (
            Self::EditBack,
            Side::Person,
            4,
            "a person takes the last edit back",
        ),
        (Self::Archive, Side::Person, 5, "a person archives"),
        (Self::Restore, Side::Person, 2, "a person restores"),
        (Self::Merge, Side::Person, 3, "a person merges"),
        (Self::Kill, Side::Machine, 3, "the daemon is killed"),
        (Self::PutBack, Side::Machine, 1, "an older file is put back"),
        (Self::Jump, Side::Machine, 2, "the clock jumps"),
        (
            Self::StepDate,
            Side::Machine,
            2,
            "the date of answers steps",
        ),
        (Self::Sleep, Side::Machine, 2, "the process sleeps"),
        (Self::Lock, Side::Machine, 2, "a program holds the lock"),
        (
            Self::LoseAnswers,
            Side::Machine,
            3,
            "answers on their way are lost",
        ),
    ];

    /// Who does it.
    pub(crate) fn side(self) -> Side {
        Self::ALL[self as usize].1
    }

    fn explanation(self) -> &'static str {
        Self::ALL[self as usize].3
    }
}

/// When an act comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    /// So many milliseconds after the one before.
    After(u64),
    /// After so many turns of the daemon's tasks, whatever time that takes.
    Turns(u64),
    /// At the n-th passing of a point, counted from one on: an appointment, whatever comes before it.
    At(Point, u32),
}

/// An act in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Deed {
    /// What its texts are known by.
    pub(crate) number: u64,
    /// When.
    pub(crate) when: When,
    /// What.
    pub(crate) act: Act,
    /// The seed of its draws.
    pub(crate) draw: u64,
}

impl fmt::Display for Deed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.when {
            When::After(ms) => write!(formatter, "{} after {ms} ms", self.number)?,
            When::Turns(turns) => write!(formatter, "{} after {turns} turns", self.number)?,
            When::At(point, times) => write!(formatter, "{} at {times} {point}", self.number)?,
        }
        write!(formatter, ": {} ({})", self.act.explanation(), self.draw)
    }
}

impl Deed {
    /// Reads what `Display` writes.
    pub(crate) fn parse(line: &str) -> Option<Self> {
        let (place, rest) = line.split_once(": ")?;
        let (explanation, draw) = rest.strip_suffix(')')?.rsplit_once(" (")?;
        let (number, place) = place.split_once(' ')?;
        let when = if let Some(ms) = place.strip_suffix(" ms") {
            When::After(ms.strip_prefix("after ")?.parse().ok()?)
        } else if let Some(turns) = place.strip_suffix(" turns") {
            When::Turns(turns.strip_prefix("after ")?.parse().ok()?)
        } else {
            let (times, point) = place.strip_prefix("at ")?.split_once(' ')?;
            When::At(Point::parse(point)?, times.parse().ok()?)
        };
        Some(Self {
            number: number.parse().ok()?,
            when,
            act: Act::ALL.iter().find(|known| known.3 == explanation)?.0,
            draw: draw.parse().ok()?,
        })
    }

    /// Whether it waits for a point.
    pub(crate) fn is_appointment(&self) -> bool {
        matches!(self.when, When::At(..))
    }
}

/// Which kinds of acts a plan may have beside those that each has.
#[derive(Debug, Clone, Copy)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each says whether one kind of thing happens"
)]
pub(crate) struct Allowed {
    /// The machine's.
    pub(crate) faults: bool,
    /// Archives and restores.
    pub(crate) removals: bool,
    /// Merges.
    pub(crate) merges: bool,
    /// Operators'.
    pub(crate) operators: bool,
}

/// Draws what happens: no kind of act has one fixed rate.
pub(crate) fn draw(rng: &mut ChaCha8Rng, allowed: Allowed) -> Vec<Deed> {
    let weights = weights(rng, allowed);
    let tempos: Vec<(u64, u64)> = (0..rng.random_range(1..=3))
        .map(|_| {
            *pick(
                rng,
                &[
                    (0, 0),
                    (0, 60),
                    (0, 600),
                    (0, 4_000),
                    (0, 12_000),
                    (40_000, 120_000),
                ],
            )
        })
        .collect();
    let turns = *pick(rng, &[0.0, 0.05, 0.3]);
    let count = *pick(rng, &[6, 12, 25, 50, 80]);
    let mut deeds = Vec::new();
    for number in 1..=rng.random_range(count / 2..=count) {
        let when = if rng.random_bool(turns) {
            When::Turns(rng.random_range(1..40))
        } else {
            let (least, most) = *pick(rng, &tempos);
            When::After(rng.random_range(least..=most))
        };
        deeds.push(deed(rng, &weights, number, when));
    }
    let meets: Vec<(Act, u32)> = even(allowed)
        .filter(|(act, _)| MEETS.contains(act))
        .map(|(act, _)| (act, 1))
        .collect();
    for number in 1..=*pick(rng, &[0, 2, 4, 8]) {
        let point = Point {
            call: *pick(rng, &MET),
            moment: *pick(rng, &Moment::ALL),
        };
        let when = When::At(point, *pick(rng, &[1, 1, 2, 3, 5]));
        let kinds = if rng.random_bool(0.7) {
            &meets
        } else {
            &weights
        };
        deeds.push(deed(rng, kinds, 1_000 + number, when));
    }
    deeds
}

/// The requests at which something is made to happen.
const MET: [Call; 8] = [
    Call::Search,
    Call::Read,
    Call::History,
    Call::List,
    Call::Create,
    Call::Upsert,
    Call::Update,
    Call::Archive,
];

/// What is made to happen there, more often than anything else.
const MEETS: [Act; 11] = [
    Act::Write,
    Act::Edit,
    Act::EditBack,
    Act::Delete,
    Act::Reinsert,
    Act::Archive,
    Act::Merge,
    Act::Kill,
    Act::Jump,
    Act::Lock,
    Act::LoseAnswers,
];

fn deed(rng: &mut ChaCha8Rng, weights: &[(Act, u32)], number: u64, when: When) -> Deed {
    let all: u32 = weights.iter().map(|(_, weight)| weight).sum();
    let mut at = rng.random_range(0..all);
    let mut act = Act::Write;
    for (one, weight) in weights {
        if at < *weight {
            act = *one;
            break;
        }
        at -= weight;
    }
    Deed {
        number,
        when,
        act,
        draw: rng.next_u64() % 1_000_000,
    }
}

fn weights(rng: &mut ChaCha8Rng, allowed: Allowed) -> Vec<(Act, u32)> {
    let factors: Vec<u32> = Act::ALL
        .iter()
        .map(|(act, side, _, _)| match (act, side) {
            (Act::PutBack, _) => *pick(rng, &[0, 0, 0, 0, 0, 0, 0, 0, 20, 40]),
            (_, Side::Machine) => *pick(rng, &[0, 0, 0, 0, 6, 15, 40]),
            (Act::Write | Act::Edit, _) => *pick(rng, &[3, 10, 30]),
            _ => *pick(rng, &[0, 3, 10, 10, 40]),
        })
        .collect();
    let factors: BTreeMap<Act, u32> = Act::ALL
        .iter()
        .map(|(act, _, _, _)| *act)
        .zip(factors)
        .collect();
    even(allowed)
        .map(|(act, weight)| (act, weight * factors[&act]))
        .collect()
}

/// What is allowed, and how often in an even plan.
fn even(allowed: Allowed) -> impl Iterator<Item = (Act, u32)> {
    let is_allowed = move |act: Act, side: Side| match (act, side) {
        (_, Side::Machine) => allowed.faults,
        (_, Side::Operator) => allowed.operators,
        (Act::Archive | Act::Restore, _) => allowed.removals,
        (Act::Merge, _) => allowed.merges,
        (_, Side::Program | Side::Person) => true,
    };
    Act::ALL
        .into_iter()
        .filter(move |(act, side, _, _)| is_allowed(*act, *side))
        .map(|(act, _, weight, _)| (act, weight))
}

#[test]
fn an_act_is_read_as_it_is_written() {
    let point = Point {
        call: Call::Update,
        moment: Moment::Landed,
    };
    for (index, when) in [When::After(7), When::Turns(3), When::At(point, 2)]
        .into_iter()
        .enumerate()
    {
        for (place, (act, side, _, _)) in Act::ALL.into_iter().enumerate() {
            let deed = Deed {
                number: index as u64 + 1,
                when,
                act,
                draw: 5,
            };
            assert_eq!((act as usize, act.side()), (place, side));
            assert_eq!(Deed::parse(&deed.to_string()), Some(deed));
        }
    }
}
