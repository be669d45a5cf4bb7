//! What search sees: an index that follows the records with a delay of its own for each document (`api-facts.md#6`).
//!
//! A record whose latest version is visible takes no room here; only what is stale or missing is kept.

use std::collections::{BTreeMap, BTreeSet};

use crate::portal::record::Document;

#[derive(Debug, Clone)]
struct Shown {
    /// `None`: not in the index (not yet, or already gone).
    document: Option<Document>,
    visible_version: u64,
    latest_version: u64,
}

/// The difference between the records and what search shows of them.
#[derive(Debug, Clone, Default)]
pub(crate) struct SearchIndex {
    stale: BTreeMap<u64, Shown>,
    due: BTreeSet<(i64, u64)>,
    pending: BTreeMap<u64, (u64, Option<Document>)>,
    next_version: u64,
    generation: u64,
}

/// What the index says about a record.
pub(crate) enum Visible<'a> {
    /// The record as it is.
    AsStored,
    /// Something older, or nothing.
    Stale(Option<&'a Document>),
}

impl SearchIndex {
    /// Takes note of a change: search goes on showing `before` until `due_ms`.
    pub(crate) fn change(
        &mut self,
        id: u64,
        before: Option<&Document>,
        after: Option<&Document>,
        now_ms: i64,
        due_ms: i64,
    ) {
        self.next_version += 1;
        let version = self.next_version;
        if due_ms <= now_ms {
            self.stale.remove(&id);
            self.generation += 1;
            return;
        }
        let shown = self.stale.entry(id).or_insert_with(|| Shown {
            document: before.cloned(),
            visible_version: version - 1,
            latest_version: version,
        });
        shown.latest_version = version;
        self.due.insert((due_ms, version));
        self.pending.insert(version, (id, after.cloned()));
        self.generation += 1;
    }

    /// Makes visible what is due. Of two versions of one record the later one stays, in whichever order they land.
    pub(crate) fn tick(&mut self, now_ms: i64) {
        while let Some((due_ms, version)) = self
            .due
            .first()
            .copied()
            .filter(|(due_ms, _)| *due_ms <= now_ms)
        {
            self.due.remove(&(due_ms, version));
            if let Some((id, document)) = self.pending.remove(&version) {
                self.land(id, version, document);
            }
        }
    }

    fn land(&mut self, id: u64, version: u64, document: Option<Document>) {
        let Some(shown) = self
            .stale
            .get_mut(&id)
            .filter(|shown| shown.visible_version < version)
        else {
            return;
        };
        self.generation += 1;
        if version == shown.latest_version {
            self.stale.remove(&id);
        } else {
            shown.document = document;
            shown.visible_version = version;
        }
    }

    pub(crate) fn visible(&self, id: u64) -> Visible<'_> {
        self.stale.get(&id).map_or(Visible::AsStored, |shown| {
            Visible::Stale(shown.document.as_ref())
        })
    }

    /// The documents that differ from their records, by id.
    pub(crate) fn stale(&self) -> impl Iterator<Item = (u64, &Document)> {
        self.stale
            .iter()
            .filter_map(|(id, shown)| Some((*id, shown.document.as_ref()?)))
    }

    /// Changes whenever an answer of search may change.
    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::portal::record::Values;

    fn document(modified_ms: i64) -> Document {
        Document {
            created_ms: 0,
            modified_ms,
            values: Values::default(),
        }
    }

    fn shown_ms(index: &SearchIndex, id: u64) -> Option<i64> {
        match index.visible(id) {
            Visible::AsStored => Some(-1),
            Visible::Stale(document) => document.map(|document| document.modified_ms),
        }
    }

    #[test]
    fn an_old_version_shows_until_the_new_one_is_due() {
        let mut index = SearchIndex::default();
        index.change(7, Some(&document(1)), Some(&document(2)), 2, 10);
        index.tick(9);
        assert_eq!(shown_ms(&index, 7), Some(1));
        index.tick(10);
        assert_eq!(shown_ms(&index, 7), Some(-1));
    }

    #[test]
    fn versions_that_land_in_the_wrong_order_end_at_the_latest() {
        let mut index = SearchIndex::default();
        index.change(7, None, Some(&document(1)), 1, 20);
        index.change(7, Some(&document(1)), Some(&document(2)), 2, 10);
        index.tick(5);
        assert_eq!(shown_ms(&index, 7), None);
        index.tick(10);
        assert_eq!(shown_ms(&index, 7), Some(-1));
        index.change(7, Some(&document(2)), Some(&document(3)), 11, 40);
        index.tick(20);
        assert_eq!(
            shown_ms(&index, 7),
            Some(2),
            "the first version lands late and is ignored"
        );
    }
}
