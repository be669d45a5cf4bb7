//! A record that no row has by its id: which row takes it, who waits, and who is refused.
//!
//! A page or a read shows it. The key of our own create comes first, then the values by which a row and a record are one:
//!
//! | a create with its key | a row with its values | what waits of the record | what is done |
//! |---|---|---|---|
//! | waits | any | any | it is what that create made |
//! | on its way | any | any | waits for the answer |
//! | none | one, nothing on its way | an archive | the row takes the deleted one's place |
//! | none | one, nothing on its way | nothing, or something else | the row takes it |
//! | none | one whose create is on its way | any | waits for the answer |
//! | none | one | something on its way | waits for the answer |
//! | none | one | an archive, and a later version was shown meanwhile | waits for a newer answer |
//! | none | none | anything | left to that: an archive looks at the record itself |
//! | none | none | nothing | no row means it |
//!
//! A create that HubSpot answered with "already exists" is settled by the same record:
//!
//! | the record | its row | what is done |
//! |---|---|---|
//! | is another row's | any | refused: two rows are one record |
//! | is not ours | gone | left alone: the row was deleted while its create was on its way |
//! | is not shown | there | looked for again, and refused after three attempts |
//! | waits for its archive, and a later version was shown meanwhile | there | looked for again |
//! | waits for its archive | there | the row takes the deleted one's place |
//! | is shown | there, or it is ours | the row takes it |

use std::collections::BTreeMap;
use std::time::Duration;

use crate::decide::acts::Act;
use crate::decide::matching::MatchRule;
use crate::decide::record::{CleanBase, OpenConflict};
use crate::model::entry::{Base, Entry, EntryState, Operation};
use crate::model::mapping::ObjectMapping;
use crate::model::name::PropertyName;
use crate::model::origin::Origin;
use crate::model::record::RemoteRecord;
use crate::model::row::MirrorRow;

/// A create that met a taken value is looked for by its match property this often before it is dead.
pub(crate) const LOOKS_FOR_MATCH: u32 = 3;

/// A row that has a record's values and no record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Matched {
    /// Where its create stands; `None` without one.
    pub create: Option<EntryState>,
}

/// Who may mean a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claims {
    /// The entry that has the record's key.
    pub by_key: Option<EntryState>,
    /// The row that has its values.
    pub by_match: Option<Matched>,
    /// What waits of the record itself.
    pub pending: Option<(Operation, EntryState)>,
    /// Whether a later version of it was shown while that waited.
    pub is_outdated: bool,
}

/// What becomes of the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Adoption {
    /// It is what the create with its key made.
    Made,
    /// The row takes it.
    Take,
    /// The row takes it, and with it the place of the row whose archive waits.
    TakePlace,
    /// It is read again once the answer of an attempt is there, or a newer one.
    Wait,
    /// What waits of it looks at it.
    Leave,
    /// No row means it.
    Nobody,
}

/// Decides who takes a record.
pub fn adopt(claims: Claims) -> Adoption {
    let is_flying = |state| state == EntryState::InFlight;
    match (claims.by_key, claims.by_match, claims.pending) {
        (Some(state), _, _) if is_flying(state) => Adoption::Wait,
        (Some(_), _, _) => Adoption::Made,
        (None, Some(matched), _) if matched.create.is_some_and(is_flying) => Adoption::Wait,
        (None, Some(_), Some((_, state))) if is_flying(state) => Adoption::Wait,
        (None, Some(_), Some(_)) if claims.is_outdated => Adoption::Wait,
        (None, Some(_), Some((Operation::Archive, _))) => Adoption::TakePlace,
        (None, Some(_), _) => Adoption::Take,
        (None, None, Some(_)) => Adoption::Leave,
        (None, None, None) => Adoption::Nobody,
    }
}

/// The record that a create met, as a read shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Met {
    /// It is not shown.
    Unseen,
    /// It is somebody else's.
    Theirs,
    /// It has the create's own key.
    Ours,
}

/// The archive of a record whose row was deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FormerArchive {
    /// None waits.
    Nothing,
    /// It waits.
    Waits,
    /// It waits, and a later version of the record was shown meanwhile.
    WaitsOutdated,
}

/// A create that was answered with "already exists".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Existing {
    /// The record.
    pub met: Met,
    /// Whether another row has it.
    pub is_held: bool,
    /// Whether the create's row is there.
    pub has_row: bool,
    /// Its archive, of another row that was deleted.
    pub archive: FormerArchive,
    /// Attempts of the create.
    pub attempts: u32,
}

/// What becomes of the create.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExistingOutcome {
    /// Two rows are one record.
    Refuse,
    /// The row is gone, and the record stays whose it is.
    LeaveAlone,
    /// It is looked for again.
    LookAgain,
    /// HubSpot does not show what it says is there: a person looks.
    GiveUp,
    /// The row takes the record.
    Take,
    /// The row takes the record, and with it the place of the row whose archive waits.
    TakePlace,
}

/// Settles a create whose record exists already.
pub fn settle_existing(existing: Existing) -> ExistingOutcome {
    match existing.met {
        _ if existing.is_held => ExistingOutcome::Refuse,
        Met::Unseen | Met::Theirs if !existing.has_row => ExistingOutcome::LeaveAlone,
        Met::Unseen if existing.attempts >= LOOKS_FOR_MATCH => ExistingOutcome::GiveUp,
        Met::Unseen => ExistingOutcome::LookAgain,
        Met::Theirs | Met::Ours => match existing.archive {
            FormerArchive::Nothing => ExistingOutcome::Take,
            FormerArchive::Waits => ExistingOutcome::TakePlace,
            FormerArchive::WaitsOutdated => ExistingOutcome::LookAgain,
        },
    }
}

/// How long after its creation a record shows no more than its create and HubSpot's own defaults.
const FRESH: Duration = Duration::from_secs(5);

/// Whether a record shows no more than its create and HubSpot's own defaults.
pub fn is_fresh(record: &RemoteRecord) -> bool {
    record.updated_at.since(record.created_at) < FRESH
}

/// The fields of a create whose row was deleted while it was in doubt: its archive is measured against what the create
/// carried.
pub fn based_on_carried(create: &Entry) -> Vec<Act> {
    let fields = create.fields.iter();
    fields
        .map(|field| Act::PutField {
            property: field.property.clone(),
            base: field.sent.clone().map_or(Base::Unknown, Base::Known),
            changed_at: field.changed_at,
        })
        .collect()
}

/// The fields that a create knows get their bases afresh, and keep the time at which they were written: what it carried is
/// in `clean_base`. A field that is left out of requests at the moment (`left_out`) waits on, its base unknown.
pub fn rebased(
    mapping: &ObjectMapping,
    create: &Entry,
    row: &MirrorRow,
    clean_base: CleanBase<'_>,
    left_out: &[PropertyName],
) -> Vec<Act> {
    let mut acts = Vec::new();
    for field in &create.fields {
        let property = &field.property;
        if mapping.field(property).is_some() {
            acts.push(Act::PutField {
                property: property.clone(),
                base: clean_base.of(property, row.value(property)),
                changed_at: field.changed_at,
            });
        } else if !left_out.contains(property) {
            acts.push(Act::DropField(property.clone()));
        }
    }
    acts
}

/// Values by which the row and its record are one and that only differ in their spelling are no conflict: HubSpot keeps
/// them in its own. `held`: the row's open conflicts.
pub fn spelled(
    mapping: &ObjectMapping,
    row: &MirrorRow,
    record: &RemoteRecord,
    held: &BTreeMap<PropertyName, OpenConflict>,
    origin: Origin,
) -> Vec<Act> {
    let mut acts = Vec::new();
    let identities = mapping.identities();
    for field in
        identities.filter(|field| field.direction.pulls() && !held.contains_key(&field.property))
    {
        let rule = MatchRule::of(&mapping.object, field);
        let local = row.value(&field.property);
        let Some(remote) = record.values.get(&field.property) else {
            continue;
        };
        let is_one = rule.form(remote).is_some() && rule.form(local) == rule.form(remote);
        if local == remote || !is_one {
            continue;
        }
        acts.push(Act::History {
            property: field.property.clone(),
            old: local.clone(),
            new: remote.clone(),
            origin,
        });
        acts.push(Act::Set {
            property: field.property.clone(),
            value: remote.clone(),
        });
    }
    acts
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATES: [EntryState; 3] = [EntryState::Pending, EntryState::InFlight, EntryState::Dead];

    const OPERATIONS: [Operation; 3] = [Operation::Create, Operation::Update, Operation::Archive];

    fn maybe<T: Copy>(all: &[T]) -> Vec<Option<T>> {
        let some = all.iter().copied().map(Some);
        some.chain([None]).collect()
    }

    /// Everything that may mean a record.
    fn all_claims() -> Vec<Claims> {
        let mut all = Vec::new();
        for by_key in maybe(&STATES) {
            for create in maybe(&STATES) {
                for by_match in [None, Some(Matched { create })] {
                    for operation in OPERATIONS {
                        for state in maybe(&STATES) {
                            all.push(Claims {
                                by_key,
                                by_match,
                                pending: state.map(|state| (operation, state)),
                                is_outdated: false,
                            });
                        }
                    }
                }
            }
        }
        all
    }

    #[test]
    fn the_key_of_our_own_create_comes_first() {
        for claims in all_claims() {
            let expected = match claims.by_key {
                Some(EntryState::InFlight) => Adoption::Wait,
                Some(EntryState::Pending | EntryState::Dead) => Adoption::Made,
                None => continue,
            };
            assert_eq!(adopt(claims), expected, "{claims:?}");
        }
    }

    #[test]
    fn a_row_with_the_records_values_takes_it_once_nothing_is_on_its_way() {
        let check = |create, pending, expected| {
            let claims = Claims {
                by_key: None,
                by_match: Some(Matched { create }),
                pending,
                is_outdated: false,
            };
            assert_eq!(adopt(claims), expected, "{claims:?}");
        };
        let (waits, flies) = (EntryState::Pending, EntryState::InFlight);
        for create in [None, Some(waits), Some(EntryState::Dead)] {
            check(create, None, Adoption::Take);
            check(create, Some((Operation::Update, waits)), Adoption::Take);
            check(
                create,
                Some((Operation::Archive, waits)),
                Adoption::TakePlace,
            );
            for operation in OPERATIONS {
                check(create, Some((operation, flies)), Adoption::Wait);
            }
        }
        for pending in [None, Some((Operation::Archive, waits))] {
            check(Some(flies), pending, Adoption::Wait);
        }
        let outdated = Claims {
            by_key: None,
            by_match: Some(Matched {
                create: Some(waits),
            }),
            pending: Some((Operation::Archive, waits)),
            is_outdated: true,
        };
        assert_eq!(adopt(outdated), Adoption::Wait);
    }

    #[test]
    fn what_no_row_means_is_new_unless_something_waits_of_it() {
        let claims = |pending| Claims {
            by_key: None,
            by_match: None,
            pending,
            is_outdated: false,
        };
        assert_eq!(adopt(claims(None)), Adoption::Nobody);
        for operation in OPERATIONS {
            for state in STATES {
                let pending = Some((operation, state));
                assert_eq!(adopt(claims(pending)), Adoption::Leave);
            }
        }
    }

    #[test]
    fn nothing_is_linked_past_an_answer_that_is_still_to_come() {
        for claims in all_claims() {
            let create = claims.by_match.and_then(|matched| matched.create);
            let pending = claims.pending.map(|(_, state)| state);
            let is_flying = match claims.by_key {
                Some(state) => state == EntryState::InFlight,
                None => [create, pending].contains(&Some(EntryState::InFlight)),
            };
            let links = matches!(
                adopt(claims),
                Adoption::Made | Adoption::Take | Adoption::TakePlace
            );
            assert!(!(links && is_flying), "{claims:?}");
        }
    }

    #[test]
    fn a_create_whose_record_exists_takes_it_waits_or_is_refused() {
        let plain = Existing {
            met: Met::Theirs,
            is_held: false,
            has_row: true,
            archive: FormerArchive::Nothing,
            attempts: 1,
        };
        let check = |existing, expected| {
            assert_eq!(settle_existing(existing), expected, "{existing:?}");
        };
        for met in [Met::Unseen, Met::Theirs, Met::Ours] {
            for has_row in [false, true] {
                let held = Existing {
                    met,
                    has_row,
                    is_held: true,
                    ..plain
                };
                check(held, ExistingOutcome::Refuse);
            }
        }
        let of = |met, has_row| Existing {
            met,
            has_row,
            ..plain
        };
        check(of(Met::Theirs, true), ExistingOutcome::Take);
        check(of(Met::Ours, true), ExistingOutcome::Take);
        check(of(Met::Ours, false), ExistingOutcome::Take);
        check(of(Met::Theirs, false), ExistingOutcome::LeaveAlone);
        check(of(Met::Unseen, false), ExistingOutcome::LeaveAlone);
        check(of(Met::Unseen, true), ExistingOutcome::LookAgain);
        let tried = |attempts| Existing {
            attempts,
            ..of(Met::Unseen, true)
        };
        check(tried(LOOKS_FOR_MATCH - 1), ExistingOutcome::LookAgain);
        check(tried(LOOKS_FOR_MATCH), ExistingOutcome::GiveUp);
        let archive_waits = Existing {
            archive: FormerArchive::Waits,
            ..plain
        };
        check(archive_waits, ExistingOutcome::TakePlace);
        let outdated = Existing {
            archive: FormerArchive::WaitsOutdated,
            ..plain
        };
        check(outdated, ExistingOutcome::LookAgain);
    }

    #[test]
    fn what_a_create_carried_is_what_its_fields_agreed_on() {
        use crate::model::field_values::FieldValues;
        use crate::testing::{contacts, entry, property, row, value};

        let object = contacts();
        let fields = [
            ("city", "", Some("Rome")),
            ("gone", "", None),
            ("left", "", None),
        ];
        let create = entry(Operation::Create, &fields);
        let here = row(1, Some(101), &[("city", "Lima")]);
        let carried = FieldValues::from_iter([(property("city"), value("Rome"))]);
        let left_out = [property("left")];
        let base = CleanBase::Given(&carried);
        let acts = rebased(object.mapping(), &create, &here, base, &left_out);
        let put = Act::PutField {
            property: property("city"),
            base: Base::Known(value("Rome")),
            changed_at: create.fields[0].changed_at,
        };
        assert_eq!(acts, [put.clone(), Act::DropField(property("gone"))]);
        assert_eq!(based_on_carried(&create)[0], put);
    }

    #[test]
    fn a_row_takes_hubspots_spelling_of_the_value_by_which_both_are_one() {
        use crate::testing::{contacts, property, record, row, value};

        let object = contacts();
        let here = row(
            1,
            Some(101),
            &[("email", "Ann@Example.com"), ("city", "Rome")],
        );
        let shown = record(101, 9, &[("email", "ann@example.com"), ("city", "ROME")]);
        let acts = |held: &BTreeMap<PropertyName, OpenConflict>| {
            spelled(object.mapping(), &here, &shown, held, Origin::Poll)
        };
        let taken = Act::Set {
            property: property("email"),
            value: value("ann@example.com"),
        };
        assert_eq!(acts(&BTreeMap::new())[1..], [taken]);
        let conflict = OpenConflict {
            id: crate::model::id::ConflictId(1),
            base: Base::Unknown,
            remote: value("x"),
        };
        assert_eq!(acts(&BTreeMap::from([(property("email"), conflict)])), []);
    }
}
