//! Objects that a portal's people define: schemas with properties and associations (`api-facts.md#9`).

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use crate::catalogue::objects::{ObjectScopes, ObjectSpec, plain_object};
use crate::catalogue::{OBJECTS, ObjectIndex, schema_of};
use crate::portal::Portal;
use crate::portal::link_types::{LinkType, NewLabel};
use crate::portal::schema::{Kind, Property};
use crate::portal::table::Table;

/// All custom objects open by the same scopes (`api-facts.md#2`).
pub(crate) const CUSTOM_SCOPES: ObjectScopes = ObjectScopes::Own("custom");

/// The number of the first custom object: `2-` and it.
const FIRST_NUMBER: usize = 2_514_801;

/// What a schema says beside its properties.
#[derive(Clone, Debug)]
pub(crate) struct CustomObject {
    pub name: String,
    pub singular: String,
    pub plural: String,
    pub description: Option<String>,
    pub required: Vec<String>,
    pub searchable: Vec<String>,
    pub primary_display: Option<String>,
    pub secondary_display: Vec<String>,
    pub links: Vec<CustomLink>,
    pub created_ms: i64,
    pub updated_ms: i64,
    pub archived_ms: Option<i64>,
}

/// An association that a schema allows, one direction.
#[derive(Clone, Debug)]
pub(crate) struct CustomLink {
    pub from: ObjectIndex,
    pub to: ObjectIndex,
    pub kind: LinkType,
    pub name: String,
}

/// A custom object that a person makes.
#[derive(Clone, Copy, Debug, Default)]
pub struct NewObject<'a> {
    /// Internal name, such as `machine`.
    pub name: &'a str,
    /// Label of one.
    pub singular: &'a str,
    /// Label of many.
    pub plural: &'a str,
    /// Names of its text properties, the first of which is displayed.
    pub texts: &'a [&'a str],
    /// Names of text properties whose values are unique.
    pub unique: &'a [&'a str],
    /// Which of them a create needs.
    pub required: &'a [&'a str],
    /// Objects with which it can be associated.
    pub associated: &'a [&'a str],
}

/// Each distinct text once, for the life of the process: what names an object is named everywhere, and a process has few.
fn interned(text: &str) -> &'static str {
    static TEXTS: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
    let mut texts = TEXTS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = texts.get(text) {
        return known;
    }
    let kept: &'static str = Box::leak(text.to_owned().into_boxed_str());
    texts.insert(kept);
    kept
}

impl Portal {
    /// The schema of an object; none for a standard one.
    pub(crate) fn custom(&self, object: ObjectIndex) -> Option<&CustomObject> {
        self.customs().get(object.checked_sub(OBJECTS.len())?)
    }

    pub(crate) fn custom_mut(&mut self, object: ObjectIndex) -> Option<&mut CustomObject> {
        self.customs_mut()
            .get_mut(object.checked_sub(OBJECTS.len())?)
    }

    /// The live custom object of that type id, full name or short name.
    pub(crate) fn custom_named(&self, name: &str) -> Option<ObjectIndex> {
        let customs = self.customs().iter().enumerate();
        let live = customs.filter(|(_, custom)| custom.archived_ms.is_none());
        live.map(|(place, custom)| (place + OBJECTS.len(), custom))
            .find(|(object, custom)| {
                let spec = self.table(*object).spec;
                [spec.type_id, spec.plural, custom.name.as_str()]
                    .iter()
                    .any(|known| known.eq_ignore_ascii_case(name))
            })
            .map(|(object, _)| object)
    }

    /// Takes a schema into the portal; the new object.
    pub(crate) fn add_custom(
        &mut self,
        custom: CustomObject,
        properties: Vec<Property>,
        associated: &[ObjectIndex],
        now_ms: i64,
    ) -> ObjectIndex {
        let number = FIRST_NUMBER + self.customs().len();
        let full_name = format!("p{}_{}", self.settings().portal_id, custom.name);
        let type_id = interned(&format!("2-{number}"));
        let spec = ObjectSpec {
            scopes: CUSTOM_SCOPES,
            group: interned(&format!("{}_information", custom.name)),
            ..plain_object(
                (interned(&full_name), interned(&custom.name)),
                type_id,
                type_id,
                &[],
            )
        };
        let mut schema = schema_of(&spec);
        for mut property in properties {
            if schema.id(&property.name).is_none() {
                spec.group.clone_into(&mut property.group);
                schema.add(property);
            }
        }
        let object = self.add_table(Table::with(spec, schema), custom);
        for other in associated {
            self.allow_links(object, *other, None, now_ms);
        }
        object
    }

    /// Lets records of two objects be associated: the plain type, in both directions.
    pub(crate) fn allow_links(
        &mut self,
        from: ObjectIndex,
        to: ObjectIndex,
        name: Option<&str>,
        now_ms: i64,
    ) -> Option<CustomLink> {
        let names = [from, to].map(|object| self.table(object).spec.singular);
        let own = format!("{}_to_{}", names[0], names[1]);
        let name = name.unwrap_or(&own);
        let types = self.link_types_mut();
        if types.plain(from, to).is_none() {
            types.add(NewLabel {
                from,
                to,
                name,
                label: None,
                inverse_label: None,
            });
        }
        let plain = self.link_types().plain(from, to)?;
        let link = CustomLink {
            from,
            to,
            kind: plain.kind,
            name: name.to_owned(),
        };
        let back = CustomLink {
            from: to,
            to: from,
            kind: plain.inverse,
            name: format!("{}_to_{}", names[1], names[0]),
        };
        if let Some(custom) = self.custom_mut(from) {
            custom.links.extend([link.clone(), back]);
            custom.updated_ms = now_ms;
        }
        Some(link)
    }

    /// A person makes a custom object; its type id, such as `2-2514801`.
    ///
    /// # Panics
    ///
    /// If an object that it is to be associated with isn't there.
    pub fn create_object(&mut self, new: NewObject<'_>, now_ms: i64) -> String {
        let now_ms = self.hubspot_ms(now_ms);
        let texts = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let custom = CustomObject {
            name: new.name.to_owned(),
            singular: new.singular.to_owned(),
            plural: new.plural.to_owned(),
            description: None,
            required: texts(new.required),
            searchable: texts(new.texts),
            primary_display: new.texts.first().map(|name| (*name).to_owned()),
            secondary_display: Vec::new(),
            links: Vec::new(),
            created_ms: now_ms,
            updated_ms: now_ms,
            archived_ms: None,
        };
        let names = new.texts.iter().chain(new.unique);
        let properties = names.map(|name| {
            let mut property = Property::new(name, Kind::String, "text", "");
            property.hubspot_defined = false;
            property.unique = new.unique.contains(name);
            property
        });
        let associated: Vec<ObjectIndex> = new
            .associated
            .iter()
            .map(|name| self.index_of(name))
            .collect();
        let object = self.add_custom(custom, properties.collect(), &associated, now_ms);
        self.table(object).spec.type_id.to_owned()
    }

    /// A person deletes a custom object's schema. False if there is none, or it has live records.
    pub fn archive_object(&mut self, name: &str, now_ms: i64) -> bool {
        let now_ms = self.hubspot_ms(now_ms);
        let found = self.custom_named(name);
        let empty = found.filter(|object| self.table(*object).live.is_empty());
        let custom = empty.and_then(|object| self.custom_mut(object));
        if let Some(custom) = custom {
            custom.archived_ms = Some(now_ms);
            return true;
        }
        false
    }
}
