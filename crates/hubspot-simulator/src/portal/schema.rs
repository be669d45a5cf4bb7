//! Property definitions of one object: look-up, creation, change and archiving of definitions (`api-facts.md#7`).

use std::collections::HashMap;

use crate::portal::record::PropertyId;

/// `type` of a property: decides the meaning, where `fieldType` only decides the display.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    String,
    Number,
    Bool,
    Enumeration,
    Date,
    Datetime,
    PhoneNumber,
    Json,
}

impl Kind {
    const NAMES: [(Kind, &'static str); 8] = [
        (Kind::String, "string"),
        (Kind::Number, "number"),
        (Kind::Bool, "bool"),
        (Kind::Enumeration, "enumeration"),
        (Kind::Date, "date"),
        (Kind::Datetime, "datetime"),
        (Kind::PhoneNumber, "phone_number"),
        (Kind::Json, "json"),
    ];

    pub(crate) fn name(self) -> &'static str {
        Self::NAMES
            .iter()
            .find(|(kind, _)| *kind == self)
            .map_or("string", |(_, name)| name)
    }

    pub(crate) fn parse(name: &str) -> Option<Self> {
        Self::NAMES
            .iter()
            .find(|(_, known)| *known == name)
            .map(|(kind, _)| *kind)
    }
}

/// One allowed value of an enumeration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Choice {
    pub value: String,
    pub label: String,
    pub hidden: bool,
    pub description: String,
}

/// A property's definition.
#[derive(Clone, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "the flags of HubSpot's definition, each on its own"
)]
pub(crate) struct Property {
    pub name: String,
    pub label: String,
    pub kind: Kind,
    pub field_type: String,
    pub group: String,
    pub description: String,
    pub choices: Vec<Choice>,
    pub unique: bool,
    pub hidden: bool,
    pub form_field: bool,
    pub calculated: bool,
    pub external_options: bool,
    pub referenced_object: Option<String>,
    pub hubspot_defined: bool,
    pub read_only: bool,
    /// Whether the properties API knows it; some are readable all the same (`api-facts.md#7`).
    pub listed: bool,
    pub display_order: i64,
    pub created_ms: i64,
    pub updated_ms: i64,
    pub archived_ms: Option<i64>,
}

impl Property {
    /// A plain writable property; the catalogue and the API change what differs.
    pub(crate) fn new(name: &str, kind: Kind, field_type: &str, group: &str) -> Self {
        Self {
            name: name.to_owned(),
            label: label_of(name),
            kind,
            field_type: field_type.to_owned(),
            group: group.to_owned(),
            description: String::new(),
            choices: Vec::new(),
            unique: false,
            hidden: false,
            form_field: false,
            calculated: false,
            external_options: false,
            referenced_object: None,
            hubspot_defined: true,
            read_only: false,
            listed: true,
            display_order: -1,
            created_ms: 1_577_836_800_000,
            updated_ms: 1_577_836_800_000,
            archived_ms: None,
        }
    }

    pub(crate) fn is_live(&self) -> bool {
        self.archived_ms.is_none()
    }

    pub(crate) fn is_set(&self) -> bool {
        self.kind == Kind::Enumeration && self.field_type == "checkbox"
    }
}

fn label_of(name: &str) -> String {
    let text = name.replace('_', " ");
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(letters).collect()
    })
}

/// All definitions of one object; a definition's number never changes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Schema {
    properties: Vec<Property>,
    by_name: HashMap<String, PropertyId>,
    /// Internal names of property groups, with their labels.
    pub groups: Vec<(String, String)>,
}

impl Schema {
    pub(crate) fn add(&mut self, property: Property) -> PropertyId {
        let id = self.properties.len() as PropertyId;
        self.by_name.insert(property.name.clone(), id);
        self.properties.push(property);
        id
    }

    pub(crate) fn property(&self, id: PropertyId) -> &Property {
        &self.properties[usize::from(id)]
    }

    pub(crate) fn property_mut(&mut self, id: PropertyId) -> &mut Property {
        &mut self.properties[usize::from(id)]
    }

    /// The property of that name, archived ones too.
    pub(crate) fn id(&self, name: &str) -> Option<PropertyId> {
        self.by_name.get(name).copied()
    }

    /// The property of that name unless it is archived.
    pub(crate) fn live(&self, name: &str) -> Option<PropertyId> {
        self.id(name).filter(|id| self.property(*id).is_live())
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (PropertyId, &Property)> {
        self.properties
            .iter()
            .enumerate()
            .map(|(id, property)| (id as PropertyId, property))
    }

    pub(crate) fn len(&self) -> usize {
        self.properties.len()
    }
}
