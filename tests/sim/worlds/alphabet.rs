//! The letters of which small worlds are made, and how a world is written down as a list that reads like a test.

use std::fmt::{self, Write as _};

use hubsyncd::model::mapping::{Direction, Policy};
use hubsyncd::simulator::faults::FaultKind;

use crate::points::Point;

/// Something that happens in a small world, to its one record and its one field unless it says otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Act {
    /// A program writes a new value.
    Write,
    /// A program writes the value of the beginning.
    WriteBack,
    /// A program writes another field of the record.
    WriteOther,
    /// A program deletes the row.
    Delete,
    /// A program inserts a row of the same person.
    Insert,
    /// A person writes a new value in HubSpot.
    Edit,
    /// A person writes the value of the beginning.
    EditBack,
    /// A person writes another field of the record.
    EditOther,
    /// A person writes what the row holds.
    EditSame,
    /// A person archives the record.
    Archive,
    /// A person restores it.
    Restore,
    /// A person merges another record into it.
    Merge,
    /// A person has the record erased, as a privacy law demands.
    Erase,
    /// What HubSpot has to announce arrives.
    Announce,
    /// What HubSpot has to announce is lost.
    Lose,
    /// The daemon is killed and starts again.
    Kill,
    /// The daemon is killed, and stays away.
    Down,
    /// It starts again.
    Up,
    /// The machine's clock goes ahead by ten minutes.
    ClockAhead,
    /// It goes back by ten minutes.
    ClockBack,
    /// Some seconds pass.
    Pause,
    /// Time passes beyond the next poll.
    Poll,
    /// It passes until the next poll is so near that the search index will be behind.
    Eve,
    /// A program clears the field.
    Clear,
    /// A person clears it in HubSpot.
    ClearThere,
    /// Another app writes a new value.
    EditByApp,
    /// A person makes a record of the same person, where there is none.
    Create,
    /// An operator decides for what stands here.
    DecideLocal,
    /// An operator decides for what stands in HubSpot.
    DecideRemote,
    /// An operator gives up what waits.
    Discard,
    /// An operator has what is dead tried again.
    Retry,
    /// An operator lets go what the guard holds.
    Approve,
    /// The token's user no longer sees the record.
    Hide,
    /// It sees it again.
    Show,
    /// A program does something with the record's associations.
    Ties(Tying),
    /// A person does.
    TiesThere(Tying),
}

/// What is done with the associations of the record and one of three companies: at first the first one is its primary company.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Tying {
    /// The second one is associated with it.
    Join,
    /// The first one is, if it no longer was.
    JoinFirst,
    /// The second one becomes its primary one.
    Prefer,
    /// The third one does.
    PreferThird,
    /// The first one gets a label.
    Label,
    /// The first one loses the label, or is no longer the primary one.
    Unlabel,
    /// The first one is no longer associated with it.
    Part,
    /// The second one is not.
    PartSecond,
    /// A company that is new, too.
    JoinNew,
}

impl Act {
    /// All of them, with their words.
    pub(crate) const ALL: [(Self, &'static str); 52] = [
        (Self::Write, "a program writes a new value"),
        (Self::WriteBack, "a program writes the first value"),
        (Self::WriteOther, "a program writes another field"),
        (Self::Delete, "a program deletes the row"),
        (Self::Insert, "a program inserts the same person"),
        (Self::Edit, "a person writes a new value"),
        (Self::EditBack, "a person writes the first value"),
        (Self::EditOther, "a person writes another field"),
        (Self::EditSame, "a person writes what the row holds"),
        (Self::Archive, "a person archives the record"),
        (Self::Restore, "a person restores the record"),
        (Self::Merge, "a person merges another record into it"),
        (Self::Erase, "a person has the record erased"),
        (Self::Announce, "announcements arrive"),
        (Self::Lose, "announcements are lost"),
        (Self::Kill, "the daemon is killed and starts again"),
        (Self::Down, "the daemon is killed"),
        (Self::Up, "the daemon starts again"),
        (Self::ClockAhead, "the clock goes ten minutes ahead"),
        (Self::ClockBack, "the clock goes ten minutes back"),
        (Self::Pause, "three seconds pass"),
        (Self::Poll, "time passes beyond the next poll"),
        (Self::Eve, "time passes until just before the next poll"),
        (Self::Clear, "a program clears the field"),
        (Self::ClearThere, "a person clears the field"),
        (Self::EditByApp, "another app writes a new value"),
        (Self::Create, "a person makes a record of the same person"),
        (
            Self::DecideLocal,
            "an operator decides for what stands here",
        ),
        (
            Self::DecideRemote,
            "an operator decides for what stands in HubSpot",
        ),
        (Self::Discard, "an operator discards what waits"),
        (Self::Retry, "an operator retries what is dead"),
        (Self::Approve, "an operator approves what is held"),
        (Self::Hide, "the record is hidden from the token"),
        (Self::Show, "the token sees the record again"),
        (
            Self::Ties(Tying::Join),
            "a program associates the second company",
        ),
        (
            Self::Ties(Tying::JoinFirst),
            "a program associates the first company",
        ),
        (
            Self::Ties(Tying::Prefer),
            "a program makes the second company the primary one",
        ),
        (
            Self::Ties(Tying::PreferThird),
            "a program makes the third company the primary one",
        ),
        (
            Self::Ties(Tying::Label),
            "a program labels the first company",
        ),
        (
            Self::Ties(Tying::Unlabel),
            "a program takes a label from the first company",
        ),
        (
            Self::Ties(Tying::Part),
            "a program disassociates the first company",
        ),
        (
            Self::Ties(Tying::PartSecond),
            "a program disassociates the second company",
        ),
        (
            Self::Ties(Tying::JoinNew),
            "a program associates a new company",
        ),
        (
            Self::TiesThere(Tying::Join),
            "a person associates the second company",
        ),
        (
            Self::TiesThere(Tying::JoinFirst),
            "a person associates the first company",
        ),
        (
            Self::TiesThere(Tying::Prefer),
            "a person makes the second company the primary one",
        ),
        (
            Self::TiesThere(Tying::PreferThird),
            "a person makes the third company the primary one",
        ),
        (
            Self::TiesThere(Tying::Label),
            "a person labels the first company",
        ),
        (
            Self::TiesThere(Tying::Unlabel),
            "a person takes a label from the first company",
        ),
        (
            Self::TiesThere(Tying::Part),
            "a person disassociates the first company",
        ),
        (
            Self::TiesThere(Tying::PartSecond),
            "a person disassociates the second company",
        ),
        (
            Self::TiesThere(Tying::JoinNew),
            "a person associates a new company",
        ),
    ];

    /// Whether a world of that mapping can have it.
    #[expect(clippy::wildcard_enum_match_arm, reason = "all others are as usual")]
    pub(crate) fn belongs(self, setup: Setup) -> bool {
        match self {
            Self::Ties(_) | Self::TiesThere(_) => setup.mode == Mode::Linked,
            Self::Approve => setup.mode == Mode::Guarded,
            Self::Hide | Self::Show => setup.mode == Mode::User,
            Self::DecideLocal | Self::DecideRemote | Self::Discard => {
                setup.policy == Policy::Manual
            }
            Self::Retry => setup.mode.only_links(),
            _ => true,
        }
    }

    /// Whether the daemon may need longer for what else happens.
    pub(crate) fn disturbs(self) -> bool {
        matches!(
            self,
            Self::Kill | Self::Down | Self::ClockAhead | Self::ClockBack | Self::Insert
        )
    }

    fn words(self) -> &'static str {
        let found = Self::ALL.iter().find(|(act, _)| *act == self);
        found.map_or("", |(_, words)| words)
    }

    fn parse(words: &str) -> Option<Self> {
        let found = Self::ALL.iter().find(|(_, own)| *own == words);
        found.map(|(act, _)| *act)
    }
}

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
    /// The object has neither a key nor a match property.
    Keyless,
    /// The token sees what its user sees.
    User,
}

impl Mode {
    /// All of them, with their words.
    pub(crate) const ALL: [(Self, &'static str); 15] = [
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
        (Self::Keyless, "keyless"),
        (Self::User, "sees user"),
    ];

    pub(crate) fn words(self) -> &'static str {
        word_of(&Self::ALL, self)
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
            write!(formatter, ", mode = {}", setup.mode.words())?;
        }
        writeln!(formatter)?;
        if setup.ahead_ms != 0 {
            writeln!(formatter, "HubSpot's clock: {} ms ahead", setup.ahead_ms)?;
        }
        if let Some(fault) = self.fault {
            let words = word_of(&FAULTS, fault.kind);
            writeln!(formatter, "request {}: {words}", fault.after)?;
        }
        for placed in &self.acts {
            let mut line = String::new();
            if let When::At(point, nth) = placed.when {
                write!(line, "at {point} {nth}: ")?;
            }
            writeln!(formatter, "{line}{}", placed.act.words())?;
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
                let (after, words) = rest.split_once(": ")?;
                small.fault = Some(OneFault {
                    kind: of_word(&FAULTS, words)?,
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
    let (place, words) = rest.split_once(": ")?;
    let (point, nth) = place.rsplit_once(' ')?;
    Some(Placed {
        act: Act::parse(words)?,
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
