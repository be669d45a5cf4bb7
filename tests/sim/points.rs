//! The points of a run at which something else can be made to happen: they lie in the seam to HubSpot, not in the product.

use std::fmt;

/// What a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Call {
    /// A page of changes.
    Search,
    /// Records by their ids or keys, from the store.
    Read,
    /// The same with the history of properties.
    History,
    /// A page of all records.
    List,
    /// New records.
    Create,
    /// New records by a key of their own.
    Upsert,
    /// Changes.
    Update,
    /// Removals.
    Archive,
    /// What records are associated with.
    Links,
    /// New associations.
    Associate,
    /// Associations that go.
    Disassociate,
    /// Schema, account and what else is asked for seldom.
    Other,
    /// No request: a program's commit, of which nobody has told the daemon.
    Commit,
}

impl Call {
    pub(crate) const ALL: [Self; 13] = [
        Self::Search,
        Self::Read,
        Self::History,
        Self::List,
        Self::Create,
        Self::Upsert,
        Self::Update,
        Self::Archive,
        Self::Links,
        Self::Associate,
        Self::Disassociate,
        Self::Other,
        Self::Commit,
    ];

    /// By the address, and for reads by what they ask for.
    pub(crate) fn of(template: &str, body: Option<&[u8]>) -> Self {
        let Some((_, end)) = template.rsplit_once("{object}") else {
            return Self::Other;
        };
        let asks_for_history = || {
            let text = String::from_utf8_lossy(body.unwrap_or_default());
            text.contains("\"propertiesWithHistory\":[\"")
        };
        match end {
            "" if template.contains("objects") => Self::List,
            "/search" => Self::Search,
            "/batch/read" if asks_for_history() => Self::History,
            "/batch/read" => Self::Read,
            "/batch/create" => Self::Create,
            "/batch/upsert" => Self::Upsert,
            "/batch/update" => Self::Update,
            "/batch/archive" => Self::Archive,
            "/{to}/batch/read" => Self::Links,
            "/{to}/batch/associate/default" | "/{to}/batch/create" => Self::Associate,
            "/{to}/batch/archive" | "/{to}/batch/labels/archive" => Self::Disassociate,
            _ => Self::Other,
        }
    }

    /// The word for it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Search => "search",
            Self::Read => "read",
            Self::History => "history",
            Self::List => "list",
            Self::Create => "create",
            Self::Upsert => "upsert",
            Self::Update => "update",
            Self::Archive => "archive",
            Self::Links => "links",
            Self::Associate => "associate",
            Self::Disassociate => "disassociate",
            Self::Other => "other",
            Self::Commit => "commit",
        }
    }
}

/// How far a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Moment {
    /// On the wire: claimed and not sent, for a write.
    Departed,
    /// HubSpot has carried it out, and nobody knows.
    Landed,
    /// The answer is here, and nobody has looked at it.
    Answered,
}

impl Moment {
    pub(crate) const ALL: [Self; 3] = [Self::Departed, Self::Landed, Self::Answered];

    /// The word for it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Departed => "departed",
            Self::Landed => "landed",
            Self::Answered => "answered",
        }
    }
}

/// A point of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Point {
    /// Whose.
    pub(crate) call: Call,
    /// When.
    pub(crate) moment: Moment,
}

impl Point {
    /// Between a program's commit and the ring that tells the daemon.
    pub(crate) const COMMITTED: Self = Self {
        call: Call::Commit,
        moment: Moment::Landed,
    };

    /// Reads what `Display` writes.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (call, moment) = text.split_once(' ')?;
        Some(Self {
            call: Call::ALL.into_iter().find(|one| one.as_str() == call)?,
            moment: Moment::ALL.into_iter().find(|one| one.as_str() == moment)?,
        })
    }
}

impl fmt::Display for Point {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.call.as_str(), self.moment.as_str())
    }
}

/// A point that was passed.
#[derive(Debug, Clone)]
pub(crate) struct Passing {
    /// Which.
    pub(crate) point: Point,
    /// What HubSpot answered, where that is under way to the daemon.
    pub(crate) answer: String,
}
