//! Associations: what is asked, what an answer that leaves records out means, what a write did.

use std::collections::BTreeSet;

use super::*;
use crate::hubspot::endpoints::associations::{AssociationsRead, Ends, LinkInput};
use crate::model::association::{Category, TypeId};

const NONE: &str = r#"{"status":"error","category":"OBJECT_NOT_FOUND","subCategory":"crm.associations.NO_ASSOCIATIONS_FOUND",
    "message":"No company is associated with contact 12.","context":{"fromObjectId":["12"],"fromObjectType":["contact"],"toObjectType":["company"]}}"#;

fn ids(ids: &[i64]) -> BTreeSet<HubspotId> {
    ids.iter().copied().map(HubspotId).collect()
}

fn plain() -> TypeId {
    TypeId::of_hubspot(279)
}

fn label() -> TypeId {
    TypeId {
        category: Category::UserDefined,
        number: 36,
    }
}

fn pair(from: i64, to: i64, types: &[TypeId]) -> LinkInput {
    LinkInput {
        from: HubspotId(from),
        to: HubspotId(to),
        types: types.iter().cloned().collect(),
    }
}

impl Bench {
    fn links(&self, ids: &BTreeSet<HubspotId>) -> AssociationsRead {
        let (from, to) = (object("contacts"), object("companies"));
        let ends = Ends {
            from: &from,
            to: &to,
        };
        let read = self.client.read_associations(ends, ids, Priority::Bulk);
        run(&self.clock, read).expect("an answer")
    }
}

#[test]
fn a_record_without_associations_is_no_failure_and_ids_are_texts_or_numbers() {
    let body = format!(
        r#"{{"status":"COMPLETE","results":[{{"from":{{"id":"11"}},"to":[
            {{"toObjectId":901,"associationTypes":[{{"category":"HUBSPOT_DEFINED","typeId":1,"label":"Primary"}},
                {{"category":"HUBSPOT_DEFINED","typeId":279,"label":null}}]}},
            {{"toObjectId":"902","associationTypes":[{{"category":"USER_DEFINED","typeId":36,"label":"Boss"}}]}}]}}],
            "numErrors":1,"errors":[{NONE}]}}"#
    );
    for version in ApiVersion::ALL {
        let bench = bench_of(version, [answer(207, &body)]);
        let read = bench.links(&ids(&[11, 12]));
        let links = &read.links[&HubspotId(11)];
        let primary = BTreeSet::from([TypeId::of_hubspot(1), plain()]);
        assert_eq!(links[&HubspotId(901)], primary);
        assert_eq!(links[&HubspotId(902)], BTreeSet::from([label()]));
        assert!(read.links[&HubspotId(12)].is_empty());
        assert!(read.unread.is_empty());
        assert_eq!(
            bench.script.body(0),
            serde_json::json!({"inputs": [{"id": "11"}, {"id": "12"}]})
        );
    }
}

#[test]
fn a_record_with_more_than_a_page_is_read_to_its_end_beside_no_other() {
    let page = |to: i64, after: &str| {
        let body = format!(
            r#"{{"results":[{{"from":{{"id":11}},"to":[{{"toObjectId":{to},"associationTypes":[{{"category":"HUBSPOT_DEFINED","typeId":279}}]}}]{after}}}]}}"#
        );
        answer(200, &body)
    };
    let bench = bench([
        page(901, r#","paging":{"next":{"after":"902"}}"#),
        page(902, ""),
    ]);
    let read = bench.links(&ids(&[11]));
    let found: Vec<&HubspotId> = read.links[&HubspotId(11)].keys().collect();
    assert_eq!(found, [&HubspotId(901), &HubspotId(902)]);
    assert_eq!(
        bench.script.body(1),
        serde_json::json!({"inputs": [{"id": "11", "after": "902"}]})
    );
}

#[test]
fn what_an_answer_leaves_out_without_a_word_is_asked_for_again_and_what_failed_is_unread() {
    let empty = || answer(200, r#"{"status":"COMPLETE","results":[]}"#);
    let silent = bench([empty(), empty(), empty()]);
    let read = silent.links(&ids(&[11]));
    assert!(read.links[&HubspotId(11)].is_empty());
    assert_eq!(silent.sent(), 3);
    let failed = bench([answer(
        207,
        r#"{"results":[],"errors":[{"category":"INTERNAL_ERROR","message":"There was a problem with the request."}]}"#,
    )]);
    let read = failed.links(&ids(&[11]));
    assert_eq!((read.links.len(), read.unread), (0, ids(&[11])));
    // A record that lost its id is answered under another one: that the former has none is not said.
    let merged = bench([answer(200, r#"{"results":[{"from":{"id":"99"},"to":[]}]}"#)]);
    assert_eq!(merged.links(&ids(&[11])).unread, ids(&[11]));
}

#[test]
fn a_page_that_can_not_be_read_leaves_the_whole_record_unread() {
    let odd = r#"{"results":[{"from":{"id":"11"},"to":[{"toObjectId":901,"associationTypes":[{"typeId":279}]}]}]}"#;
    let read = bench([answer(200, odd)]).links(&ids(&[11]));
    assert_eq!((read.links.len(), read.unread), (0, ids(&[11])));
}

#[test]
fn writes_name_their_types_and_tell_what_was_done_pair_by_pair() {
    let (from, to) = (object("contacts"), object("companies"));
    let ends = Ends {
        from: &from,
        to: &to,
    };
    let pairs = [
        pair(11, 901, &[plain(), label()]),
        pair(11, 902, &[label()]),
    ];
    let bench = bench([
        answer(
            207,
            r#"{"status":"COMPLETE","results":[{"fromObjectTypeId":"0-1","fromObjectId":11,"toObjectTypeId":"0-2","toObjectId":"901","labels":[]}],
                "errors":[{"category":"OBJECT_NOT_FOUND","message":"No company with ID 902 exists","context":{"objectId":["902"]}}]}"#,
        ),
        answer(
            200,
            r#"{"results":[{"from":{"id":"11"},"to":{"id":"901"},"associationSpec":{"associationCategory":"HUBSPOT_DEFINED","associationTypeId":279}},
                {"from":{"id":"901"},"to":{"id":"11"},"associationSpec":{"associationCategory":"HUBSPOT_DEFINED","associationTypeId":280}}]}"#,
        ),
        answer(204, ""),
        answer(204, ""),
    ]);
    let priority = Priority::Interactive;
    let done = BTreeSet::from([(HubspotId(11), HubspotId(901))]);
    let create = bench
        .client
        .create_associations(ends, &pairs, (priority, None));
    let created = run(&bench.clock, create).expect("taken");
    assert_eq!((&created.done, created.errors.len()), (&done, 1));
    assert_eq!(created.errors[0].ids, ids(&[902]));
    let default = bench
        .client
        .associate_by_default(ends, &pairs[..1], (priority, None));
    let made = run(&bench.clock, default).expect("taken");
    assert_eq!(
        (&made.done, made.types.into_values().flatten().collect()),
        (&done, vec![plain()])
    );
    let labels = bench.client.archive_labels(ends, &pairs, (priority, None));
    assert_eq!(run(&bench.clock, labels).expect("taken").done.len(), 2);
    let all = bench
        .client
        .archive_associations(ends, &pairs, (priority, None));
    assert_eq!(run(&bench.clock, all).expect("taken").done.len(), 2);
    let json = |text: &str| serde_json::from_str::<serde_json::Value>(text).expect("JSON");
    let bodies: Vec<serde_json::Value> = (0..4).map(|number| bench.script.body(number)).collect();
    let typed = json(
        r#"{"inputs":[{"from":{"id":"11"},"to":{"id":"901"},"types":[{"associationCategory":"HUBSPOT_DEFINED","associationTypeId":279},
                {"associationCategory":"USER_DEFINED","associationTypeId":36}]},
            {"from":{"id":"11"},"to":{"id":"902"},"types":[{"associationCategory":"USER_DEFINED","associationTypeId":36}]}]}"#,
    );
    let default = json(r#"{"inputs":[{"from":{"id":"11"},"to":{"id":"901"}}]}"#);
    let fan = json(r#"{"inputs":[{"from":{"id":"11"},"to":[{"id":"901"},{"id":"902"}]}]}"#);
    assert_eq!(bodies, [typed.clone(), default, typed, fan]);
}

#[test]
fn the_types_of_a_pair_have_labels_or_none() {
    let bench = bench([answer(
        200,
        r#"{"results":[{"category":"HUBSPOT_DEFINED","typeId":279,"label":null},{"category":"USER_DEFINED","typeId":"36","label":"Boss"}]}"#,
    )]);
    let (from, to) = (object("contacts"), object("companies"));
    let types = bench.client.association_types(Ends {
        from: &from,
        to: &to,
    });
    let types = run(&bench.clock, types).expect("an answer");
    let told: Vec<_> = types
        .iter()
        .map(|kind| (&kind.id, kind.label.as_deref()))
        .collect();
    assert_eq!(told, [(&plain(), None), (&label(), Some("Boss"))]);
}
