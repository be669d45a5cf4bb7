//! `Mapping`: which object meets which table, which property which column, and by what rules.
//!
//! `config/check.rs` makes it from the file; types that the file leaves out are settled by `decide::schema` from the
//! portal. Nothing here is read from a file or a database.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::model::association::PairMapping;
use crate::model::name::{ColumnName, ObjectType, PropertyName, TableName};
use crate::model::object::modified_property;
use crate::model::value::PropertyType;

/// Which way values flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Both ways.
    Both,
    /// From HubSpot to the mirror only; local writes are refused.
    Pull,
    /// From the mirror to HubSpot only; HubSpot's value is never taken.
    Push,
}

impl Direction {
    /// The name in the mapping file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Both => "both",
            Self::Pull => "pull",
            Self::Push => "push",
        }
    }

    /// Reads a name of the mapping file.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Both, Self::Pull, Self::Push]
            .into_iter()
            .find(|candidate| candidate.as_str() == name)
    }

    /// The narrower of an object's and a property's direction; `pull` with `push` has none.
    pub fn narrow(self, property: Self) -> Option<Self> {
        match (self, property) {
            (Self::Both, other) | (other, Self::Both) => Some(other),
            (Self::Pull, Self::Pull) => Some(Self::Pull),
            (Self::Push, Self::Push) => Some(Self::Push),
            (Self::Pull, Self::Push) | (Self::Push, Self::Pull) => None,
        }
    }

    /// Whether HubSpot's values are taken.
    pub fn pulls(self) -> bool {
        self != Self::Push
    }

    /// Whether local values are sent.
    pub fn pushes(self) -> bool {
        self != Self::Pull
    }
}

/// Who wins where both sides changed one field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Policy {
    /// HubSpot's value.
    Remote,
    /// The mirror's value.
    Local,
    /// The later change, in HubSpot's time; a tie goes to remote.
    Newest,
    /// Nobody, until a person decides.
    Manual,
}

impl Policy {
    /// All policies, in the order of the manual.
    pub const ALL: [Self; 4] = [Self::Remote, Self::Local, Self::Newest, Self::Manual];

    /// The name in the mapping file and in `sync_conflicts.policy`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Remote => "remote",
            Self::Local => "local",
            Self::Newest => "newest",
            Self::Manual => "manual",
        }
    }

    /// Reads a name of the mapping file.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|candidate| candidate.as_str() == name)
    }
}

/// How a local value is written to HubSpot (design, section 4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum WriteMode {
    /// It takes the place of HubSpot's.
    #[default]
    Replace,
    /// It goes out only while HubSpot has none.
    IfEmpty,
    /// What it adds to a set goes out; it takes nothing away.
    Append,
}

impl WriteMode {
    /// All modes, in the order of the manual.
    pub const ALL: [Self; 3] = [Self::Replace, Self::IfEmpty, Self::Append];

    /// The name in the mapping file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Replace => "replace",
            Self::IfEmpty => "if_empty",
            Self::Append => "append",
        }
    }

    /// Reads a name of the mapping file.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|candidate| candidate.as_str() == name)
    }
}

/// How a property is written, and what is kept of its values over time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FieldModes {
    /// How a local value is written; in force is [`FieldMapping::write_mode`].
    pub write: WriteMode,
    /// Whether its changes are kept in `sync_history`. What gives way to the other side is kept all the same.
    pub history: bool,
    /// Whether HubSpot's own history of it is kept in `property_history`.
    pub remote_history: bool,
    /// Whether HubSpot takes no write of it any more, though it took some before: it is pulled on, and local writes wait. Its direction
    /// stays what the file says, so that its column takes writes: whether it is sent says [`FieldMapping::is_sent`].
    pub locked: bool,
}

impl Default for FieldModes {
    fn default() -> Self {
        Self {
            write: WriteMode::Replace,
            history: true,
            remote_history: false,
            locked: false,
        }
    }
}

/// How a create of an object is made repeatable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyChoice {
    /// The unique property `hubsyncd_key`, made before the first create if it is missing.
    Auto,
    /// A natural key: a unique property of the portal's. The row's own value identifies the record and is never replaced.
    Property(PropertyName),
    /// None: only the match property can find a record whose answer was lost.
    None,
}

/// What an archived record in HubSpot does to its clean row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum OnRemoteDelete {
    /// The row goes.
    #[default]
    Delete,
    /// The row stays and says so, and takes no write.
    Mark,
    /// The row stays and is created again: HubSpot restores no record by its API.
    Recreate,
}

impl OnRemoteDelete {
    /// All of them, in the order of the manual.
    pub const ALL: [Self; 3] = [Self::Delete, Self::Mark, Self::Recreate];
}

/// What a deleted row does to its record in HubSpot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum OnLocalDelete {
    /// The record is archived.
    #[default]
    Archive,
    /// Nothing: the row comes back.
    Restore,
}

impl OnLocalDelete {
    /// Both of them, in the order of the manual.
    pub const ALL: [Self; 2] = [Self::Archive, Self::Restore];
}

/// Which side may make records of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum NewRecords {
    /// Either.
    #[default]
    Both,
    /// HubSpot alone: a row that is inserted here links to a record that is there.
    FromHubspot,
    /// The side here alone: a record that no row means is left alone.
    FromLocal,
    /// Neither: rows and records are linked.
    None,
}

impl NewRecords {
    /// Whether a record of HubSpot's that no row means becomes a row.
    pub fn makes_rows(self) -> bool {
        matches!(self, Self::Both | Self::FromHubspot)
    }

    /// Whether a row that means no record of HubSpot's becomes one.
    pub fn makes_records(self) -> bool {
        matches!(self, Self::Both | Self::FromLocal)
    }

    /// The name in the mapping file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Both => "both",
            Self::FromHubspot => "from_hubspot",
            Self::FromLocal => "from_local",
            Self::None => "none",
        }
    }
}

/// What the token sees of the portal, and so what a record means that an answer misses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Sees {
    /// Everything: what is missed is gone.
    #[default]
    Portal,
    /// What its user may see: what is missed may be hidden.
    User,
}

/// How an object is read first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum FirstReadBy {
    /// By lists, with searches beside them where that is faster.
    #[default]
    List,
    /// By lists alone.
    ListOnly,
}

/// How an object's records come and go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Modes {
    /// What an archived record does here.
    pub on_remote_delete: OnRemoteDelete,
    /// What a deleted row does there.
    pub on_local_delete: OnLocalDelete,
    /// Which side may make records.
    pub new_records: NewRecords,
    /// What the token sees: `[auth].sees`, the same for all objects.
    pub sees: Sees,
    /// Whether a value that is none of HubSpot's options is refused where it is written.
    pub strict_options: bool,
    /// How the object is read first.
    pub backfill: FirstReadBy,
}

/// A property and its column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldMapping {
    /// HubSpot's name.
    pub property: PropertyName,
    /// The column's name.
    pub column: ColumnName,
    /// The type in the file; `None` where the portal decides.
    pub declared_type: Option<PropertyType>,
    /// The type in force: declared, else the portal's, else `string`.
    pub property_type: PropertyType,
    /// The narrower of the object's and the property's own direction; `Pull` for what HubSpot calculates.
    pub direction: Direction,
    /// The policy in force for this field.
    pub policy: Policy,
    /// How it is written, and what is kept of it.
    pub modes: FieldModes,
}

impl FieldMapping {
    /// Whether requests carry what is written here.
    pub fn is_sent(&self) -> bool {
        self.direction.pushes() && !self.modes.locked
    }

    /// How a local value is written. What flows one way is only ever replaced.
    pub fn write_mode(&self) -> WriteMode {
        match self.modes.write {
            WriteMode::Append if self.property_type != PropertyType::Set => WriteMode::Replace,
            mode if self.direction == Direction::Both => mode,
            WriteMode::Replace | WriteMode::IfEmpty | WriteMode::Append => WriteMode::Replace,
        }
    }
}

/// An object and its table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectMapping {
    /// The key in the mapping file, also the name in status tables: HubSpot's plural name of a standard object.
    pub object: ObjectType,
    /// What HubSpot is asked for, where that is not the key: `object` in the file; once the schema was read, a custom
    /// object's type id.
    pub address: Option<ObjectType>,
    /// The mirror table.
    pub table: TableName,
    /// Which way the object flows.
    pub direction: Direction,
    /// How creates are made repeatable.
    pub key: KeyChoice,
    /// The property by which a row without an id finds a record that HubSpot has already.
    pub match_property: Option<PropertyName>,
    /// How records come and go.
    pub modes: Modes,
    /// The object's own policy, for conflicts of existence.
    pub policy: Policy,
    /// Time between two polls.
    pub poll: Duration,
    /// The mapped properties, in the file's order. Empty only as long as a custom object's schema is to name them.
    pub fields: Vec<FieldMapping>,
}

/// The property that keys our own creates (`design.md`, "A create must never happen twice").
pub const OWN_KEY: &str = "hubsyncd_key";

impl ObjectMapping {
    /// What HubSpot is asked for.
    pub fn address(&self) -> &ObjectType {
        self.address.as_ref().unwrap_or(&self.object)
    }

    /// All of it that the mirror goes by.
    fn shape(&self) -> Self {
        let mut shape = self.clone();
        shape.policy = Policy::Remote;
        shape.poll = Duration::ZERO;
        shape.modes.sees = Sees::default();
        shape.modes.backfill = FirstReadBy::default();
        for field in &mut shape.fields {
            field.policy = Policy::Remote;
        }
        shape
    }

    /// The same with what another mapping says of ways to go. A field that the file leaves to the schema has its object's policy.
    pub(crate) fn with_ways_of(&self, in_file: &Mapping) -> Self {
        let Some(other) = in_file.object(self.object.as_str()) else {
            return self.clone();
        };
        let mut own = self.clone();
        own.policy = other.policy;
        own.poll = other.poll;
        own.modes.sees = other.modes.sees;
        own.modes.backfill = other.modes.backfill;
        for field in &mut own.fields {
            let named = other.field(&field.property);
            field.policy = named.map_or(other.policy, |named| named.policy);
        }
        own
    }

    /// The field of a property.
    pub fn field(&self, property: &PropertyName) -> Option<&FieldMapping> {
        self.fields.iter().find(|field| &field.property == property)
    }

    /// The fields whose own history in HubSpot is kept.
    pub fn with_remote_history(&self) -> impl Iterator<Item = &FieldMapping> {
        let fields = self.fields.iter();
        fields.filter(|field| field.modes.remote_history)
    }

    /// Whether a field is written only where HubSpot has no value.
    pub fn has_if_empty(&self) -> bool {
        let mut fields = self.fields.iter();
        fields.any(|field| field.write_mode() == WriteMode::IfEmpty)
    }

    /// The name of the property that holds the time of a record's last change.
    pub fn modified_property(&self) -> &'static str {
        modified_property(&self.object)
    }

    /// Whether its creates are to carry a key of our own: none goes out where rows become no records.
    pub(crate) fn carries_own_key(&self) -> bool {
        let makes_records = self.direction.pushes() && self.modes.new_records.makes_records();
        makes_records && self.key == KeyChoice::Auto
    }

    /// The field of the natural key, where there is one.
    pub fn key_field(&self) -> Option<&FieldMapping> {
        match &self.key {
            KeyChoice::Property(property) => self.field(property),
            KeyChoice::Auto | KeyChoice::None => None,
        }
    }

    /// The fields whose values say which record a row is, the surest first: its natural key, then its match property. One
    /// that holds several values says nothing of the kind; `misnamed_identities` has those.
    pub fn identities(&self) -> impl Iterator<Item = &FieldMapping> {
        self.named_identities()
            .filter(|field| field.property_type.is_one_value())
    }

    /// The properties that `key` or `match` names, and by whose values no record can be found.
    pub(crate) fn misnamed_identities(&self) -> impl Iterator<Item = &FieldMapping> {
        self.named_identities()
            .filter(|field| !field.property_type.is_one_value())
    }

    fn named_identities(&self) -> impl Iterator<Item = &FieldMapping> {
        let key = self.key_field();
        let other = self
            .match_field()
            .filter(move |field| key.is_none_or(|key| key.property != field.property));
        key.into_iter().chain(other)
    }

    /// The field of the match property, where that is mapped.
    pub fn match_field(&self) -> Option<&FieldMapping> {
        self.match_property
            .as_ref()
            .and_then(|property| self.field(property))
    }
}

/// All objects and the pairs of them whose links are mapped, in the file's order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Mapping {
    /// The objects.
    pub objects: Vec<ObjectMapping>,
    /// The pairs; both ends of each are mapped.
    pub pairs: Vec<PairMapping>,
}

impl Mapping {
    /// The mapping of an object by its name.
    pub fn object(&self, name: &str) -> Option<&ObjectMapping> {
        self.objects
            .iter()
            .find(|object| object.object.as_str() == name)
    }

    /// The pair whose rows start from one object and lead to another.
    pub fn pair(&self, from: &str, to: &str) -> Option<&PairMapping> {
        self.pairs
            .iter()
            .find(|pair| pair.from.as_str() == from && pair.to.as_str() == to)
    }

    /// The pair of a name.
    pub fn pair_of_key(&self, key: &str) -> Option<&PairMapping> {
        self.pairs.iter().find(|pair| pair.key.as_str() == key)
    }

    /// The same with what another mapping of the same shape says of ways to go: who wins, when HubSpot is asked, what the token
    /// sees, how a first read goes. Steps look at these when they begin; the mirror knows none of them.
    #[must_use]
    pub fn with_ways_of(&self, in_file: &Self) -> Self {
        let objects = self.objects.iter();
        let pairs = self.pairs.iter().cloned();
        Self {
            objects: objects.map(|own| own.with_ways_of(in_file)).collect(),
            pairs: pairs.map(|own| own.with_ways_of(in_file)).collect(),
        }
    }

    /// The objects for which the mirror has to be made to fit after `former`, those that came or went included: their tables, columns
    /// or pairs differ, and not only the ways to go.
    pub fn reshaped(&self, former: &Self) -> BTreeSet<ObjectType> {
        let mut reshaped = BTreeSet::new();
        let mut without_their_tables = BTreeSet::new();
        let names = [self, former].map(|own| own.objects.iter().map(|object| &object.object));
        for name in names.into_iter().flatten() {
            let shape = |of: &Self| of.object(name.as_str()).map(ObjectMapping::shape);
            let (own, other) = (shape(self), shape(former));
            if own != other {
                reshaped.insert(name.clone());
                let fields_apart = |shape: ObjectMapping| ObjectMapping {
                    fields: Vec::new(),
                    ..shape
                };
                if own.map(fields_apart) != other.map(fields_apart) {
                    without_their_tables.insert(name.clone());
                }
            }
        }
        let ends = |pair: &PairMapping| [pair.from.clone(), pair.to.clone()];
        for pair in self.pairs.iter().chain(&former.pairs) {
            let shape = |of: &Self| {
                let own = of.pair_of_key(pair.key.as_str());
                own.map(|own| (own.from.clone(), own.to.clone(), own.direction))
            };
            // Steps of the object at the other end know the table too.
            let leads_to_one = ends(pair)
                .iter()
                .any(|end| without_their_tables.contains(end));
            if shape(self) != shape(former) || leads_to_one {
                reshaped.extend(ends(pair));
            }
        }
        reshaped
    }

    /// The same mapping of some of its objects only; a pair needs both of its ends.
    #[must_use]
    pub fn of_objects(&self, is_wanted: impl Fn(&ObjectMapping) -> bool) -> Self {
        let objects: Vec<ObjectMapping> = self
            .objects
            .iter()
            .filter(|object| is_wanted(object))
            .cloned()
            .collect();
        let has = |name: &ObjectType| objects.iter().any(|object| object.object == *name);
        let pairs = self
            .pairs
            .iter()
            .filter(|pair| has(&pair.from) && has(&pair.to))
            .cloned()
            .collect();
        Self { objects, pairs }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_property_that_holds_several_values_identifies_no_record() {
        let field = |name: &str, property_type| FieldMapping {
            property: PropertyName::parse(name).expect(name),
            column: crate::model::name::ColumnName::parse(name).expect(name),
            declared_type: None,
            property_type,
            direction: Direction::Both,
            policy: Policy::Newest,
            modes: FieldModes::default(),
        };
        let property = |name: &str| PropertyName::parse(name).expect(name);
        let mut object = ObjectMapping {
            object: ObjectType::parse("contacts").expect("name"),
            address: None,
            table: TableName::parse("contacts").expect("name"),
            direction: Direction::Both,
            key: KeyChoice::Property(property("number")),
            match_property: Some(property("interests")),
            modes: Modes::default(),
            policy: Policy::Newest,
            poll: std::time::Duration::from_secs(10),
            fields: vec![
                field("number", PropertyType::String),
                field("interests", PropertyType::Set),
            ],
        };
        let names = |fields: Vec<&FieldMapping>| -> Vec<String> {
            fields
                .iter()
                .map(|field| field.property.to_string())
                .collect()
        };
        assert_eq!(names(object.identities().collect()), ["number"]);
        assert_eq!(names(object.misnamed_identities().collect()), ["interests"]);
        object.key = KeyChoice::Property(property("interests"));
        assert_eq!(object.identities().count(), 0);
    }

    #[test]
    fn the_narrower_direction_holds_and_opposites_have_none() {
        assert_eq!(
            Direction::Both.narrow(Direction::Pull),
            Some(Direction::Pull)
        );
        assert_eq!(
            Direction::Push.narrow(Direction::Both),
            Some(Direction::Push)
        );
        assert_eq!(Direction::Pull.narrow(Direction::Push), None);
        assert_eq!(
            Direction::Both.narrow(Direction::Both),
            Some(Direction::Both)
        );
    }
}
