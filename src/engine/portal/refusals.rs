//! Which refusals were met since the schema was last read, and what is written down of them.

use std::collections::BTreeMap;

use parking_lot::{Mutex, MutexGuard};

use crate::decide::portal::scopes::Access;
use crate::model::name::ObjectType;

/// Which refusals were met since the schema was last read, and what is written down of them.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    inner: Mutex<KnownRefusals>,
}

#[derive(Debug, Default)]
struct KnownRefusals {
    /// Counts the reads of the schema.
    look: u64,
    /// By the object, or by a pair's associations (`of_links`).
    met_at: BTreeMap<(String, Access), u64>,
    written: BTreeMap<ObjectType, Vec<String>>,
    /// Objects that were kept back by the last read of the schema.
    kept_back: Vec<String>,
    /// Objects that the portal has not, each with a sentence.
    unknown: BTreeMap<ObjectType, String>,
    /// Whether a pair waits for its types, which the last read of the schema did not bring.
    pair_waits: bool,
}

/// What the log is told of an object's refusals.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum News {
    /// It is refused something, or something else than before.
    Forbidden,
    /// Nothing any more.
    Over,
}

impl KnownRefusals {
    /// Remembers what was written down of an object. Several steps of it end at the same time: what one of them told is no
    /// news of another's.
    fn written(&mut self, object: &ObjectType, sentences: &[String]) -> Option<News> {
        let before = self.written.insert(object.clone(), sentences.to_vec());
        match (before.unwrap_or_default(), sentences) {
            (before, now) if before == now => None,
            (_, []) => Some(News::Over),
            (_, [_, ..]) => Some(News::Forbidden),
        }
    }
}

impl Refusals {
    fn known(&self) -> MutexGuard<'_, KnownRefusals> {
        self.inner.lock()
    }

    /// Which look at the schema the last was.
    pub(super) fn look(&self) -> u64 {
        self.known().look
    }

    /// What a step that began after a look was refused.
    pub(super) fn meet(&self, name: &str, refused: impl Iterator<Item = Access>, look: u64) {
        let met = refused.map(|access| ((name.to_owned(), access), look));
        self.known().met_at.extend(met);
    }

    /// Whether a refusal was met that nobody has asked about again yet.
    pub(super) fn is_met(&self, name: &str, access: Access) -> bool {
        let known = self.known();
        known.met_at.get(&(name.to_owned(), access)) == Some(&known.look)
    }

    /// Whether these sentences are what is written down of an object.
    pub(super) fn is_written(&self, object: &ObjectType, sentences: &[String]) -> bool {
        let known = self.known();
        let written = known.written.get(object);
        written.is_some_and(|written| written == sentences)
    }

    /// Remembers what was written down of an object, and says what of it is news.
    pub(super) fn write(&self, object: &ObjectType, sentences: &[String]) -> Option<News> {
        self.known().written(object, sentences)
    }

    /// From here on everything is asked again once.
    pub(crate) fn look_again(&self) {
        self.known().look += 1;
    }

    /// Whether other objects are kept back than after the last read of the schema, or for another reason.
    pub(crate) fn is_news(&self, kept_back: Vec<String>) -> bool {
        let mut known = self.known();
        let is_news = known.kept_back != kept_back;
        known.kept_back = kept_back;
        is_news
    }

    /// Says which objects the portal has not: their steps rest until it has them.
    pub(crate) fn set_unknown(&self, unknown: BTreeMap<ObjectType, String>) {
        self.known().unknown = unknown;
    }

    /// The sentence about an object that the portal has not.
    pub(super) fn unknown(&self, object: &ObjectType) -> Option<String> {
        self.known().unknown.get(object).cloned()
    }

    /// The sentences about all of those.
    pub(super) fn all_unknown(&self) -> Vec<String> {
        self.known().unknown.values().cloned().collect()
    }

    /// Says whether a pair waits for its types.
    pub(crate) fn set_pair_waits(&self, waits: bool) {
        self.known().pair_waits = waits;
    }

    /// Whether an object, or a pair, was kept back.
    pub(crate) fn has_kept_back(&self) -> bool {
        let known = self.known();
        known.pair_waits || !known.kept_back.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_told_once_and_its_end_only_after_one() {
        let mut known = KnownRefusals::default();
        let contacts = ObjectType::parse("contacts").expect("a name");
        let refused = ["the token may not read contacts".to_owned()];
        // Two steps that end at the same time, with nothing wrong before.
        assert_eq!(known.written(&contacts, &[]), None);
        assert_eq!(known.written(&contacts, &[]), None);
        assert_eq!(known.written(&contacts, &refused), Some(News::Forbidden));
        assert_eq!(known.written(&contacts, &refused), None);
        assert_eq!(known.written(&contacts, &[]), Some(News::Over));
        assert_eq!(known.written(&contacts, &[]), None);
    }
}
