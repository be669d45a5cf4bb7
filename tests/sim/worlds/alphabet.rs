//! The letters of which small worlds are made, and how a world is written down as a list that reads like a test.

use std::fmt::{self, Write as _};

use hubsyncd::model::mapping::{Direction, Policy};
use hubsyncd::simulator::faults::FaultKind;

use crate::points::Point;
use crate::worlds::acts::Act;

/// When an act comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum When {
    /// A moment after the one before.
    Next,
    /// At the nth passing of a point after that, counted from nought.
    At(Point, u8),
}

/// An act in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Placed {
    pub(crate) act: Act,
    pub(crate) when: When,
}

impl From<Act> for Placed {
    fn from(act: Act) -> Self {
        Self {
            act,
            when: When::Next,
        }
    }
}

/// A fault of one request: the one before which so many went through since the first act.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct OneFault {
    pub(crate) kind: FaultKind,
    pub(crate) after: u8,
}

/// The faults of single requests.
pub(crate) const FAULTS: [(FaultKind, &str); 8] = [
    (FaultKind::AnswerLost, "its answer is lost"),
    (FaultKind::NeverArrived, "it never arrives"),
    (FaultKind::Late, "it lands late and its answer is lost"),
    (FaultKind::RateLimited, "it is answered 429"),
    (FaultKind::Unavailable, "it is answered 503"),
    (FaultKind::CutBody, "its answer is cut"),
    (FaultKind::InternalError, "it is answered 500"),
    (FaultKind::Slow, "its answer is slow"),
];

/// Faults of what an answer says; not every request can meet each.
pub(crate) const ODD_ANSWERS: [(FaultKind, &str); 3] = [
    (FaultKind::OmittedRecord, "its answer leaves a record out"),
    (
        FaultKind::UnreadableRecord,
        "its answer could not read a record",
    ),
    (FaultKind::FutureDate, "its answer is dated a year ahead"),
];

/// A lock that a request meets; no other is in the way.
const LOCKED: (FaultKind, &str) = (FaultKind::Locked, "it is answered 423");

/// An answer that tells nothing, of a request that was not carried out: it is in doubt like one that was lost on its way back.
const UNTOLD: (FaultKind, &str) = (FaultKind::HtmlAnswer, "it is answered by a page");

/// Every fault that a world can have.
fn faults() -> impl Iterator<Item = (FaultKind, &'static str)> {
    FAULTS
        .into_iter()
        .chain(ODD_ANSWERS)
        .chain([UNTOLD, LOCKED])
}

/// The words for a fault.
pub(crate) fn words_of_fault(kind: FaultKind) -> &'static str {
    faults()
        .find(|(own, _)| *own == kind)
        .map_or("", |(_, explanation)| explanation)
}

/// In what a world's mapping differs from the plain one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Mode {
    /// In nothing.
    Plain,
    /// Companies are synced too, and how records hang together.
    Linked,
    /// `on_remote_delete = "mark"`.
    Marks,
    /// `on_remote_delete = "recreate"`.
    MakesAnew,
    /// `on_local_delete = "restore"`.
    BringsBack,
    /// `new_records = "from_hubspot"`.
    FromHubspot,
    /// `new_records = "from_local"`.
    FromLocal,
    /// `new_records = "none"`.
    OnlyLinks,
    /// `write = "if_empty"` of the hot field.
    IfEmpty,
    /// The same, of a field that is empty at first and whose history is not told.
    Fills,
    /// `write = "append"` of the hot field, which holds options.
    Append,
    /// `history = false` of the hot field.
    Untold,
    /// Nothing may go without an operator's word.
    Guarded,
    /// One row or record may go within an hour, and no more without an operator's word.
    Sparing,
    /// No value of a column may be emptied without an operator's word.
    Filled,
    /// The object has neither a key nor a match property.
    Keyless,
    /// The token sees what its user sees.
    User,
    /// At first the person has neither a row nor a record.
    New,
    /// Nothing of the object was read yet.
    Fresh,
    /// HubSpot allows few requests, and asks whoever it refuses to stay away for an hour.
    Narrow,
    /// A trigger of a program's own writes to what a program has just written.
    Triggered,
    /// `remote_history = true` of the hot field.
    Remembers,
}

impl Mode {
    /// All of them, with their words.
    pub(crate) const ALL: [(Self, &'static str); 22] = [
        (Self::Plain, "plain"),
        (Self::Linked, "associations"),
        (Self::Marks, "on_remote_delete mark"),
        (Self::MakesAnew, "on_remote_delete recreate"),
        (Self::BringsBack, "on_local_delete restore"),
        (Self::FromHubspot, "new_records from_hubspot"),
        (Self::FromLocal, "new_records from_local"),
        (Self::OnlyLinks, "new_records none"),
        (Self::IfEmpty, "write if_empty"),
        (Self::Fills, "write if_empty of an empty field"),
        (Self::Append, "write append"),
        (Self::Untold, "history false"),
        (Self::Guarded, "guarded"),
        (Self::Sparing, "one may go"),
        (Self::Filled, "nothing may be emptied"),
        (Self::Keyless, "keyless"),
        (Self::User, "sees user"),
        (Self::New, "a new person"),
        (Self::Fresh, "a first read"),
        (Self::Narrow, "few requests"),
        (Self::Triggered, "a program's trigger"),
        (Self::Remembers, "remote_history true"),
    ];

    pub(crate) fn explanation(self) -> &'static str {
        word_of(&Self::ALL, self)
    }

    /// Whether the guard may hold what is to go.
    pub(crate) fn holds(self) -> bool {
        matches!(self, Self::Guarded | Self::Sparing)
    }

    /// Whether a row that is inserted makes no record.
    pub(crate) fn only_links(self) -> bool {
        matches!(self, Self::FromHubspot | Self::OnlyLinks)
    }

    /// Whether a record that is new in HubSpot makes no row.
    pub(crate) fn leaves_alone(self) -> bool {
        matches!(self, Self::FromLocal | Self::OnlyLinks)
    }
}

/// What a world's mapping says, and whether HubSpot announces changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Setup {
    pub(crate) policy: Policy,
    pub(crate) direction: Direction,
    pub(crate) webhooks: bool,
    /// By how much HubSpot's clock is ahead of the machine's, milliseconds.
    pub(crate) ahead_ms: i64,
    pub(crate) mode: Mode,
}

impl Setup {
    /// Both ways, everything else as it usually is.
    pub(crate) const fn of(policy: Policy) -> Self {
        Self {
            policy,
            direction: Direction::Both,
            webhooks: false,
            ahead_ms: 0,
            mode: Mode::Plain,
        }
    }

    pub(crate) const fn with(self, mode: Mode) -> Self {
        Self { mode, ..self }
    }
}

/// A small world.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Small {
    pub(crate) setup: Setup,
    pub(crate) acts: Vec<Placed>,
    pub(crate) fault: Option<OneFault>,
    /// Draws the order of tasks that are ready together, and whether a request outlives a kill.
    pub(crate) chance: u8,
}

fn word_of<T: PartialEq + Copy>(list: &[(T, &'static str)], one: T) -> &'static str {
    let found = list.iter().find(|(own, _)| *own == one);
    found.map_or("", |(_, word)| word)
}

fn of_word<T: Copy>(list: &[(T, &'static str)], word: &str) -> Option<T> {
    let found = list.iter().find(|(_, own)| *own == word);
    found.map(|(one, _)| *one)
}

impl fmt::Display for Small {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let setup = self.setup;
        write!(
            formatter,
            "policy = {}, direction = {}, webhooks = {}, chance = {}",
            setup.policy.as_str(),
            setup.direction.as_str(),
            setup.webhooks,
            self.chance,
        )?;
        if setup.mode != Mode::Plain {
            write!(formatter, ", mode = {}", setup.mode.explanation())?;
        }
        writeln!(formatter)?;
        if setup.ahead_ms != 0 {
            writeln!(formatter, "HubSpot's clock: {} ms ahead", setup.ahead_ms)?;
        }
        if let Some(fault) = self.fault {
            let explanation = words_of_fault(fault.kind);
            writeln!(formatter, "request {}: {explanation}", fault.after)?;
        }
        for placed in &self.acts {
            let mut line = String::new();
            if let When::At(point, nth) = placed.when {
                write!(line, "at {point} {nth}: ")?;
            }
            writeln!(formatter, "{line}{}", placed.act.explanation())?;
        }
        Ok(())
    }
}

impl Small {
    /// Whether its fault is an answer that comes late, and comes.
    pub(crate) fn is_slow(&self) -> bool {
        let kind = self.fault.map(|fault| fault.kind);
        kind == Some(FaultKind::Slow)
    }

    /// Reads what `Display` writes; lines that begin with `#` say something to people.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut lines = text
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty() && !line.starts_with('#'));
        let first = lines.next()?;
        let mut small = Self {
            setup: parse_setup(first)?,
            acts: Vec::new(),
            fault: None,
            chance: value_of(first, "chance")?.parse().ok()?,
        };
        for line in lines {
            if let Some(rest) = line.strip_prefix("HubSpot's clock: ") {
                let (ahead, _) = rest.split_once(' ')?;
                small.setup.ahead_ms = ahead.parse().ok()?;
            } else if let Some(rest) = line.strip_prefix("request ") {
                let (after, explanation) = rest.split_once(": ")?;
                small.fault = Some(OneFault {
                    kind: faults().find(|(_, own)| *own == explanation)?.0,
                    after: after.parse().ok()?,
                });
            } else {
                small.acts.push(parse_placed(line)?);
            }
        }
        Some(small)
    }
}

fn value_of<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let mut parts = line.split(", ").filter_map(|part| part.split_once(" = "));
    parts.find(|(own, _)| *own == name).map(|(_, value)| value)
}

fn parse_setup(line: &str) -> Option<Setup> {
    Some(Setup {
        policy: Policy::parse(value_of(line, "policy")?)?,
        direction: Direction::parse(value_of(line, "direction")?)?,
        webhooks: value_of(line, "webhooks")? == "true",
        ahead_ms: 0,
        mode: match value_of(line, "mode") {
            Some(word) => of_word(&Mode::ALL, word)?,
            None => Mode::Plain,
        },
    })
}

fn parse_placed(line: &str) -> Option<Placed> {
    let Some(rest) = line.strip_prefix("at ") else {
        return Some(Act::parse(line)?.into());
    };
    let (place, explanation) = rest.split_once(": ")?;
    let (point, nth) = place.rsplit_once(' ')?;
    Some(Placed {
        act: Act::parse(explanation)?,
        when: When::At(Point::parse(point)?, nth.parse().ok()?),
    })
}

#[test]
fn a_world_is_read_as_it_was_written() {
    let small = Small {
        setup: Setup {
            webhooks: true,
            ahead_ms: -30_000,
            ..Setup::of(Policy::Newest).with(Mode::Linked)
        },
        acts: vec![
            Act::Write.into(),
            Placed {
                act: Act::Edit,
                when: When::At(Point::parse("read answered").expect("a point"), 1),
            },
        ],
        fault: Some(OneFault {
            kind: FaultKind::AnswerLost,
            after: 2,
        }),
        chance: 7,
    };
    assert_eq!(Small::parse(&small.to_string()), Some(small));
}
