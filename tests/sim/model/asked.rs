//! What else is asked of a field's model, and what else is told to it: decisions of people, and fields that are only filled.

use super::{Doubt, FieldModel, Place, Text, Told};

/// A clock that steps by more than that makes a lost request one that can land no more.
const FORGOTTEN_MS: i64 = 60_000;

impl FieldModel {
    /// The same of a field that is written only where HubSpot has nothing, if it is.
    pub(crate) fn filling_only(self, only_fills: bool) -> Self {
        Self { only_fills, ..self }
    }

    /// A person has decided for what stands on a side, over all that either holds.
    pub(crate) fn decided(&mut self, place: Place, at_ms: i64) {
        let value = self.sides[place as usize].value.clone();
        let both = self.sides[0].knows | self.sides[1].knows;
        self.written(place, at_ms, value);
        if let Some(told) = self.told.last_mut() {
            (told.over, told.takes_back, told.is_doubtful) = (both, false, false);
        }
        self.sides[place as usize].knows |= both;
        self.begins_at_what_is_there();
    }

    /// Whether a person has decided for a side.
    pub(crate) fn was_asked(&self) -> bool {
        self.was_asked
    }

    /// A person has decided for a value of his own, which goes to both sides.
    pub(crate) fn decided_for(&mut self, value: &str, at_ms: i64) {
        let both = self.sides[0].knows | self.sides[1].knows;
        self.written(Place::Local, at_ms, Some(value.to_owned()));
        if let Some(told) = self.told.last_mut() {
            (told.over, told.takes_back, told.is_doubtful) = (both, false, false);
        }
        self.sides[0].knows |= both;
        self.begins_at_what_is_there();
    }

    /// What HubSpot shows when a conflict is decided is what it is compared with from then on, as far as the daemon has read it: what
    /// both sides agreed on before is a word like any other, or none.
    fn begins_at_what_is_there(&mut self) {
        let there = &mut self.sides[1];
        let value = Some(there.value.clone());
        self.agreed.extend(value.clone());
        self.was_asked = true;
        if there.base != value {
            there.former = std::mem::replace(&mut there.base, value);
        }
    }

    /// Whether what stands on a side was brought there by the daemon.
    pub(crate) fn was_brought(&self, place: Place) -> bool {
        let stands = self.sides[place as usize].stands;
        stands > 0 && self.told[stands].place != place
    }

    /// Whether a person's last write was made over the program's, which HubSpot had by then: its history tells the two apart and in
    /// their order, also where no answer told that the program's had come. What a clock takes for long ago is not waited for.
    pub(super) fn went_over_ours(&self, doubt: Doubt) -> bool {
        let (Some(here), Some(there)) = (self.last(Place::Local), self.last(Place::Remote)) else {
            return false;
        };
        let was_there = here.value.iter().any(|own| self.sent.contains(own));
        let is_later = there.over & here.bit != 0 && !there.fell_into_a_gap;
        was_there && is_later && !self.coincided && doubt.clock_ms < FORGOTTEN_MS
    }

    /// Whether HubSpot has ever held that.
    pub(crate) fn was_there(&self, value: &str) -> bool {
        self.sent.contains(value)
    }

    /// What may stand of a field that is written only where HubSpot has nothing: its last value of HubSpot's own; and where it
    /// had none, what has filled it once, whatever a program wrote after that.
    pub(super) fn filled<'a>(
        &'a self,
        l: Option<&'a Told>,
        r: Option<&'a Told>,
    ) -> impl Iterator<Item = &'a Told> {
        let mut theirs = self.told.iter().filter(|told| told.place == Place::Remote);
        let was_empty = theirs.any(|told| told.value.is_none());
        let is_ours = |told: &&Told| told.value.iter().any(|own| self.sent.contains(own));
        let filling = self.told.iter().filter(is_ours).chain(l);
        let stands = r.unwrap_or(&self.told[0]);
        [stands]
            .into_iter()
            .chain(filling.filter(move |_| was_empty))
    }

    /// Whether somebody wrote again what stood there first: what that makes of the record's existence is not told.
    pub(crate) fn was_taken_back(&self) -> bool {
        self.told[1..]
            .iter()
            .any(|told| told.value == self.told[0].value)
    }

    /// Whether a push went over a value that it could not know.
    pub(crate) fn has_a_gap(&self) -> bool {
        self.told.iter().any(|told| told.fell_into_a_gap)
    }

    /// Whether that was written on a side that has had its word.
    pub(crate) fn was_said(&self, place: Place, value: &Text) -> bool {
        let mut same = self.told.iter().filter(|told| told.value == *value);
        self.last(place).is_some() && same.any(|told| told.place == place || told.bit == 1)
    }
}
