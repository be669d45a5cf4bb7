//! `association_types`: what each mapped pair can be associated by.

use std::collections::BTreeMap;

use rusqlite::{Connection, Transaction, named_params};

use crate::decide::portal::link_types::KnownType;
use crate::model::association::{Category, PairMapping, TypeId};
use crate::store::StoreError;

/// The types that are known of a pair.
pub fn of(connection: &Connection, pair: &PairMapping) -> Result<Vec<KnownType>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT t.category, t.type_id, t.label, t.inverse_type_id, t.archived, l.most, b.most
         FROM association_types AS t
         LEFT JOIN _sync_link_limits AS l ON l.from_object = t.from_object AND l.to_object = t.to_object
              AND l.category = t.category AND l.type_id = t.type_id
         LEFT JOIN _sync_link_limits AS b ON b.from_object = t.to_object AND b.to_object = t.from_object
              AND b.category = t.category AND b.type_id = t.inverse_type_id
         WHERE t.from_object = :from AND t.to_object = :to
         ORDER BY t.category, t.type_id",
    )?;
    let rows = statement.query_map(
        named_params! { ":from": pair.from.as_str(), ":to": pair.to.as_str() },
        |row| {
            let category: String = row.get(0)?;
            Ok(KnownType {
                id: TypeId {
                    category: Category::parse(&category),
                    number: row.get(1)?,
                },
                label: row.get(2)?,
                inverse: row.get(3)?,
                archived: row.get(4)?,
                most: row.get(5)?,
                most_back: row.get(6)?,
            })
        },
    )?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Writes types of a pair down, in place of what was known of each.
pub(crate) fn save(
    tx: &Transaction<'_>,
    pair: &PairMapping,
    types: &[KnownType],
) -> Result<(), StoreError> {
    let mut statement = tx.prepare_cached(
        "INSERT INTO association_types (from_object, to_object, category, type_id, label, inverse_type_id, archived)
         VALUES (:from, :to, :category, :type_id, :label, :inverse, :archived)
         ON CONFLICT (from_object, to_object, category, type_id) DO UPDATE
         SET label = excluded.label, inverse_type_id = excluded.inverse_type_id, archived = excluded.archived",
    )?;
    let mut limit = tx.prepare_cached(
        "INSERT INTO _sync_link_limits (from_object, to_object, category, type_id, most)
         VALUES (:from, :to, :category, :type_id, :most)
         ON CONFLICT DO UPDATE SET most = excluded.most",
    )?;
    let mut lift = tx.prepare_cached(
        "DELETE FROM _sync_link_limits
         WHERE from_object = :from AND to_object = :to AND category = :category AND type_id = :type_id",
    )?;
    for known in types {
        let (from, to) = (pair.from.as_str(), pair.to.as_str());
        let own = (from, to, Some(known.id.number), known.most);
        // In a pair of one object that is the limit of another of its types.
        let back = (to, from, known.inverse, known.most_back);
        let both = [Some(own), (from != to).then_some(back)];
        for (from, to, number, most) in both.into_iter().flatten() {
            let (Some(type_id), category) = (number, known.id.category.as_str()) else {
                continue;
            };
            match most {
                Some(most) => limit.execute(
                    named_params! { ":from": from, ":to": to, ":category": category, ":type_id": type_id, ":most": most },
                )?,
                None => lift.execute(
                    named_params! { ":from": from, ":to": to, ":category": category, ":type_id": type_id },
                )?,
            };
        }
        statement.execute(named_params! {
            ":from": pair.from.as_str(),
            ":to": pair.to.as_str(),
            ":category": known.id.category.as_str(),
            ":type_id": known.id.number,
            ":label": known.label,
            ":inverse": known.inverse,
            ":archived": known.archived,
        })?;
    }
    Ok(())
}

/// Writes down the types that an answer shows beside those that are known: they are younger than the last look at the portal.
pub(crate) fn note_met(
    tx: &Transaction<'_>,
    pair: &PairMapping,
    met: &BTreeMap<TypeId, Option<String>>,
) -> Result<(), StoreError> {
    if met.is_empty() {
        return Ok(());
    }
    let known = of(tx, pair)?;
    let is_known = |id: &TypeId| known.iter().any(|known| known.id == *id);
    let new: Vec<KnownType> = met
        .iter()
        .filter(|(id, _)| !is_known(id))
        .map(|(id, label)| KnownType {
            id: id.clone(),
            label: label.clone(),
            inverse: None,
            archived: false,
            most: None,
            most_back: None,
        })
        .collect();
    save(tx, pair, &new)
}

/// Gives the rows of a pair the labels that their types have by now.
pub(crate) fn relabel(tx: &Transaction<'_>, pair: &PairMapping) -> Result<(), StoreError> {
    tx.prepare_cached(
        "UPDATE associations
         SET label = t.label
         FROM association_types AS t
         WHERE associations.from_object = :from AND associations.to_object = :to
           AND t.from_object = :from AND t.to_object = :to
           AND t.category = associations.category AND t.type_id = associations.type_id
           AND t.label IS NOT associations.label",
    )?
    .execute(named_params! { ":from": pair.from.as_str(), ":to": pair.to.as_str() })?;
    Ok(())
}
