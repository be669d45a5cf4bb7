//! Which OAuth scopes a mapping needs (`hubspot/api-facts.md#2`).

use std::collections::BTreeSet;

use crate::model::mapping::{KeyChoice, Mapping, ObjectMapping};

/// The scopes that are asked for where the file names none.
pub fn needed(mapping: &Mapping) -> BTreeSet<String> {
    let mut scopes = BTreeSet::from([
        "oauth".to_owned(),
        // The table `owners` is a copy of them.
        "crm.objects.owners.read".to_owned(),
    ]);
    for object in &mapping.objects {
        scopes.extend(of_object(object));
    }
    scopes
}

fn of_object(object: &ObjectMapping) -> Vec<String> {
    let name = object.object.as_str();
    let makes_its_key = object.direction.pushes() && object.key == KeyChoice::Auto;
    let mut scopes = vec![format!("crm.schemas.{name}.read")];
    if makes_its_key {
        scopes.push(format!("crm.schemas.{name}.write"));
    }
    if name == "tickets" {
        // One scope for reading and writing.
        scopes.push("tickets".to_owned());
        return scopes;
    }
    // A push reads before it writes.
    scopes.push(format!("crm.objects.{name}.read"));
    if object.direction.pushes() {
        scopes.push(format!("crm.objects.{name}.write"));
    }
    scopes
}

/// Whether nothing of an object goes without the scope: its records are read or written by it. What schemas and owners
/// need, other scopes may give as well.
pub fn is_of_records(scope: &str) -> bool {
    scope == "tickets" || (scope.starts_with("crm.objects.") && !scope.contains(".owners."))
}

/// What was asked for and not granted. Every OAuth app has `oauth`, whether or not HubSpot names it.
pub fn missing(asked: &BTreeSet<String>, granted: &[String]) -> Vec<String> {
    asked
        .iter()
        .filter(|scope| !granted.contains(scope) && scope.as_str() != "oauth")
        .cloned()
        .collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::mapping::{Direction, OnLocalDelete, OnRemoteDelete, Policy};
    use crate::model::name::{ObjectType, TableName};

    fn object(name: &str, direction: Direction, key: KeyChoice) -> ObjectMapping {
        ObjectMapping {
            object: ObjectType::parse(name).expect("a name"),
            table: TableName::parse(name).expect("a name"),
            direction,
            key,
            match_property: None,
            on_remote_delete: OnRemoteDelete::Delete,
            on_local_delete: OnLocalDelete::Archive,
            policy: Policy::Newest,
            poll: Duration::from_secs(10),
            fields: Vec::new(),
        }
    }

    #[test]
    fn scopes_follow_objects_and_directions() {
        let mapping = Mapping {
            objects: vec![
                object("contacts", Direction::Both, KeyChoice::Auto),
                object("companies", Direction::Pull, KeyChoice::Auto),
                object("tickets", Direction::Both, KeyChoice::None),
            ],
        };
        let scopes: Vec<String> = needed(&mapping).into_iter().collect();
        assert_eq!(
            scopes,
            [
                "crm.objects.companies.read",
                "crm.objects.contacts.read",
                "crm.objects.contacts.write",
                "crm.objects.owners.read",
                "crm.schemas.companies.read",
                "crm.schemas.contacts.read",
                "crm.schemas.contacts.write",
                "crm.schemas.tickets.read",
                "oauth",
                "tickets",
            ]
        );
        let granted = vec!["oauth".to_owned(), "tickets".to_owned()];
        assert_eq!(missing(&needed(&mapping), &granted).len(), 8);
        assert_eq!(
            missing(&needed(&mapping), &[]).len(),
            9,
            "`oauth` is never missed"
        );
    }
}
