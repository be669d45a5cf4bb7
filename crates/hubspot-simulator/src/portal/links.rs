//! Which records hang together: typed links in both directions, and those that wait for a record to be restored.
//!
//! Pure storage: rules, logs and events are in `link_commit`.

use std::collections::BTreeMap;

use crate::catalogue::ObjectIndex;
use crate::portal::link_types::LinkType;

/// One record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct End {
    pub object: ObjectIndex,
    pub id: u64,
}

/// The records of one object that a record is linked to, each with its types, sorted.
pub(crate) type Partners = BTreeMap<u64, Vec<LinkType>>;

/// All links of a portal's live records; each is there from both ends.
#[derive(Clone, Debug, Default)]
pub(crate) struct Links {
    by_record: BTreeMap<(End, ObjectIndex), Partners>,
    /// What archived records were linked to, with the types as the archived record sees them.
    shelf: BTreeMap<End, Vec<(End, Vec<LinkType>)>>,
}

impl Links {
    pub(crate) fn partners(&self, from: End, to: ObjectIndex) -> Option<&Partners> {
        self.by_record.get(&(from, to))
    }

    /// The types of a pair as `from` sees them.
    pub(crate) fn kinds(&self, from: End, to: End) -> &[LinkType] {
        let partners = self.partners(from, to.object);
        partners
            .and_then(|partners| partners.get(&to.id))
            .map_or(&[], Vec::as_slice)
    }

    /// The records to which `from` has this type.
    pub(crate) fn with_kind(
        &self,
        from: End,
        to: ObjectIndex,
        kind: LinkType,
    ) -> impl Iterator<Item = u64> {
        let partners = self.partners(from, to).into_iter().flatten();
        partners
            .filter(move |(_, kinds)| kinds.contains(&kind))
            .map(|(id, _)| *id)
    }

    /// Every record that `from` is linked to.
    pub(crate) fn all_of(&self, from: End) -> Vec<(End, Vec<LinkType>)> {
        let objects = self.by_record.range((from, 0)..=(from, ObjectIndex::MAX));
        let pairs = objects.flat_map(|((_, object), partners)| {
            partners.iter().map(|(id, kinds)| {
                let to = End {
                    object: *object,
                    id: *id,
                };
                (to, kinds.clone())
            })
        });
        pairs.collect()
    }

    /// Every record of `object` that has a link to one of `to`.
    pub(crate) fn of_pair(
        &self,
        object: ObjectIndex,
        to: ObjectIndex,
    ) -> impl Iterator<Item = (u64, &Partners)> {
        let first = End { object, id: 0 };
        let last = End {
            object,
            id: u64::MAX,
        };
        self.by_record
            .range((first, 0)..=(last, ObjectIndex::MAX))
            .filter(move |((_, known), _)| *known == to)
            .map(|((from, _), partners)| (from.id, partners))
    }

    /// Adds one direction; whether it is new.
    pub(crate) fn add(&mut self, from: End, to: End, kind: LinkType) -> bool {
        let partners = self.by_record.entry((from, to.object)).or_default();
        let kinds = partners.entry(to.id).or_default();
        match kinds.binary_search(&kind) {
            Ok(_) => false,
            Err(place) => {
                kinds.insert(place, kind);
                true
            }
        }
    }

    /// Takes one direction away; whether it was there.
    pub(crate) fn remove(&mut self, from: End, to: End, kind: LinkType) -> bool {
        let Some(partners) = self.by_record.get_mut(&(from, to.object)) else {
            return false;
        };
        let Some(kinds) = partners.get_mut(&to.id) else {
            return false;
        };
        let before = kinds.len();
        kinds.retain(|known| *known != kind);
        let was_there = kinds.len() < before;
        if kinds.is_empty() {
            partners.remove(&to.id);
        }
        if partners.is_empty() {
            self.by_record.remove(&(from, to.object));
        }
        was_there
    }

    /// Keeps a link for the day when `from` is restored.
    pub(crate) fn shelve(&mut self, from: End, to: End, kinds: Vec<LinkType>) {
        self.shelf.entry(from).or_default().push((to, kinds));
    }

    /// What waits for a record, taken.
    pub(crate) fn unshelve(&mut self, from: End) -> Vec<(End, Vec<LinkType>)> {
        self.shelf.remove(&from).unwrap_or_default()
    }

    /// Forgets what waits for records that can't be restored any more.
    pub(crate) fn keep_shelved(&mut self, can_come_back: impl Fn(End) -> bool) {
        self.shelf.retain(|from, _| can_come_back(*from));
    }
}
