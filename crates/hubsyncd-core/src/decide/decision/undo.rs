//! Which recorded changes can be turned back, and as what: rows of `sync_history` → one change a field, a record or an
//! association, and for each whether the mirror still holds what it brought.
//!
//! | chosen | now | |
//! |---|---|---|
//! | changes of a field | the last one's value, nothing waits | the first one's former value is written |
//! | a record that this daemon made | as it was made | its row is deleted |
//! | a record that HubSpot made | | left: deleting it would archive what a person made |
//! | a record that is gone | no row has its number | its row is inserted again |
//! | changes of a field that is written as `if_empty` or `append` | HubSpot would not take the former value | left |
//! | an association that was made, or taken away | still so, and both records are there | the other way round |
//! | an association that was made and taken away, whatever its type was called, from whichever of its ends, and also where one of its records was merged in between | | nothing |
//! | a record that is gone | another row, or one that comes back too, has its match value | left |
//! | a record that this daemon made | deletions archive nothing | left |
//! | a record that is gone | no row becomes a record, or another row is the record | left |
//! | anything of a row | the row says that its record is archived | left |
//! | anything | something waits, or a person decides | left |
//! | anything | changed again | left |

use std::collections::BTreeMap;

use crate::model::association::TypeId;
use crate::model::association::json::{ToldEnd, ToldLink};
use crate::model::entry::states;
use crate::model::mapping::WriteMode;
use crate::model::origin::Origin;
use crate::model::value::PropertyType;

/// A chosen row of `sync_history`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChosenRow {
    /// Its number.
    pub id: i64,
    /// The object, or the pair of an association.
    pub object: String,
    /// The row, of an association where it starts.
    pub local_id: i64,
    /// Its record.
    pub hs_id: Option<i64>,
    /// The property, `*` or `association`.
    pub property: String,
    /// What was.
    pub old: Option<String>,
    /// What came.
    pub new: Option<String>,
    /// Who did it.
    pub origin: Origin,
}

/// The chosen changes of one field, as one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldChange {
    /// The rows of `sync_history`.
    pub ids: Vec<i64>,
    /// The property.
    pub property: String,
    /// What the last of them brought.
    pub from: Option<String>,
    /// What was before the first.
    pub to: Option<String>,
}

/// What the chosen rows made of a record as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WholeChange {
    /// It was made.
    Made {
        /// The rows of `sync_history`.
        ids: Vec<i64>,
        /// The row as it was made, by column.
        row: String,
        /// Who made it.
        origin: Origin,
    },
    /// It went.
    Gone {
        /// The rows of `sync_history`.
        ids: Vec<i64>,
        /// The row as it was, by column; `None` where nobody knows.
        row: Option<String>,
    },
    /// It became a part of another one.
    Absorbed {
        /// The rows of `sync_history`.
        ids: Vec<i64>,
    },
    /// It came and went, or went and came.
    Undone,
}

/// What was chosen of one record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChosenRecord {
    /// The object.
    pub object: String,
    /// The row.
    pub local_id: i64,
    /// Its record, as the last of them names it.
    pub hs_id: Option<i64>,
    /// The record as a whole.
    pub whole: Option<WholeChange>,
    /// Its fields.
    pub fields: Vec<FieldChange>,
}

/// An association that was made or taken away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChosenLink {
    /// The rows of `sync_history`.
    pub ids: Vec<i64>,
    /// The pair.
    pub pair: String,
    /// The row where it starts.
    pub local_id: i64,
    /// The association as JSON.
    pub text: String,
    /// Whether it was made; else it was taken away.
    pub was_made: bool,
}

/// What was chosen, as single changes: those of a record together, in the order of their first rows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ChosenChanges {
    /// By record.
    pub records: Vec<ChosenRecord>,
    /// Associations, the last one first: what HubSpot implied came after what implied it.
    pub links: Vec<ChosenLink>,
}

impl ChosenChanges {
    /// Whether nothing is left to be turned back.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty() && self.links.is_empty()
    }
}

/// The other direction of an association: its pair and its type, where the file maps that one too and somebody knows the type.
pub type OtherDirection<'a> = dyn Fn(&str, &TypeId) -> Option<(String, TypeId)> + 'a;

/// The rows that the two ends of an association of a pair are now: of a record that became a part of another one, the row of that.
pub type SurvivingEnds<'a> = dyn Fn(&str, (i64, Option<i64>)) -> (i64, Option<i64>) + 'a;

/// What makes an association one, whatever its type is called, from whichever end it is told, and whichever of merged records it was of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct LinkIdentity {
    pair: String,
    local_id: i64,
    to: ToldEnd,
    kind: Option<TypeId>,
}

/// What the chosen rows say of one association.
struct ToldChange {
    link: ChosenLink,
    was_made_at_first: bool,
    /// Whether one of its rows went in a merge, and the survivor's row has it since.
    is_of_absorbed: bool,
}

/// The property of a record as a whole.
const WHOLE: &str = "*";

/// The property of an association.
const ASSOCIATION: &str = "association";

/// Sorts chosen rows, which come in the order of their numbers.
pub fn sorted(
    rows: Vec<ChosenRow>,
    turned: &OtherDirection<'_>,
    surviving: &SurvivingEnds<'_>,
) -> ChosenChanges {
    let mut chosen = ChosenChanges::default();
    let mut places: BTreeMap<(String, i64), usize> = BTreeMap::new();
    let mut links = ToldChanges::default();
    for row in rows {
        if row.property == ASSOCIATION {
            links.add(row, turned, surviving);
            continue;
        }
        let place = *places
            .entry((row.object.clone(), row.local_id))
            .or_insert_with(|| {
                chosen.records.push(ChosenRecord {
                    object: row.object.clone(),
                    local_id: row.local_id,
                    hs_id: None,
                    whole: None,
                    fields: Vec::new(),
                });
                chosen.records.len() - 1
            });
        let record = &mut chosen.records[place];
        record.hs_id = row.hs_id.or(record.hs_id);
        if row.property == WHOLE {
            record.whole = Some(joined(record.whole.take(), row));
        } else {
            record.add_field(row);
        }
    }
    chosen.links = links.left();
    chosen
}

/// What the chosen rows say of associations, in the order of the first row of each.
#[derive(Default)]
struct ToldChanges {
    changes: Vec<ToldChange>,
    places: BTreeMap<LinkIdentity, usize>,
}

impl ToldChanges {
    fn add(&mut self, row: ChosenRow, turned: &OtherDirection<'_>, surviving: &SurvivingEnds<'_>) {
        let was_made = row.new.is_some();
        let Some(text) = row.new.or(row.old) else {
            return;
        };
        let told = ToldLink::read(&text);
        let ends = match told.to {
            ToldEnd::Row(to) => (row.local_id, Some(to)),
            ToldEnd::Record(_) | ToldEnd::Unknown => (row.local_id, None),
        };
        let now = surviving(&row.object, ends);
        let is_of_absorbed = now != ends;
        let told = ToldLink {
            to: now.1.map_or(told.to, ToldEnd::Row),
            ..told
        };
        let identity = identity_of((&row.object, now.0), told, turned);
        let place = *self.places.entry(identity).or_insert(self.changes.len());
        match self.changes.get_mut(place) {
            Some(known) => {
                known.link.ids.push(row.id);
                known.link.was_made = was_made;
                let is_same_place =
                    known.link.pair == row.object && known.link.local_id == row.local_id;
                if known.is_of_absorbed && !is_of_absorbed {
                    // The survivor's row is the one that has it, or had it last.
                    known.link.pair = row.object;
                    known.link.local_id = row.local_id;
                    known.link.text = text;
                    known.is_of_absorbed = false;
                } else if was_made && is_same_place && known.is_of_absorbed == is_of_absorbed {
                    // What is there is called as it was called last.
                    known.link.text = text;
                }
            }
            None => self.changes.push(ToldChange {
                link: ChosenLink {
                    ids: vec![row.id],
                    pair: row.object,
                    local_id: row.local_id,
                    text,
                    was_made,
                },
                was_made_at_first: was_made,
                is_of_absorbed,
            }),
        }
    }

    /// The last one first. Of what was made and is taken away again, or the other way round, nothing is left.
    fn left(self) -> Vec<ChosenLink> {
        let changes = self.changes.into_iter().rev();
        let left = changes.filter(|change| change.link.was_made == change.was_made_at_first);
        left.map(|change| change.link).collect()
    }
}

/// What an association is known by: of its two directions, where both have rows, the first.
fn identity_of(
    (pair, local_id): (&str, i64),
    ToldLink { to, kind }: ToldLink,
    turned: &OtherDirection<'_>,
) -> LinkIdentity {
    let back = match (to, &kind) {
        (ToldEnd::Row(to), Some(kind)) => turned(pair, kind).map(|(pair, kind)| LinkIdentity {
            pair,
            local_id: to,
            to: ToldEnd::Row(local_id),
            kind: Some(kind),
        }),
        (ToldEnd::Row(_) | ToldEnd::Record(_) | ToldEnd::Unknown, _) => None,
    };
    let own = LinkIdentity {
        pair: pair.to_owned(),
        local_id,
        to,
        kind,
    };
    match back {
        Some(back) => own.min(back),
        None => own,
    }
}

impl ChosenRecord {
    fn add_field(&mut self, row: ChosenRow) {
        let known = self
            .fields
            .iter_mut()
            .find(|field| field.property == row.property);
        match known {
            Some(field) => {
                field.ids.push(row.id);
                field.from = row.new;
            }
            None => self.fields.push(FieldChange {
                ids: vec![row.id],
                property: row.property,
                from: row.new,
                to: row.old,
            }),
        }
    }
}

/// What a further row about the whole record makes of what is known of it.
fn joined(known: Option<WholeChange>, row: ChosenRow) -> WholeChange {
    let id = row.id;
    match (known, row.old, row.new) {
        (None, None, Some(made)) => WholeChange::Made {
            ids: vec![id],
            row: made,
            origin: row.origin,
        },
        (None, Some(_), Some(_)) => WholeChange::Absorbed { ids: vec![id] },
        (None | Some(WholeChange::Undone), old, None) => WholeChange::Gone {
            ids: vec![id],
            row: old,
        },
        (Some(WholeChange::Undone), _, Some(made)) => WholeChange::Made {
            ids: vec![id],
            row: made,
            origin: row.origin,
        },
        (Some(WholeChange::Absorbed { mut ids }), _, _) => {
            ids.push(id);
            WholeChange::Absorbed { ids }
        }
        (Some(WholeChange::Made { .. } | WholeChange::Gone { .. }), _, _) => WholeChange::Undone,
    }
}

states! {
    /// Why a change is left.
    LeftWhy {
        /// What it brought was changed again.
        ChangedSince = "changed-since",
        /// Something of it waits to be sent.
        Pending = "pending",
        /// A person decides about it.
        OpenConflict = "open-conflict",
        /// Its row, or one of an association's records, is gone.
        Gone = "gone",
        /// Its column is kept out of the history.
        HistoryOff = "history-off",
        /// HubSpot made the record.
        MadeInHubspot = "made-in-hubspot",
        /// The record became a part of another one.
        Merged = "merged",
        /// HubSpot alone writes the column, or it is not synced at the moment.
        ReadOnly = "read-only",
        /// What is written to the column goes out only where HubSpot has nothing, and HubSpot has something.
        IfEmpty = "if-empty",
        /// What is written to the column only adds options in HubSpot.
        Append = "append",
        /// Its row says that its record is archived in HubSpot, and takes no write.
        Archived = "record-archived",
        /// Deletions here archive nothing: the row would come back.
        ComesBack = "comes-back",
        /// No row becomes a record: the row would stay here alone.
        NoRecord = "no-record-to-link",
        /// Another row is the record by now.
        RecordIsBack = "record-of-another-row",
        /// Another row has the value by which its record is known.
        ValueTaken = "value-taken",
    }
}

impl LeftWhy {
    /// What is told of a change that was changed again to what was before it.
    pub const UNDONE: &'static str = "it is undone already: it is as it was before";

    /// What is told of it.
    pub fn message(self) -> &'static str {
        match self {
            Self::ChangedSince => "it was changed again since",
            Self::Pending => "something of it waits to be sent: push or discard that first",
            Self::OpenConflict => "it is in an open conflict: decide that first",
            Self::Gone => "its row is gone",
            Self::HistoryOff => {
                "`history = false` keeps its changes out of the history, so that nobody knows what was before"
            }
            Self::MadeInHubspot => "HubSpot made the record: archive it there, or DELETE its row",
            Self::Merged => {
                "the record was merged into another one, and HubSpot can't take that back"
            }
            Self::ReadOnly => "HubSpot alone writes it, or it is not synced at the moment",
            Self::IfEmpty => {
                "`write = \"if_empty\"` sends nothing while HubSpot has a value: change it in HubSpot"
            }
            Self::Append => {
                "`write = \"append\"` takes no option away in HubSpot: take it away there"
            }
            Self::Archived => {
                "its record is archived in HubSpot, and the row says so: restore the record there"
            }
            Self::ComesBack => {
                "deletions here archive nothing (`on_local_delete = \"restore\"`): archive the record in HubSpot"
            }
            Self::NoRecord => "no row becomes a record (`new_records`): make the record in HubSpot",
            Self::RecordIsBack => "its record was restored in HubSpot since, and another row is it",
            Self::ValueTaken => {
                "another row has its match value by now: change that row or DELETE it first"
            }
        }
    }
}

/// A field as it is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FieldNow<'a> {
    /// The column's type; `None` where nothing may be written to it.
    pub kind: Option<PropertyType>,
    /// What the mirror holds, canonical.
    pub value: Option<&'a str>,
    /// What keeps it from being touched: a change of it waits, a person decides, or its row's record is archived.
    pub waits: Option<LeftWhy>,
    /// Whether its changes are kept out of the history.
    pub is_unkept: bool,
    /// What a local write does in HubSpot.
    pub write: WriteMode,
}

/// What becomes of a field; `None`: it holds already what it held before.
pub fn judge_field(change: &FieldChange, now: FieldNow<'_>) -> Option<Result<(), LeftWhy>> {
    if now.is_unkept {
        return Some(Err(LeftWhy::HistoryOff));
    }
    let Some(kind) = now.kind else {
        return Some(Err(LeftWhy::ReadOnly));
    };
    if let Some(why) = now.waits {
        return Some(Err(why));
    }
    if !is_same(kind, now.value, change.from.as_deref()) {
        return Some(Err(LeftWhy::ChangedSince));
    }
    (!is_same(kind, change.from.as_deref(), change.to.as_deref()))
        .then(|| goes_out(kind, change, now.write))
}

/// Whether a local write of the former value reaches HubSpot, which holds what the change brought.
fn goes_out(kind: PropertyType, change: &FieldChange, write: WriteMode) -> Result<(), LeftWhy> {
    let (from, to) = (
        kind.canonical(change.from.as_deref()).unwrap_or_default(),
        kind.canonical(change.to.as_deref()).unwrap_or_default(),
    );
    match write {
        WriteMode::IfEmpty if !from.is_empty() => Err(LeftWhy::IfEmpty),
        WriteMode::Append
            if from
                .options()
                .any(|one| to.options().all(|other| other != one)) =>
        {
            Err(LeftWhy::Append)
        }
        WriteMode::Replace | WriteMode::IfEmpty | WriteMode::Append => Ok(()),
    }
}

/// Whether two texts are one value.
pub fn is_same(kind: PropertyType, one: Option<&str>, other: Option<&str>) -> bool {
    match (kind.canonical(one), kind.canonical(other)) {
        (Ok(one), Ok(other)) => kind.same(&one, &other),
        (Ok(_) | Err(_), _) => one == other,
    }
}

/// A row as it is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RowNow {
    /// Whether it is there.
    pub is_there: bool,
    /// Whether it says that its record is archived.
    pub is_archived: bool,
    /// What keeps it from being touched: something of it waits, or a person decides.
    pub waits: Option<LeftWhy>,
    /// Whether it holds what it held when its record was made, but for what is undone as well.
    pub is_as_made: bool,
}

/// Whether this daemon made a record.
pub fn is_own(origin: Origin) -> bool {
    matches!(origin, Origin::Push | Origin::Undo)
}

/// Whether a record that was made is taken away again.
pub fn judge_made(origin: Origin, now: RowNow) -> Result<(), LeftWhy> {
    if !now.is_there {
        return Err(LeftWhy::Gone);
    }
    if !is_own(origin) {
        return Err(LeftWhy::MadeInHubspot);
    }
    match (now.waits, now.is_as_made) {
        (Some(why), _) => Err(why),
        (None, true) => Ok(()),
        (None, false) => Err(LeftWhy::ChangedSince),
    }
}

/// Whether a record that is gone comes back.
pub fn judge_gone(is_known: bool, now: RowNow) -> Result<(), LeftWhy> {
    if now.is_archived {
        Err(LeftWhy::Archived)
    } else if now.is_there {
        Err(LeftWhy::ChangedSince)
    } else if let Some(why) = now.waits {
        Err(why)
    } else if !is_known {
        Err(LeftWhy::HistoryOff)
    } else {
        Ok(())
    }
}

/// An association as it is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkNow {
    /// Whether both of its records are there.
    pub has_ends: bool,
    /// Whether its row is.
    pub is_there: bool,
    /// Whether something of it waits.
    pub is_pending: bool,
}

/// Whether an association is turned round.
pub fn judge_link(was_made: bool, now: LinkNow) -> Result<(), LeftWhy> {
    if !now.has_ends {
        Err(LeftWhy::Gone)
    } else if now.is_pending {
        Err(LeftWhy::Pending)
    } else if now.is_there == was_made {
        Ok(())
    } else {
        Err(LeftWhy::ChangedSince)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(id: i64, property: &str, old: Option<&str>, new: Option<&str>) -> ChosenRow {
        ChosenRow {
            id,
            object: "contacts".to_owned(),
            local_id: 7,
            hs_id: Some(101),
            property: property.to_owned(),
            old: old.map(str::to_owned),
            new: new.map(str::to_owned),
            origin: Origin::Push,
        }
    }

    #[test]
    fn several_changes_of_a_field_are_one() {
        let rows = vec![
            row(1, "city", Some("Rome"), Some("Lima")),
            row(2, "phone", None, Some("1")),
            row(3, "city", Some("Lima"), None),
        ];
        let chosen = sorted(rows, &|_, _| None, &|_, ends| ends);
        let said: Vec<_> = chosen.records[0]
            .fields
            .iter()
            .map(|field| {
                (
                    field.ids.clone(),
                    field.to.as_deref(),
                    field.from.as_deref(),
                )
            })
            .collect();
        assert_eq!(
            said,
            [(vec![1, 3], Some("Rome"), None), (vec![2], None, Some("1"))]
        );
        assert_eq!(chosen.records.len(), 1);
    }

    #[test]
    fn what_came_and_went_is_nothing() {
        let made = || row(1, "*", None, Some("{}"));
        let gone = || row(2, "*", Some("{}"), None);
        let whole = |rows: Vec<ChosenRow>| {
            let mut chosen = sorted(rows, &|_, _| None, &|_, ends| ends);
            chosen.records.remove(0).whole
        };
        assert!(matches!(
            whole(vec![made()]),
            Some(WholeChange::Made { .. })
        ));
        assert!(matches!(
            whole(vec![gone()]),
            Some(WholeChange::Gone { .. })
        ));
        assert_eq!(whole(vec![made(), gone()]), Some(WholeChange::Undone));
        assert_eq!(whole(vec![gone(), made()]), Some(WholeChange::Undone));
        assert!(matches!(
            whole(vec![made(), gone(), made()]),
            Some(WholeChange::Made { .. })
        ));
        assert!(matches!(
            whole(vec![row(3, "*", Some("{}"), Some("9"))]),
            Some(WholeChange::Absorbed { .. })
        ));
    }

    /// Of the associations of contact 7 what is left of these changes: the other row and type of each, whether it was made, and the
    /// numbers of its lines.
    #[track_caller]
    fn check_links(changes: &[(bool, &str)], expected: &[(bool, &str, &[i64])]) {
        let rows = (1..).zip(changes).map(|(id, (is_made, text))| {
            let text = Some(*text);
            match is_made {
                true => row(id, "association", None, text),
                false => row(id, "association", text, None),
            }
        });
        // Type 1 is 2 from the other end, in a pair of its own; of type 9 nobody knows that.
        let turned = |pair: &str, kind: &TypeId| match (pair, kind.number) {
            ("contacts", 1) => Some(("companies".to_owned(), TypeId::of_hubspot(2))),
            ("companies", 2) => Some(("contacts".to_owned(), TypeId::of_hubspot(1))),
            _ => None,
        };
        let rows = rows.map(|row| match row.new.as_ref().or(row.old.as_ref()) {
            Some(text) if text.contains("\"from_local_id\":3") => ChosenRow {
                object: "companies".to_owned(),
                local_id: 3,
                ..row
            },
            Some(text) if text.contains("\"from_local_id\":6") => ChosenRow { local_id: 6, ..row },
            Some(_) | None => row,
        });
        // Contact 6 has become a part of contact 7, and company 30 of company 3.
        let survivor = |row| match row {
            6 => 7,
            30 => 3,
            other => other,
        };
        let surviving =
            |_: &str, (from, to): (i64, Option<i64>)| (survivor(from), to.map(survivor));
        let left = sorted(rows.collect(), &turned, &surviving).links;
        let said: Vec<_> = left
            .iter()
            .map(|link| (link.was_made, link.text.as_str(), link.ids.as_slice()))
            .collect();
        assert_eq!(said, expected);
    }

    #[test]
    fn of_an_association_that_came_and_went_nothing_is_left() {
        const ONE: &str = r#"{"from_local_id":7,"to_local_id":3,"category":"HUBSPOT_DEFINED","type_id":1,"label":"Chef"}"#;
        const RENAMED: &str = r#"{"from_local_id":7,"to_local_id":3,"category":"HUBSPOT_DEFINED","type_id":1,"label":"Head"}"#;
        const TURNED: &str = r#"{"from_local_id":3,"to_local_id":7,"category":"HUBSPOT_DEFINED","type_id":2,"label":"Of"}"#;
        const OTHER_TYPE: &str = r#"{"from_local_id":7,"to_local_id":3,"category":"HUBSPOT_DEFINED","type_id":9,"label":null}"#;
        const OTHER_ROW: &str = r#"{"from_local_id":7,"to_local_id":4,"category":"HUBSPOT_DEFINED","type_id":1,"label":"Chef"}"#;
        const AWAY: &str = r#"{"from_local_id":7,"to_local_id":null,"to_hs_id":3,"category":"HUBSPOT_DEFINED","type_id":1,"label":"Chef"}"#;
        const UNKNOWN: &str =
            r#"{"from_local_id":7,"to_local_id":3,"category":null,"type_id":null,"label":null}"#;
        for text in [ONE, OTHER_TYPE, AWAY, UNKNOWN] {
            check_links(&[(true, text), (false, text)], &[]);
            check_links(&[(false, text), (true, text)], &[]);
            check_links(
                &[(true, text), (false, text), (true, text)],
                &[(true, text, &[1, 2, 3])],
            );
        }
        check_links(&[(true, ONE), (false, RENAMED)], &[]);
        check_links(&[(true, ONE), (false, TURNED)], &[]);
        check_links(
            &[(true, TURNED), (true, ONE), (false, ONE), (false, TURNED)],
            &[],
        );
        check_links(&[(true, ONE), (true, TURNED)], &[(true, ONE, &[1, 2])]);
        check_links(
            &[
                (true, ONE),
                (true, OTHER_TYPE),
                (false, ONE),
                (false, OTHER_ROW),
                (false, AWAY),
            ],
            &[
                (false, AWAY, &[5]),
                (false, OTHER_ROW, &[4]),
                (true, OTHER_TYPE, &[2]),
            ],
        );
    }

    #[test]
    fn an_association_of_a_merged_record_is_the_survivors() {
        const OURS: &str = r#"{"from_local_id":7,"to_local_id":3,"category":"HUBSPOT_DEFINED","type_id":1,"label":"Chef"}"#;
        const FORMER: &str = r#"{"from_local_id":6,"to_local_id":3,"category":"HUBSPOT_DEFINED","type_id":1,"label":"Cook"}"#;
        const TO_FORMER: &str = r#"{"from_local_id":7,"to_local_id":30,"category":"HUBSPOT_DEFINED","type_id":1,"label":"Cook"}"#;
        const TURNED: &str = r#"{"from_local_id":3,"to_local_id":7,"category":"HUBSPOT_DEFINED","type_id":2,"label":"Of"}"#;
        for former in [FORMER, TO_FORMER] {
            check_links(&[(true, former), (false, OURS)], &[]);
            check_links(&[(false, former), (true, OURS)], &[]);
            check_links(&[(true, former), (false, TURNED)], &[]);
            // The survivor's row is there, and takes or gets it.
            for is_made in [true, false] {
                check_links(
                    &[(is_made, former), (is_made, OURS)],
                    &[(is_made, OURS, &[1, 2])],
                );
                check_links(
                    &[(is_made, OURS), (is_made, former)],
                    &[(is_made, OURS, &[1, 2])],
                );
            }
            check_links(&[(true, former)], &[(true, former, &[1])]);
        }
    }

    #[test]
    fn a_field_is_undone_while_it_holds_what_the_last_change_brought() {
        let free = FieldNow {
            kind: Some(PropertyType::Number),
            value: Some("5"),
            waits: None,
            is_unkept: false,
            write: WriteMode::Replace,
        };
        let check = |to: Option<&str>, now: FieldNow<'_>, expected| {
            let change = FieldChange {
                ids: vec![1],
                property: "price".to_owned(),
                from: Some("5.0".to_owned()),
                to: to.map(str::to_owned),
            };
            assert_eq!(judge_field(&change, now), expected, "{now:?}");
        };
        let left = |why| Some(Err(why));
        check(Some("4"), free, Some(Ok(())));
        check(None, free, Some(Ok(())));
        check(Some("5"), free, None);
        check(
            Some("4"),
            FieldNow {
                value: Some("6"),
                ..free
            },
            left(LeftWhy::ChangedSince),
        );
        check(
            Some("4"),
            FieldNow {
                value: None,
                ..free
            },
            left(LeftWhy::ChangedSince),
        );
        check(
            Some("4"),
            FieldNow {
                waits: Some(LeftWhy::Pending),
                ..free
            },
            left(LeftWhy::Pending),
        );
        check(
            Some("4"),
            FieldNow {
                waits: Some(LeftWhy::OpenConflict),
                ..free
            },
            left(LeftWhy::OpenConflict),
        );
        check(
            Some("4"),
            FieldNow {
                is_unkept: true,
                ..free
            },
            left(LeftWhy::HistoryOff),
        );
        check(
            Some("4"),
            FieldNow { kind: None, ..free },
            left(LeftWhy::ReadOnly),
        );
    }

    #[test]
    fn what_hubspot_would_not_take_from_a_column_is_left() {
        let check = |write, kind, (from, to): (Option<&str>, Option<&str>), expected| {
            let change = FieldChange {
                ids: vec![1],
                property: "field".to_owned(),
                from: from.map(str::to_owned),
                to: to.map(str::to_owned),
            };
            let now = FieldNow {
                kind: Some(kind),
                value: from,
                waits: None,
                is_unkept: false,
                write,
            };
            assert_eq!(judge_field(&change, now), Some(expected), "{change:?}");
        };
        let text = PropertyType::String;
        check(
            WriteMode::IfEmpty,
            text,
            (Some("1"), None),
            Err(LeftWhy::IfEmpty),
        );
        check(
            WriteMode::IfEmpty,
            text,
            (Some("1"), Some("2")),
            Err(LeftWhy::IfEmpty),
        );
        check(WriteMode::IfEmpty, text, (None, Some("1")), Ok(()));
        let set = PropertyType::Set;
        check(
            WriteMode::Append,
            set,
            (Some("a;b"), Some("a")),
            Err(LeftWhy::Append),
        );
        check(
            WriteMode::Append,
            set,
            (Some("a"), None),
            Err(LeftWhy::Append),
        );
        check(WriteMode::Append, set, (Some("a"), Some("a;b")), Ok(()));
        check(WriteMode::Append, set, (None, Some("a")), Ok(()));
    }

    #[test]
    fn a_record_goes_where_this_daemon_made_it_and_comes_back_where_no_row_has_its_number() {
        let there = RowNow {
            is_there: true,
            is_as_made: true,
            ..RowNow::default()
        };
        for (origin, now, expected) in [
            (Origin::Push, there, Ok(())),
            (Origin::Undo, there, Ok(())),
            (Origin::Poll, there, Err(LeftWhy::MadeInHubspot)),
            (Origin::Push, RowNow::default(), Err(LeftWhy::Gone)),
            (
                Origin::Push,
                RowNow {
                    waits: Some(LeftWhy::Pending),
                    ..there
                },
                Err(LeftWhy::Pending),
            ),
            (
                Origin::Push,
                RowNow {
                    waits: Some(LeftWhy::OpenConflict),
                    ..there
                },
                Err(LeftWhy::OpenConflict),
            ),
            (
                Origin::Push,
                RowNow {
                    is_as_made: false,
                    ..there
                },
                Err(LeftWhy::ChangedSince),
            ),
        ] {
            assert_eq!(judge_made(origin, now), expected, "{origin:?} {now:?}");
        }
        let gone = RowNow::default();
        assert_eq!(judge_gone(true, gone), Ok(()));
        assert_eq!(judge_gone(false, gone), Err(LeftWhy::HistoryOff));
        assert_eq!(judge_gone(true, there), Err(LeftWhy::ChangedSince));
        let pending = RowNow {
            waits: Some(LeftWhy::Pending),
            ..gone
        };
        assert_eq!(judge_gone(true, pending), Err(LeftWhy::Pending));
        let archived = RowNow {
            is_archived: true,
            ..there
        };
        assert_eq!(judge_gone(true, archived), Err(LeftWhy::Archived));
    }

    #[test]
    fn an_association_is_turned_round_while_it_is_as_it_was_left() {
        let now = LinkNow {
            has_ends: true,
            is_there: true,
            is_pending: false,
        };
        let away = LinkNow {
            is_there: false,
            ..now
        };
        assert_eq!(judge_link(true, now), Ok(()));
        assert_eq!(judge_link(false, away), Ok(()));
        assert_eq!(judge_link(true, away), Err(LeftWhy::ChangedSince));
        assert_eq!(judge_link(false, now), Err(LeftWhy::ChangedSince));
        let waits = LinkNow {
            is_pending: true,
            ..now
        };
        assert_eq!(judge_link(true, waits), Err(LeftWhy::Pending));
        let endless = LinkNow {
            has_ends: false,
            ..now
        };
        assert_eq!(judge_link(true, endless), Err(LeftWhy::Gone));
    }
}
