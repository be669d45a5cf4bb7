//! Which batch of an object it is, how many go at once, and how many associations in one.

use std::collections::BTreeMap;
use std::time::Duration;

use parking_lot::Mutex;

use crate::decide::outgoing::associate::fewer_at_once;
use crate::decide::outgoing::plan::batches_at_once;
use crate::hubspot::endpoints::associations::MOST_WRITTEN;
use crate::model::name::ObjectType;

/// Counts the batches of each object (`decide/outgoing/plan`).
#[derive(Debug, Default)]
pub(crate) struct Turns(Mutex<BTreeMap<ObjectType, u64>>);

impl Turns {
    /// The number of an object's next batch, from 0. Another object's batches don't count: two objects that take turns would
    /// else leave the one with the even numbers alone, and the other with the odd ones.
    pub(super) fn next(&self, object: &ObjectType) -> u64 {
        let mut turns = self.0.lock();
        let next = turns.entry(object.clone()).or_default();
        let turn = *next;
        *next += 1;
        turn
    }
}

/// What each object's last full step has shown (`decide/outgoing/plan`).
#[derive(Debug, Default)]
pub(crate) struct BatchesAtOnce(Mutex<BTreeMap<ObjectType, usize>>);

impl BatchesAtOnce {
    /// The batches of an object's next step: one at first.
    pub(super) fn of(&self, object: &ObjectType) -> usize {
        self.0.lock().get(object).copied().unwrap_or(1)
    }

    /// Learns how a step went that had as many entries as it could take.
    pub(super) fn learn(&self, object: &ObjectType, took: Duration, went_well: bool) {
        let next = batches_at_once(self.of(object), took, went_well);
        self.0.lock().insert(object.clone(), next);
    }
}

/// How many associations of each pair go in one request.
#[derive(Debug, Default)]
pub(crate) struct LinksAtOnce(Mutex<BTreeMap<ObjectType, usize>>);

impl LinksAtOnce {
    /// As many as HubSpot documents, until it has refused them.
    pub(super) fn of(&self, pair: &ObjectType) -> usize {
        self.0.lock().get(pair).copied().unwrap_or(MOST_WRITTEN)
    }

    /// Learns that HubSpot has refused so many at once, and taken each part of them.
    pub(super) fn learn(&self, pair: &ObjectType, refused: usize) {
        self.0.lock().insert(pair.clone(), fewer_at_once(refused));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_object_counts_its_own_batches() {
        let turns = Turns::default();
        let [contacts, deals] =
            ["contacts", "deals"].map(|name| ObjectType::parse(name).expect("a name"));
        let taken: Vec<u64> = [&contacts, &deals, &contacts, &deals]
            .map(|object| turns.next(object))
            .into();
        assert_eq!(taken, [0, 0, 1, 1]);
    }
}
