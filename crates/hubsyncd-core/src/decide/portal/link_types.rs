//! The types of a pair of objects: what HubSpot shows against what was known.

use crate::model::association::{AssociationType, Category, ExclusiveEnd, PairMapping, TypeId};

/// A type of a pair as the file knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownType {
    /// What tells it apart.
    pub id: TypeId,
    /// What people see; `None` for the plain type.
    pub label: Option<String>,
    /// The type that the other direction has with it; `None` where nobody knows.
    pub inverse: Option<i64>,
    /// Whether HubSpot no longer has it.
    pub archived: bool,
    /// With how many records one that it starts from may have it, where the portal's people limit that.
    pub most: Option<u32>,
    /// With how many one that it leads to may.
    pub most_back: Option<u32>,
}

impl KnownType {
    /// With how many records one at an end may have it.
    pub(crate) fn most_at(&self, end: ExclusiveEnd) -> Option<u32> {
        match end {
            ExclusiveEnd::From => self.most,
            ExclusiveEnd::To => self.most_back,
        }
    }

    /// The type that the other direction has with it, where somebody knows it.
    pub fn turned(&self) -> Option<TypeId> {
        Some(TypeId {
            category: self.id.category.clone(),
            number: self.inverse?,
        })
    }
}

/// What is to be written of a pair's types.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TypeChanges {
    /// The types that are new, or other than they were known.
    pub save: Vec<KnownType>,
    /// Whether one that was there is gone: so are its associations.
    pub went: bool,
}

/// Compares what HubSpot shows of a pair's types with what is known. `back` is what it shows of the other direction; of a pair
/// of one object that is the same.
pub fn compare(
    pair: &PairMapping,
    known: &[KnownType],
    shown: &[AssociationType],
    back: &[AssociationType],
) -> TypeChanges {
    let mut changes = TypeChanges::default();
    for kind in shown {
        let mut wanted = KnownType {
            id: kind.id.clone(),
            label: kind.label.clone(),
            inverse: inverse(pair, kind, shown, back),
            archived: false,
            most: kind.most,
            most_back: None,
        };
        let turned = wanted.turned();
        let turned = back.iter().find(|back| Some(&back.id) == turned.as_ref());
        wanted.most_back = turned.and_then(|back| back.most);
        if !known.contains(&wanted) {
            changes.save.push(wanted);
        }
    }
    let is_shown = |id: &TypeId| shown.iter().any(|kind| kind.id == *id);
    for gone in known {
        if !gone.archived && !is_shown(&gone.id) {
            changes.went = true;
            changes.save.push(KnownType {
                archived: true,
                ..gone.clone()
            });
        }
    }
    changes
}

/// The type of a pair that HubSpot shows, from the end to which the pair's rows lead, as one of the other direction; `None` where
/// nobody knows which of the pair's that is.
pub fn turned(types: &[KnownType], back: &TypeId) -> Option<TypeId> {
    let is_it = |known: &&KnownType| {
        known.id.category == back.category && known.inverse == Some(back.number)
    };
    let known = types.iter().find(is_it).map(|known| known.id.clone());
    known.or_else(|| back.turned_primary())
}

/// The type that the other direction has with one of a pair's, where somebody knows it.
pub fn turned_type(types: &[KnownType], kind: &TypeId) -> Option<TypeId> {
    types.iter().find(|known| known.id == *kind)?.turned()
}

/// The other direction's of a type of a pair of one object, which is a type of that pair as well.
pub(crate) fn turned_in<'a>(types: &'a [KnownType], kind: Option<&TypeId>) -> Option<&'a TypeId> {
    let known = types.iter().find(|known| Some(&known.id) == kind)?;
    let turned = known.turned();
    let mut others = types.iter().map(|known| &known.id);
    others.find(|id| Some(*id) == turned.as_ref())
}

/// HubSpot's own types of one object's records whose inverse is another number (`hubspot/api-facts.md#8`).
const PARENT_AND_CHILD: [(i64, i64); 2] = [(13, 14), (14, 13)];

/// The type of the other direction. HubSpot does not say it; it follows where only one can be meant: the plain type's is the
/// plain type, the primary's the primary, and a label's the one of the same text.
fn inverse(
    pair: &PairMapping,
    kind: &AssociationType,
    shown: &[AssociationType],
    back: &[AssociationType],
) -> Option<i64> {
    if kind.id.category == Category::HubspotDefined
        && let Some((_, other)) = PARENT_AND_CHILD
            .iter()
            .find(|(one, _)| *one == kind.id.number)
        && pair.is_of_one_object()
    {
        return Some(*other);
    }
    if pair.is_of_one_object() && kind.label.is_some() {
        // A label for both directions is one type, a pair of labels is two that follow each other.
        let follows = |other: &&AssociationType| {
            other.id.category == kind.id.category && (other.id.number - kind.id.number).abs() == 1
        };
        return match shown.iter().find(follows) {
            Some(_) => None,
            None => Some(kind.id.number),
        };
    }
    let same = |other: &&AssociationType| {
        other.id.category == kind.id.category && other.label == kind.label
    };
    let mut candidates = back.iter().filter(same);
    let found = candidates.next()?;
    candidates.next().is_none().then_some(found.id.number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::mapping::{Direction, Policy};
    use crate::model::name::{ObjectType, TableName};

    fn pair(from: &str, to: &str) -> PairMapping {
        PairMapping {
            key: TableName::parse("pair").expect("a name"),
            from: ObjectType::parse(from).expect("a name"),
            to: ObjectType::parse(to).expect("a name"),
            direction: Direction::Both,
            policy: Policy::Remote,
        }
    }

    fn kind(category: Category, number: i64, label: Option<&str>) -> AssociationType {
        AssociationType {
            id: TypeId { category, number },
            label: label.map(str::to_owned),
            most: None,
        }
    }

    fn own(number: i64, label: Option<&str>) -> AssociationType {
        kind(Category::HubspotDefined, number, label)
    }

    fn user(number: i64, label: &str) -> AssociationType {
        kind(Category::UserDefined, number, Some(label))
    }

    fn inverses(
        pair: &PairMapping,
        shown: &[AssociationType],
        back: &[AssociationType],
    ) -> Vec<Option<i64>> {
        let changes = compare(pair, &[], shown, back);
        changes
            .save
            .into_iter()
            .map(|known| known.inverse)
            .collect()
    }

    #[test]
    fn a_types_inverse_is_known_where_only_one_can_be_meant() {
        let there = [
            own(1, Some("Primary")),
            own(279, None),
            user(36, "Boss"),
            user(38, "Advises"),
        ];
        let back = [
            own(2, Some("Primary")),
            own(280, None),
            user(37, "Boss"),
            user(39, "Advised by"),
        ];
        let contacts = pair("contacts", "companies");
        assert_eq!(
            inverses(&contacts, &there, &back),
            [Some(2), Some(280), Some(37), None]
        );
        let one = [
            own(13, Some("Parent")),
            own(14, Some("Child")),
            own(450, None),
            user(5, "Twin"),
            user(8, "Sells to"),
            user(9, "Buys from"),
        ];
        let companies = pair("companies", "companies");
        assert_eq!(
            inverses(&companies, &one, &one),
            [Some(14), Some(13), Some(450), Some(5), None, None]
        );
    }

    #[test]
    fn a_limit_of_the_other_direction_is_told_of_its_type() {
        let contacts = pair("contacts", "companies");
        let limited = AssociationType {
            most: Some(1),
            ..own(280, None)
        };
        let [known] = &compare(&contacts, &[], &[own(279, None)], &[limited]).save[..] else {
            panic!("one type is new");
        };
        assert_eq!((known.most, known.most_back), (None, Some(1)));
        let ends = [ExclusiveEnd::From, ExclusiveEnd::To];
        assert_eq!(ends.map(|end| known.most_at(end)), [None, Some(1)]);
    }

    #[test]
    fn what_hubspot_no_longer_shows_is_archived_once_and_comes_back() {
        let contacts = pair("contacts", "companies");
        let (plain, boss) = (own(279, None), user(36, "Boss"));
        let known = compare(&contacts, &[], &[plain.clone(), boss.clone()], &[]).save;
        assert_eq!(
            compare(&contacts, &known, &[plain.clone(), boss.clone()], &[]),
            TypeChanges::default()
        );
        let gone = compare(&contacts, &known, std::slice::from_ref(&plain), &[]);
        assert!(gone.went);
        let [archived] = &gone.save[..] else {
            panic!("one went: {gone:?}");
        };
        assert!(archived.archived && archived.id == boss.id);
        let left = [known[0].clone(), archived.clone()];
        assert_eq!(
            compare(&contacts, &left, std::slice::from_ref(&plain), &[]),
            TypeChanges::default()
        );
        let back = compare(&contacts, &left, &[plain, user(36, "Chief")], &[]);
        assert_eq!((back.went, back.save.len()), (false, 1));
        assert_eq!(back.save[0].label.as_deref(), Some("Chief"));
    }
}
