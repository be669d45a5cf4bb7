//! Which webhook subscriptions a mapping wants, and what makes an app's match them (`hubspot/api-facts.md#10`).

pub mod project;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::model::mapping::{Mapping, ObjectMapping};
use crate::model::object::{MODIFIED_PROPERTIES, ObjectEvents, STANDARD_OBJECTS, StandardObject};

/// Whether changes of a property can be subscribed (`hubspot/api-facts.md#10`).
fn is_subscribable(property: &str) -> bool {
    !MODIFIED_PROPERTIES.contains(&property) && property != "num_unique_conversion_events"
}

/// Events of a record as a whole that every mapped object wants.
const WHOLE: [&str; 5] = [
    "creation",
    "deletion",
    "merge",
    "restore",
    "associationChange",
];

/// Subscriptions of an app at most (`hubspot/api-facts.md#10`).
pub const MOST: usize = 1_000;

/// Requests at once that HubSpot sends, where nobody said another number (`hubspot/api-facts.md#10`: more than 5 is asked
/// for).
pub const CONCURRENT: u32 = 10;

/// One subscription, whatever its form.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Subscription {
    /// The object in the singular: `contact`, `note`.
    pub word: &'static str,
    /// `creation`, `propertyChange` …
    pub event: &'static str,
    /// For `propertyChange`.
    pub property: Option<String>,
}

impl Subscription {
    /// HubSpot's event type: `contact.creation`; `object.creation` of an object that has the generic form alone.
    pub fn event_type(&self) -> String {
        match self.object_type_id() {
            None => format!("{}.{}", self.word, self.event),
            Some(_) => format!("{GENERIC}.{}", self.event),
        }
    }

    /// What says in the generic form which object is meant; nothing in the classic one.
    pub fn object_type_id(&self) -> Option<&'static str> {
        let standard = StandardObject::spelled(self.word)?;
        (standard.events != ObjectEvents::Classic).then_some(standard.type_id)
    }
}

/// What stands in front of the dot of the generic form.
const GENERIC: &str = "object";

impl fmt::Display for Subscription {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}", self.word, self.event)?;
        match &self.property {
            Some(property) => write!(formatter, " {property}"),
            None => Ok(()),
        }
    }
}

/// What a mapping wants: the objects that are pulled, and of them the properties that are; and privacy deletions of
/// contacts, also where they are only pushed.
pub fn wanted(mapping: &Mapping) -> BTreeSet<Subscription> {
    mapping.objects.iter().flat_map(of_object).collect()
}

fn of_object(object: &ObjectMapping) -> Vec<Subscription> {
    let Some(standard) = StandardObject::of(object.object.as_str()) else {
        return Vec::new();
    };
    let word = standard.event_word;
    let whole = |event| Subscription {
        word,
        event,
        property: None,
    };
    let mut all = Vec::new();
    if standard.has_privacy_deletion {
        all.push(whole("privacyDeletion"));
    }
    if !object.direction.pulls() || standard.events == ObjectEvents::None {
        return all;
    }
    // HubSpot has no `product.associationChange` (`hubspot/api-facts.md#10`).
    let has_event = |event: &&str| standard.name != "products" || *event != "associationChange";
    all.extend(WHOLE.into_iter().filter(has_event).map(whole));
    let pulled = object
        .fields
        .iter()
        .filter(|field| field.direction.pulls() && is_subscribable(field.property.as_str()));
    all.extend(pulled.map(|field| Subscription {
        word,
        event: "propertyChange",
        property: Some(field.property.as_str().to_owned()),
    }));
    all
}

/// A subscription that the app has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundSubscription {
    /// HubSpot's id of it.
    pub id: String,
    /// `contact.creation`, `object.creation` …
    pub event_type: String,
    /// For the generic form.
    pub object_type_id: Option<String>,
    /// For `propertyChange`.
    pub property: Option<String>,
    /// Whether it is sent.
    pub active: bool,
}

impl FoundSubscription {
    /// What it is a subscription to; `None` for what no mapping could want.
    fn meaning(&self) -> Option<Subscription> {
        let (word, event) = self.event_type.split_once('.')?;
        let object = STANDARD_OBJECTS.iter().find(|object| match word {
            GENERIC => self.object_type_id.as_deref() == Some(object.type_id),
            _ => object.event_word == word && object.events == ObjectEvents::Classic,
        })?;
        let events = WHOLE.iter().chain(&["privacyDeletion", "propertyChange"]);
        let event = events.copied().find(|known| *known == event)?;
        Some(Subscription {
            word: object.event_word,
            event,
            property: self.property.clone().filter(|name| !name.is_empty()),
        })
    }
}

/// What makes an app's subscriptions match.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// The URL to set, where it is another one.
    pub target: Option<String>,
    /// Requests at once that HubSpot may send, to be set with the URL, where the app says nothing.
    pub concurrent: Option<u32>,
    /// To be made.
    pub create: Vec<Subscription>,
    /// There and paused: to be switched on.
    pub activate: Vec<(String, Subscription)>,
    /// There, sent, and about records that the mapping doesn't want: to be paused. Nothing is deleted.
    pub pause: Vec<(String, Subscription)>,
}

impl Plan {
    /// Whether nothing is to be done.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// One line a step.
    pub fn lines(&self) -> Vec<String> {
        let target = self
            .target
            .iter()
            .map(|url| format!("set the target URL to {url}"));
        let concurrent = self
            .concurrent
            .map(|many| format!("set maxConcurrentRequests to {many}"));
        let create = self
            .create
            .iter()
            .map(|wanted| format!("subscribe {wanted}"));
        let activate = self
            .activate
            .iter()
            .map(|(_, wanted)| format!("switch on {wanted}"));
        let pause = self
            .pause
            .iter()
            .map(|(_, found)| format!("pause     {found}"));
        target
            .chain(concurrent)
            .chain(create)
            .chain(activate)
            .chain(pause)
            .collect()
    }
}

/// Compares. Where a change is subscribed in both forms, one that is active is enough.
pub fn plan(
    wanted: &BTreeSet<Subscription>,
    found: &[FoundSubscription],
    (target, concurrent): (Option<&str>, Option<u32>),
    public_url: &str,
) -> Plan {
    let mut there: BTreeMap<Subscription, Vec<&FoundSubscription>> = BTreeMap::new();
    for subscription in found {
        if let Some(meaning) = subscription.meaning() {
            there.entry(meaning).or_default().push(subscription);
        }
    }
    let is_called = target == Some(public_url);
    let mut plan = Plan {
        target: (!is_called).then(|| public_url.to_owned()),
        concurrent: (!is_called && concurrent.is_none()).then_some(CONCURRENT),
        ..Plan::default()
    };
    for subscription in wanted {
        match there.get(subscription) {
            None => plan.create.push(subscription.clone()),
            Some(own) if own.iter().any(|found| found.active) => {}
            Some(own) => plan.activate.extend(
                own.first()
                    .map(|found| (found.id.clone(), subscription.clone())),
            ),
        }
    }
    for (subscription, own) in there {
        if !wanted.contains(&subscription) {
            let active = own.into_iter().filter(|found| found.active);
            plan.pause
                .extend(active.map(|found| (found.id.clone(), subscription.clone())));
        }
    }
    plan
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::mapping::{Direction, KeyChoice, Modes, Policy};
    use crate::model::name::{ObjectType, TableName};

    fn subscription(
        word: &'static str,
        event: &'static str,
        property: Option<&str>,
    ) -> Subscription {
        Subscription {
            word,
            event,
            property: property.map(str::to_owned),
        }
    }

    fn found(
        id: &str,
        event_type: &str,
        property: Option<&str>,
        active: bool,
    ) -> FoundSubscription {
        FoundSubscription {
            id: id.to_owned(),
            event_type: event_type.to_owned(),
            object_type_id: event_type.starts_with("object.").then(|| "0-1".to_owned()),
            property: property.map(str::to_owned),
            active,
        }
    }

    const URL: &str = "https://sync.example.com/webhooks/hubspot";

    #[test]
    fn what_is_missing_is_made_and_what_is_too_much_is_paused() {
        let wanted = BTreeSet::from([
            subscription("contact", "creation", None),
            subscription("contact", "propertyChange", Some("email")),
            subscription("contact", "propertyChange", Some("city")),
            subscription("contact", "deletion", None),
        ]);
        let there = [
            found("1", "contact.creation", None, false),
            found("2", "object.propertyChange", Some("email"), true),
            found("3", "contact.propertyChange", Some("phone"), true),
            found("4", "contact.propertyChange", Some("fax"), false),
            found("5", "conversation.newMessage", None, true),
            found("6", "contact.deletion", None, true),
            found("7", "object.deletion", None, false),
        ];
        let plan = |concurrent| {
            let set = (Some("https://old.example.com"), concurrent);
            super::plan(&wanted, &there, set, URL)
        };
        assert!(
            plan(None)
                .lines()
                .contains(&"set maxConcurrentRequests to 10".to_owned())
        );
        let plan = plan(Some(7));
        assert_eq!(
            plan.lines(),
            [
                "set the target URL to https://sync.example.com/webhooks/hubspot",
                "subscribe contact.propertyChange city",
                "switch on contact.creation",
                "pause     contact.propertyChange phone",
            ]
        );
        let after = [
            found("1", "contact.creation", None, true),
            found("2", "object.propertyChange", Some("email"), true),
            found("6", "contact.deletion", None, true),
            found("8", "contact.propertyChange", Some("city"), true),
        ];
        assert!(super::plan(&wanted, &after, (Some(URL), None), URL).is_empty());
    }

    #[test]
    fn an_object_without_events_of_its_own_is_subscribed_in_the_generic_form() {
        for (word, event_type, type_id) in [
            ("contact", "contact.deletion", None),
            ("line_item", "line_item.deletion", None),
            ("note", "object.deletion", Some("0-46")),
        ] {
            let one = subscription(word, "deletion", None);
            assert_eq!(
                (one.event_type(), one.object_type_id()),
                (event_type.to_owned(), type_id)
            );
            let found = FoundSubscription {
                object_type_id: type_id.map(str::to_owned),
                ..found("1", event_type, None, true)
            };
            assert_eq!(found.meaning(), Some(one));
        }
        assert_eq!(found("1", "note.deletion", None, true).meaning(), None);
    }

    #[test]
    fn of_an_object_whose_changes_no_event_tells_nothing_is_wanted() {
        let pulled = |name: &str| ObjectMapping {
            direction: Direction::Pull,
            ..pushed(name)
        };
        let events = |name: &str| {
            let mapping = Mapping {
                objects: vec![pulled(name)],
                pairs: Vec::new(),
            };
            wanted(&mapping)
                .into_iter()
                .map(|one| one.event)
                .collect::<Vec<_>>()
        };
        assert_eq!(events("users"), Vec::<&str>::new());
        assert_eq!(events("machines"), Vec::<&str>::new());
        assert_eq!(
            events("products"),
            ["creation", "deletion", "merge", "restore"]
        );
        assert_eq!(events("notes").len(), WHOLE.len());
    }

    fn pushed(name: &str) -> ObjectMapping {
        ObjectMapping {
            object: ObjectType::parse(name).expect(name),
            address: None,
            table: TableName::parse(name).expect(name),
            direction: Direction::Push,
            key: KeyChoice::Auto,
            match_property: None,
            modes: Modes::default(),
            policy: Policy::Newest,
            poll: std::time::Duration::from_secs(5),
            fields: Vec::new(),
        }
    }

    #[test]
    fn of_what_is_only_pushed_privacy_deletions_alone_are_wanted() {
        let mapping = Mapping {
            pairs: Vec::new(),
            objects: vec![pushed("contacts"), pushed("deals")],
        };
        assert_eq!(
            wanted(&mapping),
            BTreeSet::from([subscription("contact", "privacyDeletion", None)])
        );
    }
}
