//! What an object is, as data: names, scopes, what a create needs, its pipelines (`api-facts.md#5`).
//!
//! The objects themselves are in `records`, `activities` and `commerce`; a portal's own ones in `portal/custom`.

use crate::catalogue::Row;
use crate::catalogue::pipelines::Stages;

/// One object type.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ObjectSpec {
    pub plural: &'static str,
    pub singular: &'static str,
    pub type_id: &'static str,
    /// As error messages name it.
    pub upper: &'static str,
    /// Contacts are the only object with `lastmodifieddate`.
    pub modified: &'static str,
    /// `createdate` or `hs_createdate`.
    pub created: &'static str,
    /// What search and reads return when nothing is asked for.
    pub defaults: &'static [&'static str],
    /// The first record's id.
    pub first_id: u64,
    /// Entries of a property's history that are kept.
    pub history_cap: usize,
    pub group: &'static str,
    /// A new record has at least one property of each group.
    pub needs: &'static [&'static [&'static str]],
    /// A new record is associated with a record of one of these types, if there are any.
    pub needs_link: &'static [&'static str],
    pub scopes: ObjectScopes,
    pub stages: Option<&'static Stages>,
    /// Whether its webhook events have a form of their own; else there is the generic one alone.
    pub has_classic_events: bool,
    /// Its own properties; those that every object has come in addition.
    pub properties: &'static [Row],
}

/// Which scopes open an object (`api-facts.md#2`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ObjectScopes {
    /// `crm.objects.X.read` and its kin.
    Own(&'static str),
    /// The same, or `e-commerce`.
    Commerce(&'static str),
    /// One scope for all.
    Tickets,
    /// As an object of that name has, but no app may write.
    ReadOnly(&'static str),
}

/// What a call does with an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Right {
    Read,
    Write,
    ReadSchema,
    WriteSchema,
}

impl ObjectScopes {
    /// The scopes of which one is needed.
    pub(crate) fn of(self, right: Right) -> Vec<String> {
        let (area, verb) = match right {
            Right::Read => ("objects", "read"),
            Right::Write => ("objects", "write"),
            Right::ReadSchema => ("schemas", "read"),
            Right::WriteSchema => ("schemas", "write"),
        };
        let named = |plural: &str| format!("crm.{area}.{plural}.{verb}");
        match self {
            Self::Own(plural) | Self::ReadOnly(plural) => vec![named(plural)],
            Self::Commerce(plural) => vec![named(plural), "e-commerce".to_owned()],
            Self::Tickets if area == "objects" => vec!["tickets".to_owned()],
            Self::Tickets => vec![named("tickets"), "tickets".to_owned()],
        }
    }

    /// The scopes that a static token of this portal has for it.
    pub(crate) fn granted(self) -> Vec<String> {
        let mut rights = vec![Right::Read, Right::ReadSchema];
        if !matches!(self, Self::ReadOnly(_)) {
            rights.extend([Right::Write, Right::WriteSchema]);
        }
        rights
            .into_iter()
            .flat_map(|right| self.of(right))
            .collect()
    }
}

/// An object that has nothing special: `createdate` is `hs_createdate`, and nothing is needed.
pub(crate) const fn plain_object(
    (plural, singular): (&'static str, &'static str),
    type_id: &'static str,
    upper: &'static str,
    properties: &'static [Row],
) -> ObjectSpec {
    ObjectSpec {
        plural,
        singular,
        type_id,
        upper,
        modified: "hs_lastmodifieddate",
        created: "hs_createdate",
        defaults: &["hs_createdate", "hs_lastmodifieddate", "hs_object_id"],
        first_id: 9_218_400_101,
        history_cap: 20,
        group: "information",
        needs: &[],
        needs_link: &[],
        scopes: ObjectScopes::Own(plural),
        stages: None,
        has_classic_events: false,
        properties,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, Value, json};

    use crate::catalogue::OBJECTS;
    use crate::testing::{Desk, ids};
    use crate::world::settings::Settings;

    #[test]
    fn every_standard_object_is_listed_read_searched_and_described() {
        for spec in &OBJECTS {
            let mut desk = Desk::quick();
            desk.portal.fill(spec.plural, 3, desk.now_ms);
            for name in [spec.plural, spec.type_id] {
                let (status, page) = desk.get(&format!("/crm/objects/2026-09/{name}?limit=2"));
                assert_eq!((status, ids(&page).len()), (200, 2), "{name}");
                let shown = &page["results"][0]["properties"];
                assert!(shown[spec.modified].is_string() && shown[spec.created].is_string());
            }
            let filter = json!({"propertyName": spec.modified, "operator": "GTE", "value": "0"});
            let query = json!({"filterGroups": [{"filters": [filter]}]});
            let path = format!("/crm/objects/2026-03/{}/search", spec.plural);
            assert_eq!(desk.post(&path, &query).1["total"], json!(3), "{path}");
            let (status, list) = desk.get(&format!("/crm/properties/2026-03/{}", spec.plural));
            let defined = list["results"].as_array().map(Vec::len);
            assert!(status == 200 && defined > Some(4), "{}", spec.plural);
            assert_eq!(
                desk.get(&format!("/crm/pipelines/2026-03/{}", spec.plural))
                    .0,
                200
            );
        }
    }

    #[test]
    fn a_create_needs_what_its_object_needs() {
        let (notes, emails) = ("notes", "emails");
        for (object, properties, status) in [
            (notes, json!({"hs_note_body": "x"}), 400),
            (notes, json!({"hs_timestamp": "2026-01-01T00:00:00Z"}), 201),
            (emails, json!({"hs_timestamp": "2026-01-01T00:00:00Z"}), 400),
            ("quotes", json!({"hs_title": "Q"}), 400),
            ("line_items", json!({}), 201),
            ("products", json!({"price": "1"}), 400),
        ] {
            let mut desk = Desk::quick();
            let body = json!({"properties": properties});
            let path = format!("/crm/objects/2026-03/{object}");
            assert_eq!(desk.post(&path, &body).0, status, "{object} {properties}");
        }
    }

    /// api-facts.md#5: a lead is nothing without a contact.
    #[test]
    fn a_lead_demands_an_association_at_its_creation() {
        let mut desk = Desk::quick();
        let ada = desk.contact("ada@example.com");
        let path = "/crm/objects/2026-03/leads";
        let mut lead = json!({"properties": {"hs_lead_name": "Ada"}});
        let (status, body) = desk.post(path, &lead);
        assert_eq!(
            (status, &body["category"]),
            (400, &json!("VALIDATION_ERROR"))
        );
        let types = json!([{"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": 578}]);
        lead["associations"] = json!([{"to": {"id": ada}, "types": types}]);
        let (status, body) = desk.post(path, &lead);
        assert_eq!(status, 201);
        let id: u64 = body["id"]
            .as_str()
            .and_then(|id| id.parse().ok())
            .expect("an id");
        let links = desk.portal.links_of(("leads", id), "contacts");
        let kinds: Vec<u32> = links.iter().map(|link| link.kind.type_id).collect();
        assert_eq!(kinds, [578, 608]);
    }

    #[test]
    fn users_are_read_and_never_written() {
        let mut desk = Desk::quick();
        let properties = [
            ("hs_given_name", "Maria"),
            ("hs_availability_status", "away"),
        ];
        let id = desk.portal.create("users", &properties, desk.now_ms);
        let path = format!("/crm/objects/2026-03/users/{id}");
        let (_, body) = desk.get(&format!("{path}?properties=hs_availability_status"));
        assert_eq!(body["properties"]["hs_availability_status"], "away");
        let change = json!({"properties": {"hs_given_name": "M"}});
        let (status, body) = desk.call("PATCH", &path, &change);
        assert_eq!((status, &body["category"]), (403, &json!("MISSING_SCOPES")));
    }

    #[test]
    fn an_object_that_the_portal_has_not_is_404() {
        let mut desk = Desk::new(Settings {
            missing_objects: ["leads".to_owned()].into(),
            ..Settings::quick()
        });
        for name in ["leads", "0-136"] {
            let (status, body) = desk.get(&format!("/crm/objects/2026-03/{name}"));
            let words = format!("Unable to infer object type from: {name}");
            assert_eq!((status, &body["message"]), (404, &json!(words)));
        }
        assert_eq!(desk.get("/crm/objects/2026-03/calls").0, 200);
    }

    /// api-facts.md#7: history of up to fifty records a batch, with its source.
    #[test]
    fn every_object_tells_the_history_of_its_properties_in_batches_of_fifty() {
        for spec in OBJECTS.iter().filter(|spec| !spec.properties.is_empty()) {
            let mut desk = Desk::quick();
            desk.portal.fill(spec.plural, 1, desk.now_ms);
            let id = desk.portal.records(spec.plural)[0].id();
            let name = "hubspot_owner_id";
            let edit = [(name, "41629780")];
            assert!(desk.portal.edit(spec.plural, id, &edit, desk.now_ms));
            let read = |count: u64| {
                let inputs = (0..count).map(|place| json!({"id": (id + place).to_string()}));
                json!({"inputs": inputs.collect::<Vec<_>>(), "propertiesWithHistory": [name]})
            };
            let path = format!("/crm/objects/2026-03/{}/batch/read", spec.plural);
            let (_, body) = desk.post(&path, &read(50));
            let newest = &body["results"][0]["propertiesWithHistory"][name][0];
            let told: Map<String, Value> = newest.as_object().cloned().unwrap_or_default();
            assert_eq!(told["sourceType"], "CRM_UI", "{}", spec.plural);
            assert!(
                told["sourceId"]
                    .as_str()
                    .is_some_and(|id| id.starts_with("userId:"))
            );
            assert_eq!(desk.post(&path, &read(51)).0, 400);
        }
    }

    #[test]
    fn every_object_lists_its_archived_records_with_their_time() {
        for spec in &OBJECTS {
            let mut desk = Desk::quick();
            desk.portal.fill(spec.plural, 2, desk.now_ms);
            let id = desk.portal.records(spec.plural)[0].id();
            assert!(desk.portal.archive(spec.plural, id, desk.now_ms));
            let path = format!("/crm/objects/2026-03/{}?archived=true", spec.plural);
            let (_, page) = desk.get(&path);
            assert_eq!(ids(&page), [id]);
            assert_eq!(page["results"][0]["archivedAt"], "2026-11-24T06:00:00Z");
        }
    }
}
