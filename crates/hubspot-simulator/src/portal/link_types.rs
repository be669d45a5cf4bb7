//! Which types of association a portal has: HubSpot's, and the labels that its people made (`api-facts.md#8`).
//!
//! A type is named by category and id together: ids of labels are small numbers that HubSpot's own types have, too.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use crate::catalogue::links::{LINKS, LinkRole};
use crate::catalogue::{OBJECTS, ObjectIndex, object_named};

/// Who made a type of association.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LinkCategory {
    /// HubSpot.
    HubSpot,
    /// The portal's people.
    User,
    /// An app.
    Integrator,
    /// HubSpot's own apps for work.
    Work,
}

impl LinkCategory {
    const NAMES: [(Self, &'static str); 4] = [
        (Self::HubSpot, "HUBSPOT_DEFINED"),
        (Self::User, "USER_DEFINED"),
        (Self::Integrator, "INTEGRATOR_DEFINED"),
        (Self::Work, "WORK"),
    ];

    /// As the API names it.
    pub fn name(self) -> &'static str {
        let known = Self::NAMES.iter().find(|(category, _)| *category == self);
        known.map_or("", |(_, name)| name)
    }

    pub(crate) fn parse(name: &str) -> Option<Self> {
        let known = Self::NAMES.iter().find(|(_, known)| *known == name);
        known.map(|(category, _)| *category)
    }
}

/// A type of association as the `from` end sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkType {
    /// Without it `type_id` means nothing.
    pub category: LinkCategory,
    /// The number within the category.
    pub type_id: u32,
}

impl LinkType {
    /// One of HubSpot's own types.
    pub fn hubspot(type_id: u32) -> Self {
        Self {
            category: LinkCategory::HubSpot,
            type_id,
        }
    }

    /// A label of the portal.
    pub fn user(type_id: u32) -> Self {
        Self {
            category: LinkCategory::User,
            type_id,
        }
    }
}

/// A type of association of one pair of objects, seen from `from`.
#[derive(Clone, Debug)]
pub(crate) struct LinkDefinition {
    pub from: ObjectIndex,
    pub to: ObjectIndex,
    pub kind: LinkType,
    /// The same type as the other end sees it.
    pub inverse: LinkType,
    pub role: LinkRole,
    pub label: Option<String>,
    pub name: String,
    /// To how many records one of `from` may have this type, if the portal has set a limit.
    pub most: Option<u32>,
}

type Pairs = BTreeMap<(ObjectIndex, ObjectIndex), Vec<LinkDefinition>>;

/// All types of a portal, by pair. A copy of a portal shares them until one of the two changes.
#[derive(Clone, Debug)]
pub(crate) struct LinkTypes {
    pairs: Arc<Pairs>,
    next_id: u32,
}

static OF_A_NEW_PORTAL: LazyLock<Arc<Pairs>> = LazyLock::new(|| Arc::new(of_a_new_portal()));

/// The two ends of a new label.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NewLabel<'a> {
    pub from: ObjectIndex,
    pub to: ObjectIndex,
    /// Internal name.
    pub name: &'a str,
    /// `None`: the plain type of a pair that had none.
    pub label: Option<&'a str>,
    /// As the other end sees it; `None`: the same.
    pub inverse_label: Option<&'a str>,
}

impl Default for LinkTypes {
    fn default() -> Self {
        Self {
            pairs: Arc::clone(&OF_A_NEW_PORTAL),
            next_id: 1,
        }
    }
}

impl LinkTypes {
    /// The types of a pair, in the order of their making.
    pub(crate) fn of(&self, from: ObjectIndex, to: ObjectIndex) -> &[LinkDefinition] {
        self.pairs.get(&(from, to)).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn find(
        &self,
        from: ObjectIndex,
        to: ObjectIndex,
        kind: LinkType,
    ) -> Option<&LinkDefinition> {
        let mut known = self.of(from, to).iter();
        known.find(|definition| definition.kind == kind)
    }

    /// The unlabelled type of a pair.
    pub(crate) fn plain(&self, from: ObjectIndex, to: ObjectIndex) -> Option<&LinkDefinition> {
        let mut known = self.of(from, to).iter();
        known.find(|definition| definition.role == LinkRole::Plain)
    }

    /// The primary type, where records of `from` have one primary record of `to`.
    pub(crate) fn primary(&self, from: ObjectIndex, to: ObjectIndex) -> Option<&LinkDefinition> {
        let mut known = self.of(from, to).iter();
        known.find(|definition| definition.role == LinkRole::Primary)
    }

    /// The type that a record of `from` may have, whatever the other end's object.
    pub(crate) fn seen_from(&self, from: ObjectIndex, kind: LinkType) -> Option<&LinkDefinition> {
        let pairs = self.pairs.range((from, 0)..(from + 1, 0));
        let mut known = pairs.flat_map(|(_, definitions)| definitions);
        known.find(|definition| definition.kind == kind)
    }

    /// Every type, by pair.
    pub(crate) fn all(&self) -> impl Iterator<Item = &LinkDefinition> {
        self.pairs.values().flatten()
    }

    /// Makes a type of the portal's own in both directions; their ids.
    pub(crate) fn add(&mut self, new: NewLabel<'_>) -> (LinkType, LinkType) {
        let kind = LinkType::user(self.next_id);
        // A label that both ends of one object share is one type.
        let is_one = new.from == new.to && new.inverse_label.is_none();
        let inverse = LinkType::user(self.next_id + u32::from(!is_one));
        self.next_id = inverse.type_id + 1;
        let role = if new.label.is_some() {
            LinkRole::Labelled
        } else {
            LinkRole::Plain
        };
        let forward = LinkDefinition {
            from: new.from,
            to: new.to,
            kind,
            inverse,
            role,
            label: new.label.map(str::to_owned),
            name: new.name.to_owned(),
            most: None,
        };
        let backward = LinkDefinition {
            label: new.inverse_label.or(new.label).map(str::to_owned),
            ..inverse_of(&forward, format!("{}_inverse", new.name))
        };
        let pairs = Arc::make_mut(&mut self.pairs);
        pairs.entry((new.from, new.to)).or_default().push(forward);
        if !is_one {
            pairs.entry((new.to, new.from)).or_default().push(backward);
        }
        (kind, inverse)
    }

    /// Changes a type in place.
    pub(crate) fn change(
        &mut self,
        (from, to): (ObjectIndex, ObjectIndex),
        kind: LinkType,
        change: impl FnOnce(&mut LinkDefinition),
    ) {
        let pair = Arc::make_mut(&mut self.pairs).get_mut(&(from, to));
        let found = pair.and_then(|known| known.iter_mut().find(|one| one.kind == kind));
        if let Some(definition) = found {
            change(definition);
        }
    }

    /// Takes a type away in both directions.
    pub(crate) fn remove(&mut self, definition: &LinkDefinition) {
        let pairs = Arc::make_mut(&mut self.pairs);
        let ends = [
            ((definition.from, definition.to), definition.kind),
            ((definition.to, definition.from), definition.inverse),
        ];
        for (pair, kind) in ends {
            if let Some(known) = pairs.get_mut(&pair) {
                known.retain(|one| one.kind != kind);
            }
        }
    }
}

fn inverse_of(definition: &LinkDefinition, name: String) -> LinkDefinition {
    LinkDefinition {
        from: definition.to,
        to: definition.from,
        kind: definition.inverse,
        inverse: definition.kind,
        role: definition.role.inverse(),
        label: definition.label.clone(),
        name,
        most: None,
    }
}

/// The old names: `contact_to_company` is the primary type where there is one, else the plain one.
fn name_of(from: ObjectIndex, to: ObjectIndex, role: LinkRole, has_primary: bool) -> String {
    let ends = format!("{}_to_{}", OBJECTS[from].singular, OBJECTS[to].singular);
    match role {
        LinkRole::Plain if has_primary => format!("{ends}_unlabeled"),
        LinkRole::Plain | LinkRole::Primary | LinkRole::PrimaryInverse => ends,
        LinkRole::Labelled => format!("{ends}_labeled"),
    }
}

fn of_a_new_portal() -> Pairs {
    let mut pairs = Pairs::new();
    for row in LINKS {
        let (Some(from), Some(to)) = (object_named(row.from), object_named(row.to)) else {
            continue;
        };
        let has_primary = LINKS
            .iter()
            .any(|other| (other.from, other.to) == (row.from, row.to) && other.role.is_primary());
        let label = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        let forward = LinkDefinition {
            from,
            to,
            kind: LinkType::hubspot(row.forward),
            inverse: LinkType::hubspot(row.backward),
            role: row.role,
            label: label(row.labels.0),
            name: name_of(from, to, row.role, has_primary),
            most: None,
        };
        let name = name_of(to, from, row.role, has_primary);
        let backward = LinkDefinition {
            label: label(row.labels.1),
            ..inverse_of(&forward, name)
        };
        pairs.entry((from, to)).or_default().push(forward);
        if row.forward != row.backward {
            pairs.entry((to, from)).or_default().push(backward);
        }
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::{COMPANY, CONTACT};

    #[test]
    fn each_type_has_an_inverse_whose_inverse_it_is() {
        let types = LinkTypes::default();
        for definition in types.all() {
            let inverse = types
                .find(definition.to, definition.from, definition.inverse)
                .expect("both directions");
            assert_eq!(inverse.inverse, definition.kind);
            assert_eq!(inverse.role, definition.role.inverse());
        }
    }

    #[test]
    fn a_label_takes_ids_that_hubspot_has_too_and_is_another_type() {
        let mut types = LinkTypes::default();
        let (kind, inverse) = types.add(NewLabel {
            from: CONTACT,
            to: COMPANY,
            name: "adviser",
            label: Some("Adviser"),
            inverse_label: Some("Advised by"),
        });
        assert_eq!((kind, inverse), (LinkType::user(1), LinkType::user(2)));
        let labels: Vec<_> = [LinkType::hubspot(1), kind]
            .iter()
            .filter_map(|kind| types.find(CONTACT, COMPANY, *kind)?.label.as_deref())
            .collect();
        assert_eq!(labels, ["Primary", "Adviser"]);
    }
}
