//! A project app's `webhooks-hsmeta.json` (`hubspot/api-facts.md#10`): what the mapping wants, merged into what is there.
//!
//! The file belongs to the project, and other programs may live by it: what no mapping could want stays as it is, and
//! what this mapping doesn't want is paused, never removed.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::decide::portal::subscriptions::{CONCURRENT, FoundSubscription, Subscription};
use crate::model::object::StandardObject;

/// The lists of subscriptions; the generic form first, in which new ones are written.
const LISTS: [(&str, &str); 3] = [
    ("crmObjects", "config.subscriptions.crmObjects"),
    ("legacyCrmObjects", "config.subscriptions.legacyCrmObjects"),
    ("hubEvents", "config.subscriptions.hubEvents"),
];

/// The file as it would be.
#[derive(Debug, Clone, PartialEq)]
pub struct Merged {
    /// The whole file.
    pub file: Value,
    /// A line for each change; none where nothing changes.
    pub changes: Vec<String>,
    /// Subscriptions that were there, paused ones and other programs' too.
    pub there: usize,
    /// Those that are new.
    pub new: usize,
}

/// Merges. Keys that are not of this mapping are kept, and so is `maxConcurrentRequests`.
///
/// # Errors
/// The place of a part that is not as HubSpot describes it.
pub fn merge(
    former: Option<Value>,
    wanted: &BTreeSet<Subscription>,
    public_url: &str,
) -> Result<Merged, &'static str> {
    let mut file = former.unwrap_or_else(|| json!({ "uid": "webhooks", "type": "webhooks" }));
    let whole = file.as_object_mut().ok_or("type")?;
    let config = part(whole, "config").ok_or("config")?;
    let mut changes = Vec::new();
    let settings = part(config, "settings").ok_or("config.settings")?;
    merge_settings(settings, public_url, &mut changes);
    let lists = part(config, "subscriptions").ok_or("config.subscriptions")?;
    let (there, new) = merge_lists(lists, wanted, &mut changes)?;
    Ok(Merged {
        file,
        changes,
        there,
        new,
    })
}

/// A table within another; it is made where there is none.
fn part<'v>(whole: &'v mut Map<String, Value>, name: &str) -> Option<&'v mut Map<String, Value>> {
    whole
        .entry(name)
        .or_insert_with(|| Value::Object(Map::new()))
        .as_object_mut()
}

fn merge_settings(settings: &mut Map<String, Value>, url: &str, changes: &mut Vec<String>) {
    if settings.get("targetUrl").and_then(Value::as_str) != Some(url) {
        changes.push(match settings.get("targetUrl").and_then(Value::as_str) {
            Some(former) => format!("set the target URL to {url} in place of {former}"),
            None => format!("set the target URL to {url}"),
        });
        settings.insert("targetUrl".to_owned(), url.into());
    }
    if !settings.contains_key("maxConcurrentRequests") {
        changes.push(format!("set maxConcurrentRequests to {CONCURRENT}"));
        settings.insert("maxConcurrentRequests".to_owned(), CONCURRENT.into());
    }
}

fn merge_lists(
    lists: &mut Map<String, Value>,
    wanted: &BTreeSet<Subscription>,
    changes: &mut Vec<String>,
) -> Result<(usize, usize), &'static str> {
    for (name, place) in LISTS {
        let list = lists.entry(name).or_insert_with(|| json!([]));
        if !list
            .as_array()
            .is_some_and(|all| all.iter().all(Value::is_object))
        {
            return Err(place);
        }
    }
    let before = entries(lists).count();
    let (mut sent, mut there) = (BTreeSet::new(), BTreeSet::new());
    for entry in entries(lists) {
        if let Some(meaning) = meaning(entry) {
            if is_active(entry) {
                sent.insert(meaning.clone());
            }
            there.insert(meaning);
        }
    }
    for subscription in wanted.difference(&there) {
        changes.push(format!("subscribe {subscription}"));
        let (name, entry) = entry_of(subscription);
        if let Some(list) = lists.get_mut(name).and_then(Value::as_array_mut) {
            list.push(entry);
        }
    }
    // Where a change is subscribed in both forms, one that is active is enough.
    let mut dark: BTreeSet<Subscription> = there.difference(&sent).cloned().collect();
    let mut paused = Vec::new();
    for entry in entries(lists) {
        let Some(meaning) = meaning(entry) else {
            continue;
        };
        if wanted.contains(&meaning) {
            if dark.remove(&meaning) {
                entry["active"] = true.into();
                changes.push(format!("switch on {meaning}"));
            }
        } else if is_active(entry) {
            entry["active"] = false.into();
            paused.push(format!("pause     {meaning}"));
        }
    }
    changes.append(&mut paused);
    Ok((before, wanted.difference(&there).count()))
}

fn entries(lists: &mut Map<String, Value>) -> impl Iterator<Item = &mut Value> {
    lists
        .iter_mut()
        .filter(|(name, _)| LISTS.iter().any(|(own, _)| own == name))
        .filter_map(|(_, list)| list.as_array_mut())
        .flatten()
}

fn is_active(entry: &Value) -> bool {
    entry["active"] == true
}

/// What an entry subscribes to; `None` for what no mapping could want.
fn meaning(entry: &Value) -> Option<Subscription> {
    let text = |name: &str| entry[name].as_str().map(str::to_owned);
    let found = FoundSubscription {
        id: String::new(),
        event_type: text("subscriptionType")?,
        object_type_id: text("objectType").map(type_id),
        property: text("propertyName"),
        active: is_active(entry),
    };
    found.meaning()
}

/// `contact`, `contacts` or `0-1`: the type id.
fn type_id(object: String) -> String {
    StandardObject::spelled(&object.to_lowercase())
        .map_or(object, |standard| standard.type_id.to_owned())
}

/// The list that a new one goes to, and how it is written there.
fn entry_of(subscription: &Subscription) -> (&'static str, Value) {
    if subscription.event == "privacyDeletion" {
        // The generic form doesn't know it (`hubspot/api-facts.md#10`).
        let entry = json!({ "subscriptionType": subscription.event_type(), "active": true });
        return ("hubEvents", entry);
    }
    let mut entry = json!({
        "subscriptionType": format!("object.{}", subscription.event),
        "objectType": subscription.word,
        "active": true,
    });
    if let Some(property) = &subscription.property {
        entry["propertyName"] = property.as_str().into();
    }
    ("crmObjects", entry)
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: &str = "https://sync.example.com/webhooks/hubspot";

    fn wanted() -> BTreeSet<Subscription> {
        let one = |word, event, property: Option<&str>| Subscription {
            word,
            event,
            property: property.map(str::to_owned),
        };
        BTreeSet::from([
            one("contact", "privacyDeletion", None),
            one("contact", "deletion", None),
            one("contact", "creation", None),
            one("deal", "propertyChange", Some("dealstage")),
        ])
    }

    #[test]
    fn a_new_file_gets_the_generic_form_and_privacy_deletions_apart() {
        let merged = merge(None, &wanted(), URL).expect("a file");
        assert_eq!(merged.file["uid"], "webhooks");
        let config = &merged.file["config"];
        assert_eq!(
            config["settings"],
            json!({ "targetUrl": URL, "maxConcurrentRequests": 10 })
        );
        let lists = &config["subscriptions"];
        assert_eq!(lists["crmObjects"].as_array().map(Vec::len), Some(3));
        assert_eq!(
            lists["crmObjects"][2],
            json!({ "subscriptionType": "object.propertyChange", "objectType": "deal",
                    "propertyName": "dealstage", "active": true })
        );
        assert_eq!(
            lists["hubEvents"],
            json!([{ "subscriptionType": "contact.privacyDeletion", "active": true }])
        );
        let again = merge(Some(merged.file.clone()), &wanted(), URL).expect("a file");
        assert_eq!((again.file, again.changes), (merged.file, vec![]));
    }

    #[test]
    fn what_others_wrote_is_kept_and_what_is_unwanted_is_paused() {
        let former = json!({
            "uid": "mine", "type": "webhooks", "note": "kept",
            "config": {
                "settings": { "targetUrl": "https://old.example.com", "maxConcurrentRequests": 7, "other": 1 },
                "more": [1],
                "subscriptions": {
                    "crmObjects": [
                        { "subscriptionType": "object.creation", "objectType": "contact", "active": false, "x": 2 },
                        { "subscriptionType": "object.propertyChange", "objectType": "contact", "propertyName": "phone", "active": true },
                        { "subscriptionType": "object.creation", "objectType": "p1_machine", "active": true },
                        { "subscriptionType": "object.propertyChange", "objectType": "0-3", "propertyName": "dealstage", "active": true },
                    ],
                    "legacyCrmObjects": [{ "subscriptionType": "contact.deletion", "active": true }],
                    "hubEvents": [{ "subscriptionType": "conversation.newMessage", "active": true }],
                    "strange": {},
                },
            },
        });
        let merged = merge(Some(former.clone()), &wanted(), URL).expect("a file");
        assert_eq!(
            merged.changes,
            [
                "set the target URL to https://sync.example.com/webhooks/hubspot in place of https://old.example.com",
                "subscribe contact.privacyDeletion",
                "switch on contact.creation",
                "pause     contact.propertyChange phone",
            ]
        );
        let mut expected = former;
        expected["config"]["settings"]["targetUrl"] = URL.into();
        let lists = &mut expected["config"]["subscriptions"];
        lists["crmObjects"][0]["active"] = true.into();
        lists["crmObjects"][1]["active"] = false.into();
        let privacy = json!({ "subscriptionType": "contact.privacyDeletion", "active": true });
        lists["hubEvents"]
            .as_array_mut()
            .expect("a list")
            .push(privacy);
        assert_eq!(merged.file, expected);
        assert_eq!((merged.there, merged.new), (6, 1));
    }

    #[test]
    fn a_file_of_another_shape_is_named_by_its_place() {
        for (config, place) in [
            (json!([]), "config"),
            (json!({ "settings": 1 }), "config.settings"),
            (json!({ "subscriptions": [] }), "config.subscriptions"),
            (
                json!({ "subscriptions": { "hubEvents": {} } }),
                "config.subscriptions.hubEvents",
            ),
            (
                json!({ "subscriptions": { "crmObjects": [1] } }),
                "config.subscriptions.crmObjects",
            ),
        ] {
            let file = json!({ "type": "webhooks", "config": config });
            assert_eq!(merge(Some(file), &wanted(), URL), Err(place));
        }
    }
}
