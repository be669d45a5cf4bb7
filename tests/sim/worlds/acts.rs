//! What happens in small worlds: each act, with the words by which a kept world names it.

use hubsyncd::model::mapping::Policy;

use crate::worlds::alphabet::{Mode, Setup};

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
    /// An operator takes back what is held.
    TakeBack,
    /// The token's user no longer sees the record.
    Hide,
    /// It sees it again.
    Show,
    /// A comparison begins.
    Compare,
    /// A program replaces the row by one of the same number, with a new value.
    Replace,
    /// A program inserts the person again under the number of the row that is gone.
    InsertNumber,
    /// A program inserts a second row of the person.
    InsertTwin,
    /// A person archives another record.
    ArchiveOther,
    /// A program deletes another row.
    DeleteOther,
    /// A program writes the field of another person's row.
    WriteElsewhere,
    /// A person writes the field of another person's record.
    EditElsewhere,
    /// A program writes new values again and again, each a while after the one before.
    Toggle,
    /// A program writes two new values in one transaction.
    WriteTwice,
    /// A person writes in HubSpot what an update carried last.
    EditSent,
    /// Another app does.
    EditSentByApp,
    /// A person merges the record into another one.
    MergeAway,
    /// An operator decides by a word that means nothing.
    DecideOddly,
    /// An operator decides for a value of his own.
    DecideValue,
    /// The machine's clock goes ahead by a day.
    ClockDayAhead,
    /// It goes back by a day.
    ClockDayBack,
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
    pub(crate) const ALL: [(Self, &'static str); 70] = [
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
        (Self::TakeBack, "an operator takes back what is held"),
        (Self::Hide, "the record is hidden from the token"),
        (Self::Show, "the token sees the record again"),
        (Self::Compare, "a comparison begins"),
        (Self::Replace, "a program replaces the row"),
        (
            Self::InsertNumber,
            "a program inserts the same person under the former number",
        ),
        (
            Self::InsertTwin,
            "a program inserts a second row of the person",
        ),
        (Self::ArchiveOther, "a person archives another record"),
        (Self::DeleteOther, "a program deletes another row"),
        (Self::WriteElsewhere, "a program writes another row"),
        (Self::EditElsewhere, "a person writes another record"),
        (Self::Toggle, "a program writes new values again and again"),
        (
            Self::WriteTwice,
            "a program writes two new values in one transaction",
        ),
        (
            Self::EditSent,
            "a person writes what an update carried last",
        ),
        (
            Self::EditSentByApp,
            "another app writes what an update carried last",
        ),
        (Self::MergeAway, "a person merges it into another record"),
        (
            Self::DecideOddly,
            "an operator decides by a word that means nothing",
        ),
        (
            Self::DecideValue,
            "an operator decides for a value of his own",
        ),
        (Self::ClockDayAhead, "the clock goes a day ahead"),
        (Self::ClockDayBack, "the clock goes a day back"),
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
            Self::Approve => setup.mode.holds() || setup.mode == Mode::Filled,
            Self::TakeBack => setup.mode == Mode::Filled,
            Self::ArchiveOther | Self::DeleteOther => setup.mode == Mode::Sparing,
            Self::InsertTwin => setup.mode == Mode::New,
            Self::WriteElsewhere | Self::EditElsewhere => {
                matches!(setup.mode, Mode::Plain | Mode::MakesAnew | Mode::BringsBack)
            }
            Self::Hide | Self::Show => setup.mode == Mode::User,
            Self::DecideLocal
            | Self::DecideRemote
            | Self::DecideOddly
            | Self::DecideValue
            | Self::Discard => setup.policy == Policy::Manual,
            Self::Retry => setup.mode.only_links(),
            // Options are added one by one.
            Self::WriteTwice | Self::Toggle | Self::EditSent | Self::EditSentByApp => {
                setup.mode != Mode::Append
            }
            Self::Replace => !matches!(setup.mode, Mode::Append | Mode::Linked),
            Self::InsertNumber | Self::MergeAway => setup.mode != Mode::Linked,
            _ => true,
        }
    }

    /// Whether the daemon may need longer for what else happens.
    pub(crate) fn disturbs(self) -> bool {
        matches!(
            self,
            Self::Kill
                | Self::Down
                | Self::ClockAhead
                | Self::ClockBack
                | Self::ClockDayAhead
                | Self::ClockDayBack
                | Self::Insert
                | Self::InsertNumber
                | Self::InsertTwin
        )
    }

    /// Its place among all.
    pub(crate) fn place(self) -> usize {
        let mut all = Self::ALL.iter();
        all.position(|(act, _)| *act == self).unwrap_or_default()
    }

    pub(crate) fn explanation(self) -> &'static str {
        let found = Self::ALL.iter().find(|(act, _)| *act == self);
        found.map_or("", |(_, explanation)| explanation)
    }

    pub(crate) fn parse(explanation: &str) -> Option<Self> {
        let found = Self::ALL.iter().find(|(_, own)| *own == explanation);
        found.map(|(act, _)| *act)
    }
}
