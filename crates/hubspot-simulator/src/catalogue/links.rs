//! The types of association that every portal has (`api-facts.md#8`), each pair of types once.
//!
//! Objects stand by type id. What a portal's people add is in `portal/link_types`.

/// What a type of association is among those of its pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LinkRole {
    /// The unlabelled type, which every other type of the pair implies.
    Plain,
    /// At most one to a record of `from`: the primary company of a contact, a deal or a ticket.
    Primary,
    /// The same, seen from the other end.
    PrimaryInverse,
    /// A label.
    Labelled,
}

impl LinkRole {
    /// The role of the same type as the other end sees it.
    pub(crate) fn inverse(self) -> Self {
        match self {
            Self::Primary => Self::PrimaryInverse,
            Self::PrimaryInverse => Self::Primary,
            Self::Plain | Self::Labelled => self,
        }
    }

    pub(crate) fn is_primary(self) -> bool {
        matches!(self, Self::Primary | Self::PrimaryInverse)
    }
}

/// A type of association and its inverse.
#[derive(Debug)]
pub(crate) struct LinkRow {
    /// Type ids of the two objects.
    pub from: &'static str,
    pub to: &'static str,
    /// Ids of the type, seen from either end.
    pub forward: u32,
    pub backward: u32,
    pub role: LinkRole,
    /// Labels, seen from either end; empty for the plain type.
    pub labels: (&'static str, &'static str),
}

const fn plain(from: &'static str, to: &'static str, forward: u32, backward: u32) -> LinkRow {
    LinkRow {
        from,
        to,
        forward,
        backward,
        role: LinkRole::Plain,
        labels: ("", ""),
    }
}

const fn primary(from: &'static str, to: &'static str, forward: u32, backward: u32) -> LinkRow {
    LinkRow {
        from,
        to,
        forward,
        backward,
        role: LinkRole::Primary,
        labels: ("Primary", "Primary"),
    }
}

const fn labelled(
    (from, to): (&'static str, &'static str),
    (forward, backward): (u32, u32),
    labels: (&'static str, &'static str),
) -> LinkRow {
    LinkRow {
        from,
        to,
        forward,
        backward,
        role: LinkRole::Labelled,
        labels,
    }
}

const CONTACT: &str = "0-1";
const COMPANY: &str = "0-2";
const DEAL: &str = "0-3";
const TICKET: &str = "0-5";
const LINE_ITEM: &str = "0-8";
const QUOTE: &str = "0-14";
const COMMUNICATION: &str = "0-18";
const FEEDBACK: &str = "0-19";
const TASK: &str = "0-27";
const NOTE: &str = "0-46";
const MEETING: &str = "0-47";
const CALL: &str = "0-48";
const EMAIL: &str = "0-49";
const POSTAL_MAIL: &str = "0-116";
const LEAD: &str = "0-136";

/// The whole table; the ids of leads are known from HubSpot's samples alone.
pub(crate) const LINKS: &[LinkRow] = &[
    primary(CONTACT, COMPANY, 1, 2),
    plain(CONTACT, COMPANY, 279, 280),
    plain(CONTACT, DEAL, 4, 3),
    plain(CONTACT, TICKET, 15, 16),
    plain(CONTACT, CONTACT, 449, 449),
    plain(COMPANY, COMPANY, 450, 450),
    labelled(
        (COMPANY, COMPANY),
        (13, 14),
        ("Child Company", "Parent Company"),
    ),
    primary(DEAL, COMPANY, 5, 6),
    plain(DEAL, COMPANY, 341, 342),
    plain(DEAL, DEAL, 451, 451),
    plain(DEAL, LINE_ITEM, 19, 20),
    plain(DEAL, TICKET, 27, 28),
    plain(DEAL, QUOTE, 63, 64),
    primary(TICKET, COMPANY, 26, 25),
    plain(TICKET, COMPANY, 339, 340),
    plain(TICKET, TICKET, 452, 452),
    plain(QUOTE, LINE_ITEM, 67, 68),
    plain(QUOTE, CONTACT, 69, 70),
    labelled(
        (QUOTE, CONTACT),
        (702, 703),
        ("Contact Signer", "Signed quote"),
    ),
    plain(QUOTE, COMPANY, 71, 72),
    plain(QUOTE, TASK, 217, 218),
    plain(COMMUNICATION, CONTACT, 81, 82),
    plain(COMMUNICATION, COMPANY, 87, 88),
    plain(COMMUNICATION, DEAL, 85, 86),
    plain(COMMUNICATION, TICKET, 83, 84),
    plain(FEEDBACK, CONTACT, 98, 97),
    plain(FEEDBACK, TICKET, 100, 99),
    plain(CALL, MEETING, 399, 400),
    plain(CALL, CONTACT, 194, 193),
    plain(CALL, COMPANY, 182, 181),
    plain(CALL, DEAL, 206, 205),
    plain(CALL, TICKET, 220, 219),
    plain(EMAIL, CONTACT, 198, 197),
    plain(EMAIL, COMPANY, 186, 185),
    plain(EMAIL, DEAL, 210, 209),
    plain(EMAIL, TICKET, 224, 223),
    plain(MEETING, CONTACT, 200, 199),
    plain(MEETING, COMPANY, 188, 187),
    plain(MEETING, DEAL, 212, 211),
    plain(MEETING, TICKET, 226, 225),
    plain(NOTE, CONTACT, 202, 201),
    plain(NOTE, COMPANY, 190, 189),
    plain(NOTE, DEAL, 214, 213),
    plain(NOTE, TICKET, 228, 227),
    plain(TASK, CONTACT, 204, 203),
    plain(TASK, COMPANY, 192, 191),
    plain(TASK, DEAL, 216, 215),
    plain(TASK, TICKET, 230, 229),
    plain(POSTAL_MAIL, CONTACT, 453, 454),
    plain(POSTAL_MAIL, COMPANY, 459, 460),
    plain(POSTAL_MAIL, DEAL, 457, 458),
    plain(POSTAL_MAIL, TICKET, 455, 456),
    primary(LEAD, CONTACT, 578, 579),
    plain(LEAD, CONTACT, 608, 609),
    plain(LEAD, COMPANY, 610, 611),
];
