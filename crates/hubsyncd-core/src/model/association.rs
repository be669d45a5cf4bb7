//! What links two records: a type of a pair, which pairs are mapped, and which types exclude each other.
//!
//! A type is known by its category and its number together: numbers of labels overlap HubSpot's own
//! (`hubspot/api-facts.md#8`).

pub mod json;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::model::id::HubspotId;
use crate::model::mapping::{Direction, Mapping, Policy};
use crate::model::name::{ObjectType, TableName};

/// Who made a type.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Category {
    /// HubSpot itself.
    HubspotDefined,
    /// Somebody in the portal's settings.
    UserDefined,
    /// An app.
    IntegratorDefined,
    /// Whatever else HubSpot says, as it says it.
    Other(String),
}

impl Category {
    /// As HubSpot spells it, and as it stands in tables.
    pub fn as_str(&self) -> &str {
        match self {
            Self::HubspotDefined => "HUBSPOT_DEFINED",
            Self::UserDefined => "USER_DEFINED",
            Self::IntegratorDefined => "INTEGRATOR_DEFINED",
            Self::Other(text) => text,
        }
    }

    /// Reads HubSpot's spelling; no text is wrong.
    pub fn parse(text: &str) -> Self {
        let known = [
            Self::HubspotDefined,
            Self::UserDefined,
            Self::IntegratorDefined,
        ];
        known
            .into_iter()
            .find(|category| category.as_str() == text)
            .unwrap_or_else(|| Self::Other(text.to_owned()))
    }
}

impl fmt::Display for Category {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// The end of an association from which others are excluded by it. In the primary of a contact that is the contact: where it starts
/// (type 1), or where it leads (type 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ExclusiveEnd {
    /// Where it starts.
    #[default]
    From,
    /// Where it leads.
    To,
}

/// What tells one type of a pair from another.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TypeId {
    /// Who made it.
    pub category: Category,
    /// Its number within the category.
    pub number: i64,
}

impl TypeId {
    /// A type of HubSpot's own.
    pub fn of_hubspot(number: i64) -> Self {
        Self {
            category: Category::HubspotDefined,
            number,
        }
    }

    /// The end whose record has at most one association of this type by HubSpot's own rule, which makes room for a new one: each
    /// contact, deal or ticket names its primary company (`hubspot/api-facts.md#8`). What else excludes is
    /// `decide/portal/exclusion`'s to say.
    pub(crate) fn exclusive_end(&self) -> Option<ExclusiveEnd> {
        if !self.is_primary() {
            return None;
        }
        match PRIMARY_FROM.contains(&self.number) {
            true => Some(ExclusiveEnd::From),
            false => Some(ExclusiveEnd::To),
        }
    }

    /// The primary type that the other direction has with it.
    pub(crate) fn turned_primary(&self) -> Option<Self> {
        let at = PRIMARY.iter().position(|number| *number == self.number);
        let at = at.filter(|_| self.category == Category::HubspotDefined)?;
        Some(Self::of_hubspot(PRIMARY[at ^ 1]))
    }

    /// Whether it is a primary type, seen from either side.
    pub fn is_primary(&self) -> bool {
        self.category == Category::HubspotDefined && PRIMARY.contains(&self.number)
    }
}

impl fmt::Display for TypeId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.category, self.number)
    }
}

/// HubSpot's primary types, each beside the one of the other direction.
pub const PRIMARY: [i64; 6] = [1, 2, 5, 6, 25, 26];

/// Those that start from the contact, deal or ticket, which has one at most. Of the others it is where they lead.
const PRIMARY_FROM: [i64; 3] = [1, 5, 26];

/// A type that a pair has in the portal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AssociationType {
    /// What tells it apart.
    pub id: TypeId,
    /// What people see; `None` for the plain type.
    pub label: Option<String>,
    /// With how many records one may have it, where the portal's people limit that.
    pub most: Option<u32>,
}

/// What a record is associated with: the other records, and by which types.
pub type Links = BTreeMap<HubspotId, BTreeSet<TypeId>>;

/// A line of `[associations]`: rows stand from `from` to `to`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PairMapping {
    /// The name of the pair and of its view.
    pub key: TableName,
    /// The object that its rows start from.
    pub from: ObjectType,
    /// The object that they lead to.
    pub to: ObjectType,
    /// Who may write.
    pub direction: Direction,
    /// Who wins where what both sides changed excludes each other; never `newest`, since an association has no time.
    pub policy: Policy,
}

impl PairMapping {
    /// The name by which conflicts, history and holds tell of the pair.
    pub fn name(&self) -> ObjectType {
        ObjectType::parse(self.key.as_str()).expect("a table's name may be an object's")
    }

    /// The same with the policy that another mapping has for it.
    #[must_use]
    pub(crate) fn with_ways_of(self, in_file: &Mapping) -> Self {
        let policy = in_file.pair_of_key(self.key.as_str());
        let policy = policy.map_or(self.policy, |pair| pair.policy);
        Self { policy, ..self }
    }

    /// Whether both ends are records of one object: then each association has a row in each direction.
    pub fn is_of_one_object(&self) -> bool {
        self.from == self.to
    }

    /// The pair in which the other direction of an association has its row: this one itself where it is of one object, else one that
    /// the file maps in the other order.
    pub fn opposite<'a>(&self, pairs: &'a [Self]) -> Option<&'a Self> {
        let mut pairs = pairs.iter();
        pairs.find(|other| other.from == self.to && other.to == self.from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_category_is_read_as_it_is_written() {
        for text in [
            "HUBSPOT_DEFINED",
            "USER_DEFINED",
            "INTEGRATOR_DEFINED",
            "WORK",
            "",
        ] {
            assert_eq!(Category::parse(text).as_str(), text);
        }
        assert_eq!(
            Category::parse("USER_DEFINED"),
            Category::UserDefined,
            "a known one is no other"
        );
    }

    #[test]
    fn a_contact_has_one_primary_company_and_a_company_many_contacts() {
        let user = TypeId {
            category: Category::UserDefined,
            number: 1,
        };
        for (id, end) in [
            (TypeId::of_hubspot(1), Some(ExclusiveEnd::From)),
            (TypeId::of_hubspot(2), Some(ExclusiveEnd::To)),
            (TypeId::of_hubspot(279), None),
            (user, None),
        ] {
            assert_eq!((id.exclusive_end(), id.is_primary()), (end, end.is_some()));
        }
    }
}
