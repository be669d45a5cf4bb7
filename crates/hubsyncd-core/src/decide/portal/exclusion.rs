//! Which associations of one record exclude each other: HubSpot's primary types, and types that the portal limits to one record.
//!
//! Of a primary HubSpot makes room by itself: a new one demotes the old one. Under a limit it refuses, so that the other one has
//! to be taken away first (`hubspot/api-facts.md#8`, `maxToObjectIds`).
//!
//! The record stands at either end of a pair, as it is mapped: a contact names its primary company, and rows may lead from companies
//! to contacts. What excludes is told for one end; what is decided is the same for both.

use std::collections::BTreeSet;

use crate::decide::portal::link_types::{KnownType, turned_in};
use crate::model::association::{ExclusiveEnd, TypeId};
use crate::model::id::LocalId;

/// Why an association excludes others of its record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Excludes {
    /// It names the record's primary: its pair keeps the plain type without it, and HubSpot makes room for it.
    Primary,
    /// Its type is limited to one record: its pair keeps the plain type without it.
    Limited,
    /// The pair's plain type is limited to one record, and each other type brings that: without it nothing is left of its pair.
    Pair,
}

/// What of a pair's types excludes what, for the records at one end of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Exclusion {
    end: ExclusiveEnd,
    limited: BTreeSet<TypeId>,
    of_pair: bool,
}

impl Exclusion {
    /// That of the records where a pair's rows start, or where they lead. `types` are those of the pair.
    pub fn of(types: &[KnownType], end: ExclusiveEnd) -> Self {
        let now = || types.iter().filter(|known| !known.archived);
        let is_one = |known: &&KnownType| known.most_at(end) == Some(1);
        let mut plain = now().filter(|known| known.label.is_none());
        let only = plain.next().filter(|_| plain.next().is_none());
        Self {
            end,
            limited: now().filter(is_one).map(|known| known.id.clone()).collect(),
            of_pair: only.is_some_and(|known| is_one(&known)),
        }
    }

    /// Why an association of a type excludes others; `None` where it doesn't. Without a type it is of one that nobody knows yet.
    pub fn why(&self, kind: Option<&TypeId>) -> Option<Excludes> {
        match kind {
            _ if self.of_pair => Some(Excludes::Pair),
            Some(kind) if kind.exclusive_end() == Some(self.end) => Some(Excludes::Primary),
            Some(kind) if self.limited.contains(kind) => Some(Excludes::Limited),
            Some(_) | None => None,
        }
    }

    /// Whether anything is limited to one record, beside HubSpot's primaries.
    pub fn limits_any(&self) -> bool {
        self.of_pair || !self.limited.is_empty()
    }

    /// Whether a record can't have associations of these two types with two other records.
    pub fn parts(&self, one: Option<&TypeId>, other: Option<&TypeId>) -> bool {
        match self.why(one) {
            Some(Excludes::Pair) => true,
            Some(Excludes::Primary | Excludes::Limited) => one == other,
            None => false,
        }
    }
}

/// An association as the record at one of its ends sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeenLink<'a> {
    /// Where that record stands. In a pair of one object each stands where its rows start.
    pub end: ExclusiveEnd,
    /// That record's row.
    pub own: LocalId,
    /// The other one's.
    pub other: LocalId,
    /// The type as it is seen from there; `None` where nobody knows it yet.
    pub kind: Option<&'a TypeId>,
}

/// What of a pair's types excludes what, for the records at both of its ends.
#[derive(Debug, Clone)]
pub struct PairExclusion<'a> {
    types: &'a [KnownType],
    is_of_one_object: bool,
    from: Exclusion,
    to: Exclusion,
}

impl<'a> PairExclusion<'a> {
    /// By the types of a pair.
    pub fn of(types: &'a [KnownType], is_of_one_object: bool) -> Self {
        Self {
            types,
            is_of_one_object,
            from: Exclusion::of(types, ExclusiveEnd::From),
            to: Exclusion::of(types, ExclusiveEnd::To),
        }
    }

    /// For the records at one end.
    pub fn at(&self, end: ExclusiveEnd) -> &Exclusion {
        match end {
            ExclusiveEnd::From => &self.from,
            ExclusiveEnd::To => &self.to,
        }
    }

    /// An association from one row to another, as each of them sees it.
    pub fn seen(
        &self,
        (from, to): (LocalId, LocalId),
        kind: Option<&'a TypeId>,
    ) -> [SeenLink<'a>; 2] {
        let seen = |end, own, other, kind| SeenLink {
            end,
            own,
            other,
            kind,
        };
        let back = match self.is_of_one_object {
            true => seen(ExclusiveEnd::From, to, from, turned_in(self.types, kind)),
            false => seen(ExclusiveEnd::To, to, from, kind),
        };
        [seen(ExclusiveEnd::From, from, to, kind), back]
    }

    /// Whether some record can't have both of two associations.
    pub fn parts(&self, one: &[SeenLink<'_>; 2], other: &[SeenLink<'_>; 2]) -> bool {
        one.iter().any(|seen| {
            other.iter().any(|beside| {
                seen.end == beside.end
                    && seen.own == beside.own
                    && seen.other != beside.other
                    && self.at(seen.end).parts(seen.kind, beside.kind)
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::association::Category;

    fn known(id: TypeId, label: Option<&str>, most: Option<u32>) -> KnownType {
        KnownType {
            id,
            label: label.map(str::to_owned),
            inverse: None,
            archived: false,
            most,
            most_back: None,
        }
    }

    fn boss() -> TypeId {
        TypeId {
            category: Category::UserDefined,
            number: 36,
        }
    }

    #[test]
    fn a_primary_excludes_the_other_a_limit_of_one_what_it_limits_and_that_of_the_plain_type_all() {
        let (plain, primary) = (TypeId::of_hubspot(279), TypeId::of_hubspot(1));
        let of = |plain_most, boss_most| {
            let types = [
                known(plain.clone(), None, plain_most),
                known(primary.clone(), Some("Primary"), None),
                known(boss(), Some("Boss"), boss_most),
            ];
            Exclusion::of(&types, ExclusiveEnd::From)
        };
        let why = |exclusion: &Exclusion| {
            [&plain, &primary, &boss()].map(|kind| exclusion.why(Some(kind)))
        };
        let first = Some(Excludes::Primary);
        assert_eq!(why(&of(None, None)), [None, first, None]);
        assert_eq!(why(&of(Some(2), Some(3))), [None, first, None]);
        let limited = of(None, Some(1));
        assert_eq!(why(&limited), [None, first, Some(Excludes::Limited)]);
        assert!(limited.parts(Some(&boss()), Some(&boss())));
        assert!(!limited.parts(Some(&boss()), Some(&plain)));
        assert_eq!(limited.why(None), None);
        let whole = of(Some(1), None);
        assert_eq!(why(&whole), [Some(Excludes::Pair); 3]);
        assert!(whole.parts(Some(&boss()), Some(&plain)) && whole.parts(None, Some(&plain)));
    }

    #[test]
    fn of_several_plain_types_a_limit_holds_for_its_own_and_an_archived_one_limits_nothing() {
        let (plain, other) = (TypeId::of_hubspot(279), TypeId::of_hubspot(300));
        let mut types = [
            known(plain.clone(), None, Some(1)),
            known(other.clone(), None, None),
        ];
        let two = Exclusion::of(&types, ExclusiveEnd::From);
        assert_eq!(two.why(Some(&plain)), Some(Excludes::Limited));
        assert_eq!(two.why(Some(&other)), None);
        types[0].archived = true;
        assert_eq!(
            Exclusion::of(&types, ExclusiveEnd::From),
            Exclusion::default()
        );
    }

    #[test]
    fn a_primary_excludes_others_at_the_end_of_the_contact_alone() {
        for (number, expected) in [(1, [true, false]), (2, [false, true]), (279, [false; 2])] {
            let kind = TypeId::of_hubspot(number);
            let ends = [ExclusiveEnd::From, ExclusiveEnd::To];
            let why = ends.map(|end| Exclusion::of(&[], end).why(Some(&kind)).is_some());
            assert_eq!(why, expected, "{number}");
        }
    }

    #[test]
    fn a_limit_of_one_excludes_at_the_end_whose_records_it_limits() {
        let back = |most_back| KnownType {
            most_back,
            ..known(boss(), Some("Boss"), None)
        };
        for (most_back, expected) in [
            (Some(1), [None, Some(Excludes::Limited)]),
            (Some(2), [None; 2]),
        ] {
            let types = [back(most_back)];
            let ends = [ExclusiveEnd::From, ExclusiveEnd::To];
            let why = ends.map(|end| Exclusion::of(&types, end).why(Some(&boss())));
            assert_eq!(why, expected);
        }
    }

    #[test]
    fn two_associations_part_at_the_end_that_they_share_and_in_a_pair_of_one_object_at_any() {
        let primary = TypeId::of_hubspot(1);
        let (parent, child) = (TypeId::of_hubspot(13), TypeId::of_hubspot(14));
        let parts = |types: &[KnownType], is_one, one: (i64, i64), other: (i64, i64)| {
            let pair = PairExclusion::of(types, is_one);
            let seen = |(from, to)| pair.seen((LocalId(from), LocalId(to)), Some(&types[0].id));
            pair.parts(&seen(one), &seen(other))
        };
        let types = [known(primary, Some("Primary"), None)];
        assert!(parts(&types, false, (1, 2), (1, 3)));
        assert!(!parts(&types, false, (1, 2), (1, 2)));
        assert!(!parts(&types, false, (1, 2), (3, 2)));
        // A row is 1 at either end, and each is another object's.
        assert!(!parts(&types, false, (1, 2), (2, 1)));
        // A child has one parent.
        let with = |id: &TypeId, inverse, most| KnownType {
            inverse: Some(inverse),
            ..known(id.clone(), Some("Of the family"), most)
        };
        let types = [with(&parent, 14, None), with(&child, 13, Some(1))];
        assert!(parts(&types, true, (1, 3), (2, 3)));
        assert!(!parts(&types, true, (1, 2), (1, 3)));
    }
}
