//! `associationChange`, in the classic and the generic form (`api-facts.md#10`).

use serde_json::{Value, json};

use crate::portal::Portal;
use crate::portal::commit::Author;
use crate::portal::links::End;
use crate::portal::logs::LinkLogEntry;
use crate::portal::record::Source;

impl Portal {
    /// Tells the app one direction of one association; the other direction and other types are events of their own.
    pub(crate) fn announce_link(
        &mut self,
        (from, to): (End, End),
        entry: &LinkLogEntry,
        author: &Author,
    ) {
        let Some(webhooks) = self.settings().webhooks.clone() else {
            return;
        };
        let mut event = self.event(&webhooks, from.object, "associationChange", entry.at_ms);
        let is_generic = event["subscriptionType"] == "object.associationChange";
        let spec = |end: End| self.table(end.object).spec;
        let (from_spec, to_spec) = (spec(from), spec(to));
        if is_generic {
            if let Value::Object(fields) = &mut event {
                fields.remove("objectTypeId");
            }
            event["fromObjectTypeId"] = json!(from_spec.type_id);
            event["toObjectTypeId"] = json!(to_spec.type_id);
            event["associationTypeId"] = json!(entry.kind.type_id);
            event["associationCategory"] = json!(entry.kind.category.name());
        } else {
            let ends = format!("{}_TO_{}", from_spec.upper, to_spec.upper);
            event["associationType"] = json!(ends);
        }
        event["fromObjectId"] = json!(from.id);
        event["toObjectId"] = json!(to.id);
        event["associationRemoved"] = json!(entry.removed);
        let definition = self.link_types().find(from.object, to.object, entry.kind);
        let is_primary = definition.is_some_and(|definition| definition.role.is_primary());
        event["isPrimaryAssociation"] = json!(is_primary);
        let app = self.settings().app_id.to_string();
        let (source, id) = match author.source {
            Source::Person(user) => ("USER", format!("userId:{user}")),
            Source::OtherApp(other) => ("INTEGRATION", other.to_string()),
            Source::Integration => ("INTEGRATION", app),
            Source::Import | Source::Merge | Source::Associations => {
                ("ASSOCIATIONS", String::new())
            }
        };
        event["changeSource"] = json!(source);
        event["sourceId"] = json!(id);
        self.send_event(&webhooks, &event, entry.at_ms);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::portal::NewObject;
    use crate::testing::Desk;
    use crate::webhooks::Webhooks;
    use crate::world::settings::Settings;

    fn desk(generic: bool) -> Desk {
        Desk::new(Settings {
            webhooks: Some(Webhooks {
                generic,
                ..Webhooks::default()
            }),
            ..Settings::quick()
        })
    }

    fn events(desk: &mut Desk, kind: &str) -> Vec<Value> {
        let taken = std::iter::from_fn(|| desk.portal.take_events(desk.now_ms));
        let all: Vec<Value> = taken.flatten().collect();
        let is_kind = |event: &Value| {
            let name = event["subscriptionType"].as_str().unwrap_or_default();
            name.ends_with(kind)
        };
        all.into_iter().filter(is_kind).collect()
    }

    fn pick(event: &Value, names: &[&str]) -> Value {
        names.iter().map(|name| event[*name].clone()).collect()
    }

    /// api-facts.md#10: the primary and the plain type have an event each, and so has each side.
    #[test]
    fn the_classic_form_names_the_pair_and_says_which_is_primary() {
        let mut desk = desk(false);
        let (ada, acme) = (desk.contact("ada@example.com"), desk.company("Acme"));
        let (from, to) = (("contacts", ada), ("companies", acme));
        assert!(desk.portal.set_primary(from, to, desk.now_ms));
        let told = events(&mut desk, "associationChange");
        let names = [
            "subscriptionType",
            "associationType",
            "fromObjectId",
            "toObjectId",
            "associationRemoved",
            "isPrimaryAssociation",
        ];
        let seen: Vec<Value> = told.iter().map(|event| pick(event, &names)).collect();
        let contact = |primary| {
            json!([
                "contact.associationChange",
                "CONTACT_TO_COMPANY",
                ada,
                acme,
                false,
                primary
            ])
        };
        let company = |primary| {
            json!([
                "company.associationChange",
                "COMPANY_TO_CONTACT",
                acme,
                ada,
                false,
                primary
            ])
        };
        assert_eq!(
            seen,
            [contact(false), company(false), contact(true), company(true)]
        );
        assert_eq!(told[0]["changeSource"], "USER");
        assert!(told.iter().all(|event| event.get("objectId").is_none()));
        assert!(desk.portal.disassociate(from, to, desk.now_ms));
        let told = events(&mut desk, "associationChange");
        assert_eq!(told.len(), 4);
        assert!(told.iter().all(|event| event["associationRemoved"] == true));
    }

    #[test]
    fn the_generic_form_names_types_by_number_and_its_writer_by_the_app() {
        let mut desk = desk(true);
        let (ada, acme) = (desk.contact("ada@example.com"), desk.company("Acme"));
        let path = format!("/crm/v4/objects/contacts/{ada}/associations/default/companies/{acme}");
        assert_eq!(desk.call("PUT", &path, &Value::Null).0, 200);
        let told = events(&mut desk, "object.associationChange");
        let names = [
            "fromObjectTypeId",
            "fromObjectId",
            "toObjectTypeId",
            "toObjectId",
            "associationTypeId",
            "associationCategory",
            "isPrimaryAssociation",
            "changeSource",
            "sourceId",
        ];
        let expected = json!([
            "0-1",
            ada,
            "0-2",
            acme,
            279,
            "HUBSPOT_DEFINED",
            false,
            "INTEGRATION",
            "1160452"
        ]);
        assert_eq!(pick(&told[0], &names), expected);
        assert_eq!(told.len(), 4);
        assert!(told.iter().all(|event| event.get("objectTypeId").is_none()));
    }

    #[test]
    fn what_an_archive_and_a_merge_move_is_told_by_the_settings() {
        for (moved_links_are_told, count) in [(false, 0), (true, 2)] {
            let mut desk = desk(false);
            desk.portal.settings_mut().moved_links_are_told = moved_links_are_told;
            let (big, ada) = (desk.deal("Big"), desk.contact("ada@example.com"));
            assert!(
                desk.portal
                    .associate(("deals", big), ("contacts", ada), desk.now_ms)
            );
            drop(events(&mut desk, ""));
            assert!(desk.portal.archive("deals", big, desk.now_ms));
            assert_eq!(events(&mut desk, "associationChange").len(), count);
        }
    }

    #[test]
    fn objects_without_a_form_of_their_own_are_told_in_the_generic_one() {
        let mut desk = desk(false);
        let new = NewObject {
            name: "machine",
            texts: &["model"],
            ..NewObject::default()
        };
        let type_id = desk.portal.create_object(new, desk.now_ms);
        for (object, object_type, property) in [
            ("notes", "0-46", "hs_timestamp"),
            ("machine", type_id.as_str(), "model"),
        ] {
            let properties = [(property, "2026-01-01")];
            let [one, two] = [(); 2].map(|()| desk.portal.create(object, &properties, desk.now_ms));
            assert!(desk.portal.archive(object, one, desk.now_ms));
            assert!(desk.portal.restore(object, one, desk.now_ms));
            desk.portal
                .merge(object, one, two, desk.now_ms)
                .expect("two live records");
            let told = events(&mut desk, "");
            assert!(
                told.iter()
                    .all(|event| event["objectTypeId"] == object_type)
            );
            let names: Vec<_> = told
                .iter()
                .filter_map(|event| event["subscriptionType"].as_str())
                .collect();
            for name in ["creation", "propertyChange", "deletion", "restore", "merge"] {
                let name = format!("object.{name}");
                assert!(names.contains(&name.as_str()), "{object} lacks {name}");
            }
        }
    }

    #[test]
    fn an_app_gets_the_associations_that_it_has_subscribed() {
        for (subscribed, count) in [("0-1", 2), ("0-3", 0)] {
            let mut desk = desk(true);
            let settings = desk.portal.settings_mut();
            settings.developer_key = Some(crate::webhooks::ClientSecret("key".to_owned()));
            if let Some(webhooks) = &mut settings.webhooks {
                webhooks.by_subscription = true;
            }
            let (ada, acme) = (desk.contact("ada@example.com"), desk.company("Acme"));
            let wanted = json!({"eventType": "object.associationChange", "objectTypeId": subscribed, "active": true});
            let path = "/webhooks/v3/1160452/subscriptions?hapikey=key";
            assert_eq!(desk.post(path, &wanted).0, 201);
            let (from, to) = (("contacts", ada), ("companies", acme));
            assert!(desk.portal.set_primary(from, to, desk.now_ms));
            assert_eq!(events(&mut desk, "associationChange").len(), count);
        }
    }
}
