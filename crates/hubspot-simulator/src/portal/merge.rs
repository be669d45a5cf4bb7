//! HubSpot's merge of two records (`api-facts.md#13`).

use std::collections::BTreeSet;

use crate::catalogue::contacts::LIFECYCLE_STAGES;
use crate::catalogue::{CONTACT, ObjectIndex};
use crate::portal::commit::Author;
use crate::portal::links::End;
use crate::portal::record::{Document, HistoryEntry, PropertyId, Source, Stored};
use crate::portal::schema::Schema;
use crate::portal::table::Change;
use crate::portal::{Operation, Portal};
use crate::webhooks::Merged;

impl Portal {
    /// Merges; the id of the result, `None` if the two aren't two live records.
    ///
    /// The losing ids vanish from list and search, are not archived, and go on answering with the result.
    pub(crate) fn commit_merge(
        &mut self,
        object: ObjectIndex,
        primary: u64,
        other: u64,
        author: &Author,
        now_ms: i64,
    ) -> Option<u64> {
        let table = self.table(object);
        let (kept, lost) = (
            table.live.get(&primary)?.clone(),
            table.live.get(&other)?.clone(),
        );
        if primary == other {
            return None;
        }
        let keeps_id = self.settings().merge_keeps_primary_id;
        let winner = if keeps_id {
            primary
        } else {
            self.take_id(object)
        };
        let gone: Vec<u64> = if keeps_id {
            vec![other]
        } else {
            vec![primary, other]
        };
        let changes = self.merged_changes(object, (&kept, &lost), &gone, now_ms);
        self.log_write(
            object,
            winner,
            Operation::Merge,
            &changes,
            Some(&kept.document),
            author,
            now_ms,
        );
        // The primary's own links come first, so that its primary company stays.
        let taken = self.take_links(object, &gone, author, now_ms);
        for id in [primary, other] {
            self.vanish(object, id, now_ms, |table, id| drop(table.take(id)));
        }
        let values = kept.document.values.with(&changes);
        let created_ms = kept.document.created_ms.min(lost.document.created_ms);
        let cap = self.table(object).spec.history_cap;
        let mut result = Stored {
            document: Document {
                created_ms,
                modified_ms: now_ms,
                values,
            },
            ..kept.clone()
        };
        result.extra_mut().history = mixed_histories(&kept, &lost, &result, cap, now_ms);
        self.place(object, winner, result, now_ms);
        let redirects = &mut self.table_mut(object).redirects;
        redirects
            .values_mut()
            .filter(|target| gone.contains(target))
            .for_each(|target| *target = winner);
        redirects.extend(gone.iter().map(|id| (*id, winner)));
        let end = End { object, id: winner };
        self.give_links(end, taken, author, now_ms);
        self.announce_merge(
            object,
            &Merged {
                primary,
                other,
                winner,
            },
            now_ms,
        );
        Some(winner)
    }

    /// The primary's values win, empty ones are filled from the other; a few properties have rules of their own.
    fn merged_changes(
        &self,
        object: ObjectIndex,
        (kept, lost): (&Stored, &Stored),
        gone: &[u64],
        now_ms: i64,
    ) -> Vec<Change> {
        let schema = &self.table(object).schema;
        let (mine, theirs) = (&kept.document.values, &lost.document.values);
        let bookkeeping = [
            "hs_merged_object_ids",
            "hs_calculated_merged_vids",
            "hs_additional_emails",
        ];
        let is_plain = |id: u16| !bookkeeping.contains(&schema.property(id).name.as_str());
        let filled = theirs
            .iter()
            .filter(|(id, _)| mine.get(*id).is_none() && is_plain(*id));
        let mut changes: Vec<Change> = filled
            .map(|(id, text)| (id, Some(text.to_owned())))
            .collect();
        changes.extend(further_stage(schema, kept, lost));
        let ids: Vec<String> = gone.iter().map(u64::to_string).collect();
        changes.extend(joined(schema, "hs_merged_object_ids", kept, lost, ids));
        if object == CONTACT {
            let stamped: Vec<String> = gone.iter().map(|id| format!("{id}:{now_ms}")).collect();
            changes.extend(joined(
                schema,
                "hs_calculated_merged_vids",
                kept,
                lost,
                stamped,
            ));
            let email = schema
                .id("email")
                .and_then(|id| mine.get(id).and(theirs.get(id)));
            changes.extend(joined(
                schema,
                "hs_additional_emails",
                kept,
                lost,
                email.map(str::to_owned).into_iter().collect(),
            ));
        }
        changes
    }
}

/// What both records remember, in the order of its time, and what the merge made of it: a property's newest entry is its
/// value.
fn mixed_histories(
    kept: &Stored,
    lost: &Stored,
    result: &Stored,
    cap: usize,
    now_ms: i64,
) -> Vec<(PropertyId, Vec<HistoryEntry>)> {
    let all: BTreeSet<PropertyId> = [kept, lost, result]
        .into_iter()
        .flat_map(Stored::remembered)
        .collect();
    let mixed = all.into_iter().map(|property| {
        let histories = [kept, lost].map(|stored| stored.history(property));
        // Of one millisecond, each record's own order stays.
        let oldest_first = histories
            .into_iter()
            .flat_map(|newest_first| newest_first.into_iter().rev());
        let mut entries: Vec<HistoryEntry> = oldest_first.collect();
        entries.sort_by_key(|entry| entry.at_ms);
        let value = result.document.values.get(property);
        let moved = value != kept.document.values.get(property);
        let value = value.unwrap_or_default();
        if moved || entries.last().is_none_or(|last| *last.value != *value) {
            entries.push(HistoryEntry {
                value: value.into(),
                at_ms: now_ms,
                source: Source::Merge,
            });
        }
        let surplus = entries.len().saturating_sub(cap);
        entries.drain(..surplus);
        (property, entries)
    });
    mixed.collect()
}

fn further_stage(schema: &Schema, kept: &Stored, lost: &Stored) -> Option<Change> {
    let id = schema.id("lifecyclestage")?;
    let rank = |stage: &str| LIFECYCLE_STAGES.iter().position(|known| *known == stage);
    let (mine, theirs) = (kept.document.values.get(id)?, lost.document.values.get(id)?);
    (rank(theirs) > rank(mine)).then(|| (id, Some(theirs.to_owned())))
}

/// A `;` list of both records and what this merge adds.
fn joined(
    schema: &Schema,
    name: &str,
    kept: &Stored,
    lost: &Stored,
    added: Vec<String>,
) -> Option<Change> {
    let id = schema.id(name)?;
    let lists = [kept, lost]
        .into_iter()
        .filter_map(|stored| stored.document.values.get(id).map(str::to_owned));
    let all: Vec<String> = lists.chain(added).collect();
    (!all.is_empty()).then(|| (id, Some(all.join(";"))))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::testing::{Desk, ids};
    use crate::webhooks::Webhooks;
    use crate::world::settings::Settings;

    const CONTACTS: &str = "/crm/objects/2026-03/contacts";

    fn merged(settings: Settings) -> (Desk, u64, u64, u64) {
        let mut desk = Desk::new(settings);
        let primary = desk
            .portal
            .create("contacts", &[("email", "a@example.com")], desk.now_ms);
        let other = desk.portal.create(
            "contacts",
            &[("email", "b@example.com"), ("city", "Kyiv")],
            desk.now_ms,
        );
        let winner = desk
            .portal
            .merge("contacts", primary, other, desk.now_ms)
            .expect("two live records");
        (desk, primary, other, winner)
    }

    /// api-facts.md#13: since 2025 a new id; old ids answer 200 with the new record and aren't archived.
    #[test]
    fn both_old_ids_answer_with_the_new_record() {
        let (mut desk, primary, other, winner) = merged(Settings::quick());
        assert!(winner != primary && winner != other);
        for old in [primary, other] {
            let (status, body) = desk.get(&format!(
                "{CONTACTS}/{old}?properties=hs_merged_object_ids,city"
            ));
            assert_eq!((status, &body["id"]), (200, &json!(winner.to_string())));
            assert_eq!(
                body["properties"]["hs_merged_object_ids"],
                format!("{primary};{other}")
            );
            assert_eq!(body["properties"]["city"], "Kyiv");
        }
        assert_eq!(ids(&desk.get(CONTACTS).1), [winner]);
        assert_eq!(
            ids(&desk.get(&format!("{CONTACTS}?archived=true")).1),
            [0; 0]
        );
        let (_, by_email) = desk.get(&format!("{CONTACTS}/b@example.com?idProperty=email"));
        assert_eq!(
            by_email["id"],
            winner.to_string(),
            "a secondary e-mail finds the record"
        );
    }

    #[test]
    fn the_older_way_keeps_the_primary_s_id() {
        let (mut desk, primary, other, winner) = merged(Settings {
            merge_keeps_primary_id: true,
            ..Settings::quick()
        });
        assert_eq!(winner, primary);
        assert_eq!(
            desk.get(&format!("{CONTACTS}/{other}")).1["id"],
            primary.to_string()
        );
    }

    /// api-facts.md#7, #13: entries of both, mixed; the newest is the value.
    #[test]
    fn the_result_remembers_what_both_records_were() {
        let mut desk = Desk::quick();
        let primary = desk.portal.create(
            "contacts",
            &[("email", "a@example.com"), ("city", "Lima")],
            desk.now_ms,
        );
        desk.now_ms += 1_000;
        let other = desk.portal.create(
            "contacts",
            &[
                ("email", "b@example.com"),
                ("city", "Kyiv"),
                ("firstname", "Ada"),
            ],
            desk.now_ms,
        );
        for (id, city) in [(primary, "Quito"), (other, "Oslo")] {
            desk.now_ms += 1_000;
            assert!(
                desk.portal
                    .edit("contacts", id, &[("city", city)], desk.now_ms)
            );
        }
        desk.now_ms += 1_000;
        let winner = desk
            .portal
            .merge("contacts", primary, other, desk.now_ms)
            .expect("two live records");
        let query = "propertiesWithHistory=city,firstname,email";
        let (_, body) = desk.get(&format!("{CONTACTS}/{winner}?{query}"));
        let told = |name: &str| {
            let entries = body["propertiesWithHistory"][name].as_array();
            let value = |entry: &Value| entry["value"].as_str().map(str::to_owned);
            entries
                .expect("a history")
                .iter()
                .filter_map(value)
                .collect::<Vec<_>>()
        };
        assert_eq!(body["properties"]["city"], "Quito");
        assert_eq!(told("city"), ["Quito", "Oslo", "Quito", "Kyiv", "Lima"]);
        assert_eq!(told("firstname"), ["Ada", "Ada"], "moved by the merge");
        let emails = ["a@example.com", "b@example.com", "a@example.com"];
        assert_eq!(told("email"), emails);
        let newest = &body["propertiesWithHistory"]["city"][0];
        assert_eq!(newest["sourceType"], "MERGE_OBJECTS");
    }

    #[test]
    fn what_was_written_in_one_millisecond_keeps_its_order_through_a_merge() {
        let mut desk = Desk::quick();
        let [primary, other] = ["a@example.com", "b@example.com"].map(|email| desk.contact(email));
        for city in ["Quito", "Oslo"] {
            let change = [("city", city)];
            assert!(desk.portal.edit("contacts", primary, &change, desk.now_ms));
        }
        let winner = desk
            .portal
            .merge("contacts", primary, other, desk.now_ms)
            .expect("two live records");
        let (_, body) = desk.get(&format!("{CONTACTS}/{winner}?propertiesWithHistory=city"));
        let told = &body["propertiesWithHistory"]["city"];
        let cities = [&told[0]["value"], &told[1]["value"], &told[2]];
        assert_eq!(cities, [&json!("Oslo"), &json!("Quito"), &Value::Null]);
    }

    /// api-facts.md#13 has seen no `propertyChange`, api-facts.md#10 expects it for moved values.
    #[test]
    fn moved_values_are_told_by_the_switch_alone() {
        for merge_tells_property_changes in [false, true] {
            let (mut desk, _, _, winner) = merged(Settings {
                merge_tells_property_changes,
                webhooks: Some(Webhooks::default()),
                ..Settings::quick()
            });
            let events = desk.portal.take_events(desk.now_ms).expect("events");
            let merge = events
                .iter()
                .filter(|event| event["subscriptionType"] == "contact.merge");
            assert_eq!(merge.count(), 1);
            let moved = events.iter().any(|event| {
                event["subscriptionType"] == "contact.propertyChange"
                    && event["objectId"] == winner
                    && event["propertyName"] == "city"
            });
            assert_eq!(moved, merge_tells_property_changes);
        }
    }

    /// api-facts.md#13, unknowns 6 and 7.
    #[test]
    fn an_update_by_an_old_id_is_200_without_a_result() {
        for lands in [false, true] {
            let (mut desk, primary, _, winner) = merged(Settings {
                merged_id_update_lands: lands,
                ..Settings::quick()
            });
            let input = json!({"id": primary.to_string(), "properties": {"city": "Oslo"}, "objectWriteTraceId": "t"});
            let (status, body) = desk.post(
                &format!("{CONTACTS}/batch/update"),
                &json!({"inputs": [input]}),
            );
            assert_eq!(
                (status, ids(&body).len(), body.get("errors")),
                (200, 0, None)
            );
            let city = desk
                .portal
                .record("contacts", winner)
                .and_then(|record| record.value("city"));
            assert_eq!(city, Some(if lands { "Oslo" } else { "Kyiv" }));
        }
    }

    #[test]
    fn two_merged_ids_read_as_one_record_or_twice_by_the_switch() {
        for (merged_ids_read_twice, expected) in [(false, 1), (true, 2)] {
            let (mut desk, primary, other, _) = merged(Settings {
                merged_ids_read_twice,
                ..Settings::quick()
            });
            let inputs =
                json!({"inputs": [{"id": primary.to_string()}, {"id": other.to_string()}]});
            let (status, body) = desk.post(&format!("{CONTACTS}/batch/read"), &inputs);
            assert_eq!((status, ids(&body).len()), (200, expected));
        }
    }

    #[test]
    fn chained_merges_name_every_old_id() {
        let (mut desk, primary, other, winner) = merged(Settings::quick());
        let third = desk.contact("c@example.com");
        let (status, body) = desk.post(
            &format!("{CONTACTS}/merge"),
            &json!({"primaryObjectId": winner.to_string(), "objectIdToMerge": third.to_string()}),
        );
        assert_eq!(status, 200);
        let last = ids(&json!({"results": [body]}))[0];
        for old in [primary, other, winner, third] {
            assert_eq!(desk.portal.merged_into("contacts", old), Some(last));
        }
        let names = desk
            .portal
            .record("contacts", last)
            .and_then(|record| record.value("hs_merged_object_ids"));
        assert_eq!(
            names,
            Some(format!("{primary};{other};{winner};{third}").as_str())
        );
    }
}
