//! One record, small: its values lie in one block of bytes, and history exists only for what has changed.
//!
//! A million contacts of twenty properties must fit in a few hundred megabytes, so a record holds no map.

use crate::portal::schema::Schema;

/// Number of a property within its object's schema.
pub(crate) type PropertyId = u16;

/// Property values, sorted by property: number, length, text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Values(Box<[u8]>);

/// A text of at least this many bytes has its length in four more bytes.
const LONG: usize = 255;

impl Values {
    /// From entries in any order, each property once.
    pub(crate) fn new(mut entries: Vec<(PropertyId, &str)>) -> Self {
        entries.sort_unstable_by_key(|(property, _)| *property);
        let mut bytes = Vec::with_capacity(entries.iter().map(|(_, text)| text.len() + 3).sum());
        for (property, text) in entries {
            bytes.extend_from_slice(&property.to_le_bytes());
            if text.len() < LONG {
                bytes.push(text.len() as u8);
            } else {
                bytes.push(LONG as u8);
                bytes.extend_from_slice(&(text.len() as u32).to_le_bytes());
            }
            bytes.extend_from_slice(text.as_bytes());
        }
        Self(bytes.into_boxed_slice())
    }

    pub(crate) fn iter(&self) -> ValuesIter<'_> {
        ValuesIter(&self.0)
    }

    pub(crate) fn get(&self, property: PropertyId) -> Option<&str> {
        self.iter()
            .find(|(id, _)| *id == property)
            .map(|(_, text)| text)
    }

    /// A copy with these changes; `None` clears.
    pub(crate) fn with(&self, changes: &[(PropertyId, Option<String>)]) -> Self {
        let kept = self
            .iter()
            .filter(|(id, _)| !changes.iter().any(|(changed, _)| changed == id));
        let added = changes
            .iter()
            .filter_map(|(id, text)| Some((*id, text.as_deref()?)));
        Self::new(kept.chain(added).collect())
    }
}

/// Walks over the values in the order of their properties.
pub(crate) struct ValuesIter<'a>(&'a [u8]);

impl<'a> Iterator for ValuesIter<'a> {
    type Item = (PropertyId, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        let (head, rest) = self.0.split_first_chunk::<3>()?;
        let property = PropertyId::from_le_bytes([head[0], head[1]]);
        let (length, rest) = if usize::from(head[2]) < LONG {
            (usize::from(head[2]), rest)
        } else {
            let (long, rest) = rest.split_first_chunk::<4>()?;
            (u32::from_le_bytes(*long) as usize, rest)
        };
        let (text, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((property, std::str::from_utf8(text).unwrap_or_default()))
    }
}

/// What one version of a record says: what reads and search show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Document {
    pub created_ms: i64,
    pub modified_ms: i64,
    pub values: Values,
}

/// Who wrote a value, as in property history (`api-facts.md#10`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// The daemon's own app through the API.
    Integration,
    /// Another app.
    OtherApp(u32),
    /// A person in HubSpot.
    Person(u32),
    /// A bulk load.
    Import,
    /// HubSpot's merge of two records.
    Merge,
    /// HubSpot, which keeps a property in step with associations.
    Associations,
}

/// One entry of a property's history.
#[derive(Clone, Debug)]
pub(crate) struct HistoryEntry {
    pub value: Box<str>,
    pub at_ms: i64,
    pub source: Source,
}

/// What most records don't have.
#[derive(Clone, Debug, Default)]
pub(crate) struct Extra {
    pub archived_at_ms: Option<i64>,
    /// By property, oldest first.
    pub history: Vec<(PropertyId, Vec<HistoryEntry>)>,
}

/// A record as the portal keeps it.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub document: Document,
    pub origin: Source,
    pub extra: Option<Box<Extra>>,
}

impl Stored {
    pub(crate) fn archived_at_ms(&self) -> Option<i64> {
        self.extra.as_ref()?.archived_at_ms
    }

    pub(crate) fn extra_mut(&mut self) -> &mut Extra {
        self.extra.get_or_insert_default()
    }

    /// Adds an entry, and before it the value that the record was created with; drops the oldest beyond `cap`.
    pub(crate) fn remember(&mut self, property: PropertyId, entry: HistoryEntry, cap: usize) {
        let first = self
            .document
            .values
            .get(property)
            .map(|value| HistoryEntry {
                value: value.into(),
                at_ms: self.document.created_ms,
                source: self.origin,
            });
        let history = &mut self.extra_mut().history;
        let position = history
            .iter()
            .position(|(id, _)| *id == property)
            .unwrap_or_else(|| {
                history.push((property, first.into_iter().collect()));
                history.len() - 1
            });
        let entries = &mut history[position].1;
        entries.push(entry);
        let surplus = entries.len().saturating_sub(cap);
        entries.drain(..surplus);
    }

    /// The properties that have a value or had one.
    pub(crate) fn remembered(&self) -> impl Iterator<Item = PropertyId> {
        let now = self.document.values.iter().map(|(property, _)| property);
        let once = self.extra.iter().flat_map(|extra| &extra.history);
        now.chain(once.map(|(property, _)| *property))
    }

    /// Newest first (`api-facts.md#7`).
    pub(crate) fn history(&self, property: PropertyId) -> Vec<HistoryEntry> {
        let kept = self
            .extra
            .as_ref()
            .and_then(|extra| extra.history.iter().find(|(id, _)| *id == property));
        if let Some((_, entries)) = kept {
            return entries.iter().rev().cloned().collect();
        }
        let created = self
            .document
            .values
            .get(property)
            .map(|value| HistoryEntry {
                value: value.into(),
                at_ms: self.document.created_ms,
                source: self.origin,
            });
        created.into_iter().collect()
    }
}

/// A record as tests see it: a borrowed view with property names.
#[derive(Clone, Copy)]
pub struct Record<'a> {
    pub(crate) id: u64,
    pub(crate) stored: &'a Stored,
    pub(crate) schema: &'a Schema,
}

impl<'a> Record<'a> {
    /// The record's id.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The canonical text of a property: dates `YYYY-MM-DD`, datetimes ISO 8601 with three digits of milliseconds.
    /// `None` for a property without a value or without a definition.
    pub fn value(&self, property: &str) -> Option<&'a str> {
        self.stored.document.values.get(self.schema.id(property)?)
    }

    /// All properties with a value, in no promised order.
    pub fn properties(&self) -> Vec<(&'a str, &'a str)> {
        let values = self.stored.document.values.iter();
        values
            .map(|(id, text)| (self.schema.property(id).name.as_str(), text))
            .collect()
    }

    /// Creation, epoch milliseconds of HubSpot's clock.
    pub fn created_ms(&self) -> i64 {
        self.stored.document.created_ms
    }

    /// Last modification, epoch milliseconds of HubSpot's clock.
    pub fn modified_ms(&self) -> i64 {
        self.stored.document.modified_ms
    }

    /// Whether it lies in the bin.
    pub fn is_archived(&self) -> bool {
        self.stored.archived_at_ms().is_some()
    }
}

impl std::fmt::Debug for Record<'_> {
    /// The id alone: values are personal data.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Record({})", self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_survive_packing() {
        let long = "x".repeat(70_000);
        let values = Values::new(vec![(7, "seven"), (1, ""), (300, &long)]);
        assert_eq!(
            values
                .iter()
                .map(|(id, text)| (id, text.len()))
                .collect::<Vec<_>>(),
            [(1, 0), (7, 5), (300, 70_000)]
        );
        let changed = values.with(&[(7, None), (8, Some("8".to_owned()))]);
        assert_eq!(
            (changed.get(7), changed.get(8), changed.get(300)),
            (None, Some("8"), Some(long.as_str()))
        );
    }

    #[test]
    fn the_first_change_also_remembers_the_value_it_replaces() {
        let document = Document {
            created_ms: 1,
            modified_ms: 1,
            values: Values::new(vec![(3, "old")]),
        };
        let mut stored = Stored {
            document,
            origin: Source::Import,
            extra: None,
        };
        let entry = HistoryEntry {
            value: "new".into(),
            at_ms: 9,
            source: Source::Integration,
        };
        stored.remember(3, entry, 45);
        let told: Vec<_> = stored
            .history(3)
            .into_iter()
            .map(|entry| (entry.value, entry.at_ms))
            .collect();
        assert_eq!(told, [("new".into(), 9), ("old".into(), 1)]);
    }
}
