//! An association as conflicts and `sync_history` show it.

use serde::{Deserialize, Serialize};

use crate::model::association::{Category, ExclusiveEnd, TypeId};
use crate::model::id::{HubspotId, LocalId};

/// One association: its two ends and its type.
#[derive(Debug, Clone, Copy)]
pub struct LinkJson<'a> {
    /// The row where it starts; `None` where its record is not in the mirror.
    pub from_local_id: Option<LocalId>,
    /// That row's record.
    pub from_hs_id: Option<HubspotId>,
    /// The row where it leads; `None` where its record is not in the mirror.
    pub to_local_id: Option<LocalId>,
    /// That row's record.
    pub to_hs_id: Option<HubspotId>,
    /// Its type; `None` where it is not known yet.
    pub kind: Option<&'a TypeId>,
    /// Its label.
    pub label: Option<&'a str>,
}

#[derive(Serialize)]
struct LinkShape<'a> {
    from_local_id: Option<i64>,
    from_hs_id: Option<i64>,
    to_local_id: Option<i64>,
    to_hs_id: Option<i64>,
    category: Option<&'a str>,
    type_id: Option<i64>,
    label: Option<&'a str>,
}

impl<'a> LinkJson<'a> {
    fn shape(&self) -> LinkShape<'a> {
        LinkShape {
            from_local_id: self.from_local_id.map(|id| id.0),
            from_hs_id: self.from_hs_id.map(|id| id.0),
            to_local_id: self.to_local_id.map(|id| id.0),
            to_hs_id: self.to_hs_id.map(|id| id.0),
            category: self.kind.map(|kind| kind.category.as_str()),
            type_id: self.kind.map(|kind| kind.number),
            label: self.label,
        }
    }

    /// The JSON of one.
    pub fn to_text(&self) -> String {
        serde_json::to_string(&self.shape()).expect("numbers and texts have a JSON form")
    }

    /// The JSON of a list, by the other end's record and the type.
    pub fn list(links: &[Self]) -> String {
        let mut links = links.to_vec();
        links.sort_by(|left, right| {
            (left.to_hs_id, left.kind, left.to_local_id).cmp(&(
                right.to_hs_id,
                right.kind,
                right.to_local_id,
            ))
        });
        let shapes: Vec<LinkShape<'_>> = links.iter().map(Self::shape).collect();
        serde_json::to_string(&shapes).expect("numbers and texts have a JSON form")
    }
}

#[derive(Deserialize)]
struct ListedLink {
    from_local_id: Option<i64>,
    to_local_id: Option<i64>,
    category: Option<String>,
    type_id: Option<i64>,
}

/// The types of a list as conflicts have it, and the rows that stand across from the end whose conflict it is. What is no such list
/// has none.
pub fn listed(text: &str, end: ExclusiveEnd) -> Vec<(LocalId, TypeId)> {
    let links: Vec<ListedLink> = serde_json::from_str(text).unwrap_or_default();
    let named = links.into_iter().filter_map(|link| {
        let category = Category::parse(&link.category?);
        let number = link.type_id?;
        let other = match end {
            ExclusiveEnd::From => link.to_local_id?,
            ExclusiveEnd::To => link.from_local_id?,
        };
        Some((LocalId(other), TypeId { category, number }))
    });
    named.collect()
}

/// What a line of `sync_history` says of an association: where it leads, and its type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToldLink {
    /// Where it leads.
    pub to: ToldEnd,
    /// Its type; `None` where it was not known yet.
    pub kind: Option<TypeId>,
}

/// Where an association leads, as a line of `sync_history` says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ToldEnd {
    /// To a row.
    Row(i64),
    /// To a record that was not in the mirror.
    Record(i64),
    /// Nobody knows.
    Unknown,
}

#[derive(Deserialize, Default)]
struct ToldShape {
    to_local_id: Option<i64>,
    to_hs_id: Option<i64>,
    category: Option<String>,
    type_id: Option<i64>,
}

impl ToldLink {
    /// Reads a line's text. What is no such text leads nowhere.
    pub fn read(text: &str) -> Self {
        let told: ToldShape = serde_json::from_str(text).unwrap_or_default();
        let kind = told.category.zip(told.type_id);
        Self {
            to: match (told.to_local_id, told.to_hs_id) {
                (Some(row), _) => ToldEnd::Row(row),
                (None, Some(record)) => ToldEnd::Record(record),
                (None, None) => ToldEnd::Unknown,
            },
            kind: kind.map(|(category, number)| TypeId {
                category: Category::parse(&category),
                number,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_sorted_by_the_other_record_and_the_type() {
        let [plain, primary] = [279, 1].map(TypeId::of_hubspot);
        let link = |to: i64, kind| LinkJson {
            from_local_id: Some(LocalId(7)),
            from_hs_id: Some(HubspotId(101)),
            to_local_id: Some(LocalId(to)),
            to_hs_id: Some(HubspotId(900 - to)),
            kind: Some(kind),
            label: None,
        };
        let text = LinkJson::list(&[link(1, &plain), link(2, &plain), link(2, &primary)]);
        let ends: Vec<(i64, i64)> = serde_json::from_str::<Vec<serde_json::Value>>(&text)
            .expect("JSON")
            .iter()
            .map(|link| {
                (
                    link["to_hs_id"].as_i64().expect("id"),
                    link["type_id"].as_i64().expect("type"),
                )
            })
            .collect();
        assert_eq!(ends, [(898, 1), (898, 279), (899, 279)]);
        assert_eq!(
            LinkJson {
                to_hs_id: None,
                label: Some("Boss"),
                ..link(3, &primary)
            }
            .to_text(),
            r#"{"from_local_id":7,"from_hs_id":101,"to_local_id":3,"to_hs_id":null,"category":"HUBSPOT_DEFINED","type_id":1,"label":"Boss"}"#
        );
    }
}
