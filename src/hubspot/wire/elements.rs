//! Lists of an answer, each element read by itself: an odd one must not keep the others out.

use std::collections::BTreeSet;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, DeserializeOwned, Deserializer, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::hubspot::wire::{Id, read};
use crate::model::id::HubspotId;

/// No answer that HubSpot writes has more elements in a list; a body of nothing but commas would fill the memory.
const MOST: u64 = 100_000;

/// The elements of a list that can be read, and which ones can't.
#[derive(Debug)]
pub(in crate::hubspot) struct Elements<T> {
    /// In their order.
    pub(in crate::hubspot) read: Vec<T>,
    /// The ids of elements that can't be read.
    pub(in crate::hubspot) unread: BTreeSet<HubspotId>,
    /// How many can't be read and have no id that can.
    pub(in crate::hubspot) nameless: u64,
    /// Where the first of those stands.
    first_nameless: Option<Place>,
    /// Whether the first element is one of them.
    pub(in crate::hubspot) begins_unread: bool,
}

/// Where in a list an element stands.
#[derive(Debug, Clone, Copy)]
struct Place {
    /// Counted from 1.
    number: u64,
    /// The id of the element before it.
    behind: Option<HubspotId>,
}

impl<T> Default for Elements<T> {
    fn default() -> Self {
        Self {
            read: Vec::new(),
            unread: BTreeSet::new(),
            nameless: 0,
            first_nameless: None,
            begins_unread: false,
        }
    }
}

impl<T> Elements<T> {
    /// How many elements the list has.
    pub(in crate::hubspot) fn len(&self) -> u64 {
        self.read.len() as u64 + self.unread.len() as u64 + self.nameless
    }

    /// What can't be read and has no id that can, in a sentence that says where to find it.
    pub(in crate::hubspot) fn odd(&self) -> Option<String> {
        let place = self.first_nameless?;
        let behind = match place.behind {
            Some(id) => format!(" (the one after record {id})"),
            None => String::new(),
        };
        let more = match self.nameless {
            1 => String::new(),
            many => format!(", nor can {} more", many - 1),
        };
        Some(format!(
            "record {} of {} in an answer of HubSpot's{behind} can't be read, not even its id{more}",
            place.number,
            self.len()
        ))
    }

    /// Whether every element could be read.
    pub(in crate::hubspot) fn are_whole(&self) -> bool {
        self.unread.is_empty() && self.nameless == 0
    }
}

impl<T: DeserializeOwned> Elements<T> {
    fn take(&mut self, element: &str, before: Option<&str>) {
        let is_first = self.len() == 0;
        if let Ok(element) = read(element.as_bytes()) {
            self.read.push(element);
            return;
        }
        self.begins_unread |= is_first;
        match id_of(element) {
            Some(id) => {
                self.unread.insert(id);
            }
            None => {
                let number = self.len() + 1;
                let behind = before.and_then(id_of);
                self.first_nameless.get_or_insert(Place { number, behind });
                self.nameless += 1;
            }
        }
    }
}

/// The id of an element of which nothing else can be read.
fn id_of(element: &str) -> Option<HubspotId> {
    #[derive(serde::Deserialize)]
    struct NamedElement {
        id: Id,
    }
    let named: NamedElement = read(element.as_bytes()).ok()?;
    Some(HubspotId(named.id.0))
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Elements<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ElementsVisitor<T>(PhantomData<T>);
        impl<'de, T: DeserializeOwned> Visitor<'de> for ElementsVisitor<T> {
            type Value = Elements<T>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Elements<T>, A::Error> {
                let mut elements = Elements::default();
                let mut before = None;
                while let Some(element) = list.next_element::<&RawValue>()? {
                    elements.take(element.get(), before.replace(element.get()));
                    if elements.len() > MOST {
                        return Err(serde::de::Error::custom("a list without end"));
                    }
                }
                Ok(elements)
            }
        }
        deserializer.deserialize_seq(ElementsVisitor(PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hubspot::wire::{Page, Shown};

    fn page(elements: &str) -> Elements<Shown> {
        let page: Page<Shown> =
            read(format!("{{\"results\":[{elements}]}}").as_bytes()).expect("a page");
        page.results
    }

    #[test]
    fn an_element_that_cannot_be_read_keeps_no_other_out() {
        let good = r#"{"id":"1","properties":{"a":"x"}}"#;
        for (odd, unread, nameless) in [
            (r#"{"id":"2","properties":7}"#, Some(2), 0),
            (r#"{"id":"2","properties":null}"#, Some(2), 0),
            (r#"{"id":"2"}"#, Some(2), 0),
            (r#"{"id":3,"archived":"maybe"}"#, Some(3), 0),
            (r#"{"id":"4","id":"4"}"#, None, 1),
            (r#"{"id":"many"}"#, None, 1),
            (r#"{"id":1e400}"#, None, 1),
            ("null", None, 1),
            ("7", None, 1),
            ("[]", None, 1),
        ] {
            let elements = page(&format!("{good},{odd},{good}"));
            assert_eq!(elements.read.len(), 2, "{odd}");
            let named: Vec<i64> = elements.unread.iter().map(|id| id.0).collect();
            assert_eq!(named, unread.into_iter().collect::<Vec<_>>(), "{odd}");
            assert_eq!(elements.nameless, nameless, "{odd}");
            let explanation = "record 2 of 3 in an answer of HubSpot's (the one after record 1) can't be read, not even its id";
            assert_eq!(
                elements.odd().as_deref(),
                (nameless > 0).then_some(explanation),
                "{odd}"
            );
            assert_eq!(elements.len(), 3, "{odd}");
        }
    }

    #[test]
    fn elements_without_an_id_are_told_by_their_place_and_never_by_what_they_hold() {
        assert_eq!(
            page(r#""a secret",7,{"id":"1","properties":{}},null"#)
                .odd()
                .as_deref(),
            Some(
                "record 1 of 4 in an answer of HubSpot's can't be read, not even its id, nor can 2 more"
            )
        );
    }

    #[test]
    fn a_list_of_nothing_without_end_is_no_list() {
        let elements = |count| format!("{{\"results\":[{}]}}", vec!["0"; count].join(","));
        assert!(read::<Page<Shown>>(elements(1000).as_bytes()).is_ok());
        assert!(read::<Page<Shown>>(elements(200_000).as_bytes()).is_err());
    }

    #[test]
    fn half_an_emoji_in_a_value_or_a_name_is_one_odd_letter() {
        let odd = r#"{"id":"2","properties":{"a":"x \ud83d","\ud83d":"y","c":1e400,"d":"z"},"createdAt":"soon"}"#;
        let elements = page(odd);
        assert!(elements.are_whole());
        let properties = elements.read[0].0.properties.as_ref();
        let values = &properties.expect("properties").texts;
        assert_eq!(values["a"].as_deref(), Some("x \u{fffd}"));
        assert_eq!(values["c"].as_deref(), Some("1e400"));
        assert_eq!(values["d"].as_deref(), Some("z"));
        let broken: Page<Shown> =
            read(b"{\"results\":[{\"id\":1,\"properties\":{\"a\":\"\xff\n\"}}]}").expect("a page");
        let properties = broken.results.read[0].0.properties.as_ref();
        let value = &properties.expect("properties").texts["a"];
        assert_eq!(value.as_deref(), Some("\u{fffd}\n"));
    }
}
