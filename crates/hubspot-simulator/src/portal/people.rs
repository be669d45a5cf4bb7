//! What people and other apps do in HubSpot meanwhile: the methods that tests and `demo` call.

use std::sync::Arc;

use crate::catalogue::{OBJECTS, ObjectIndex, object_named};
use crate::portal::Portal;
use crate::portal::commit::Author;
use crate::portal::prepare::{Aim, Claims, Wanted};
use crate::portal::schema::Kind;

fn wanted(properties: &[(&str, &str)]) -> Wanted {
    properties
        .iter()
        .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
        .collect()
}

impl Portal {
    /// The object of that name.
    pub(crate) fn object_of(&self, name: &str) -> Option<ObjectIndex> {
        let missing = &self.settings().missing_objects;
        let standard = object_named(name);
        standard
            .filter(|object| !missing.contains(OBJECTS[*object].plural))
            .or_else(|| self.custom_named(name))
    }

    /// An object that a test names.
    pub(crate) fn index_of(&self, object: &str) -> ObjectIndex {
        self.object_of(object).expect("an object of this portal")
    }

    /// A person creates a record; its id. The values are normalised as HubSpot does.
    ///
    /// # Panics
    ///
    /// If HubSpot would refuse the values: a test that asks for such a record is wrong.
    pub fn create(&mut self, object: &str, properties: &[(&str, &str)], now_ms: i64) -> u64 {
        self.tick(now_ms);
        let (object, now_ms) = (self.index_of(object), self.hubspot_ms(now_ms));
        let aim = Aim {
            object,
            id: None,
            enforces_rules: false,
            is_person: true,
            claims: &Claims::new(),
        };
        let changes = self
            .prepare(aim, &wanted(properties))
            .expect("HubSpot takes these values");
        self.commit_create(object, &changes, &Author::someone(), now_ms)
    }

    /// A person edits a record; an empty text clears. False if there is no such live record or HubSpot would refuse.
    pub fn edit(
        &mut self,
        object: &str,
        id: u64,
        properties: &[(&str, &str)],
        now_ms: i64,
    ) -> bool {
        self.change(object, id, properties, &Author::someone(), now_ms)
    }

    /// Another app edits a record: the history names it by `app_id`, which is not the daemon's. False as for a person.
    pub fn edit_by_app(
        &mut self,
        object: &str,
        id: u64,
        properties: &[(&str, &str)],
        app_id: u32,
        now_ms: i64,
    ) -> bool {
        self.change(object, id, properties, &Author::other_app(app_id), now_ms)
    }

    fn change(
        &mut self,
        object: &str,
        id: u64,
        properties: &[(&str, &str)],
        author: &Author,
        now_ms: i64,
    ) -> bool {
        self.tick(now_ms);
        let (object, now_ms) = (self.index_of(object), self.hubspot_ms(now_ms));
        let aim = Aim {
            object,
            id: Some(id),
            enforces_rules: false,
            is_person: true,
            claims: &Claims::new(),
        };
        match self.prepare(aim, &wanted(properties)) {
            Ok(changes) => self.commit_update(object, id, &changes, author, now_ms),
            Err(_) => false,
        }
    }

    /// Somebody makes another type of a property, or lets nobody write it (any more).
    ///
    /// # Panics
    ///
    /// If there is no such property or type: a test that asks for it is wrong.
    pub fn redefine(
        &mut self,
        object: &str,
        property: &str,
        (kind, field_type): (&str, &str),
        read_only: bool,
    ) {
        let object = self.index_of(object);
        let schema = Arc::make_mut(&mut self.table_mut(object).schema);
        let id = schema.live(property).expect("a property of this object");
        let property = schema.property_mut(id);
        property.kind = Kind::parse(kind).expect("a type of HubSpot's");
        field_type.clone_into(&mut property.field_type);
        property.read_only = read_only;
        self.forget_searches();
    }

    /// A person archives a record. False if there is no such live record.
    pub fn archive(&mut self, object: &str, id: u64, now_ms: i64) -> bool {
        self.tick(now_ms);
        let now_ms = self.hubspot_ms(now_ms);
        self.commit_archive(self.index_of(object), id, &Author::someone(), now_ms)
    }

    /// A person deletes a record for good, as a privacy law demands. False if there is no such live record.
    pub fn delete_for_good(&mut self, object: &str, id: u64, now_ms: i64) -> bool {
        self.tick(now_ms);
        let now_ms = self.hubspot_ms(now_ms);
        self.commit_privacy_delete(self.index_of(object), id, &Author::someone(), now_ms)
    }

    /// A person restores an archived record (`api-facts.md#13`: in HubSpot's pages only). False if it isn't archived or
    /// a key of it has been taken since.
    pub fn restore(&mut self, object: &str, id: u64, now_ms: i64) -> bool {
        self.tick(now_ms);
        let now_ms = self.hubspot_ms(now_ms);
        self.commit_restore(self.index_of(object), id, &Author::someone(), now_ms)
    }

    /// A person merges `other` into `primary`; the id of the result: new, or the primary's, by the settings. `None` if
    /// one of them is no live record (any more), or both are the same.
    pub fn merge(&mut self, object: &str, primary: u64, other: u64, now_ms: i64) -> Option<u64> {
        self.tick(now_ms);
        let now_ms = self.hubspot_ms(now_ms);
        self.commit_merge(
            self.index_of(object),
            primary,
            other,
            &Author::someone(),
            now_ms,
        )
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::Desk;

    #[test]
    fn people_edit_archive_and_restore() {
        let mut desk = Desk::quick();
        let id = desk.contact("ada@example.com");
        desk.now_ms += 5;
        assert!(desk.portal.edit(
            "contacts",
            id,
            &[("email", "ADA2@example.com")],
            desk.now_ms
        ));
        assert!(
            !desk
                .portal
                .edit("contacts", id, &[("vip", "perhaps")], desk.now_ms)
        );
        assert!(desk.portal.archive("contacts", id, desk.now_ms));
        assert!(!desk.portal.archive("contacts", id, desk.now_ms));
        assert!(
            desk.portal
                .record("contacts", id)
                .is_some_and(|record| record.is_archived())
        );
        desk.now_ms += 5;
        assert!(desk.portal.restore("contacts", id, desk.now_ms));
        let record = desk.portal.record("contacts", id).expect("there");
        assert_eq!(
            (record.value("email"), record.modified_ms()),
            (Some("ada2@example.com"), desk.now_ms)
        );
    }

    #[test]
    fn a_restore_is_refused_when_its_email_has_been_taken() {
        let mut desk = Desk::quick();
        let id = desk.contact("ada@example.com");
        desk.portal.archive("contacts", id, desk.now_ms);
        desk.contact("ada@example.com");
        assert!(!desk.portal.restore("contacts", id, desk.now_ms));
    }
}
