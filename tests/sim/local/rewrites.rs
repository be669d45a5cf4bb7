//! What programs do that is more than one plain write: they replace, upsert, insert again, pass values on and roll back.

use hubsyncd::model::mapping::{FieldMapping, ObjectMapping};
use rand_chacha::ChaCha8Rng;
use rusqlite::types::Value as Sql;

use super::{Programs, tag_of};
use crate::plan::pick;
use crate::values::Values;

impl Programs {
    /// A row for a person that HubSpot has, by the value that tells who it is.
    pub(super) fn insert_known(
        &mut self,
        rng: &mut ChaCha8Rng,
        values: &mut Values,
        object: &ObjectMapping,
    ) {
        let Some(matching) = object.match_field().cloned() else {
            return self.insert(rng, values, object);
        };
        let known: Vec<String> = {
            let state = self.world.state();
            let records = state.portal.records(object.object.as_str());
            let theirs = records.iter();
            theirs
                .filter_map(|record| record.value(matching.property.as_str()))
                .map(str::to_owned)
                .collect()
        };
        let mut fields = Self::fresh_row(rng, values, object);
        fields.retain(|(field, _)| field.property != matching.property);
        if !known.is_empty() {
            fields.push((matching, pick(rng, &known).clone()));
        }
        self.insert_fields(object, &fields);
    }

    /// Three rows pass their values of the property by which they are known on to each other; the first takes a new one.
    pub(super) fn pass_on(
        &mut self,
        rng: &mut ChaCha8Rng,
        values: &mut Values,
        object: &ObjectMapping,
        rows: &[i64],
    ) {
        let Some(matching) = object.match_field().cloned() else {
            return;
        };
        if !matching.direction.pushes() {
            return;
        }
        let sql = format!(
            "SELECT {} FROM {} WHERE local_id = ?",
            matching.column, object.table
        );
        let mut next = values.for_property(rng, matching.property.as_str(), "l");
        for row in rows.iter().take(3) {
            let own = self.connection.query_row(&sql, [row], |row| row.get(0));
            let Ok(own) = own else { return };
            self.set(object, *row, &[(matching.clone(), next)]);
            let own: Option<String> = own;
            next = own.unwrap_or_default();
        }
    }

    /// An ORM's "replace": the person goes and comes back with the same e-mail in one transaction.
    pub(super) fn delete_and_insert(
        &mut self,
        rng: &mut ChaCha8Rng,
        values: &mut Values,
        object: &ObjectMapping,
        row: i64,
    ) {
        let Some(matching) = object.match_field().cloned() else {
            return;
        };
        let sql = format!(
            "SELECT {} FROM {} WHERE local_id = ?",
            matching.column, object.table
        );
        let Ok(email) = self
            .connection
            .query_row(&sql, [row], |row| row.get::<_, Option<String>>(0))
        else {
            return;
        };
        let mut fields = Self::fresh_row(rng, values, object);
        fields.retain(|(field, _)| field.property != matching.property);
        if let Some(email) = email {
            fields.push((matching, email));
        }
        if fields.is_empty() {
            return;
        }
        let before = self.shadow.clone();
        self.connection.execute_batch("BEGIN").expect("begins");
        self.delete(object, row);
        if self
            .insert_row("reinsert", object, "INSERT", None, &fields)
            .is_some()
        {
            self.shadow.inserts += 1;
            self.connection.execute_batch("COMMIT").expect("commits");
        } else {
            self.connection
                .execute_batch("ROLLBACK")
                .expect("rolls back");
            self.shadow = before;
            self.world.note("local rolled back");
        }
    }

    pub(super) fn replace(
        &mut self,
        rng: &mut ChaCha8Rng,
        values: &mut Values,
        object: &ObjectMapping,
        row: i64,
    ) {
        let tag = tag_of(object.object.as_str());
        let mut fields = Self::fresh_row(rng, values, object);
        fields.retain(|(field, _)| field.property.as_str() != tag);
        let kept = self.connection.query_row(
            &format!("SELECT c_{tag} FROM {} WHERE local_id = ?", object.table),
            [row],
            |row| row.get::<_, Option<String>>(0),
        );
        let Ok(kept) = kept else { return };
        if let (Some(kept), Some(field)) = (
            kept,
            Self::writable(object)
                .into_iter()
                .find(|field| field.property.as_str() == tag),
        ) {
            fields.push((field, kept));
        }
        // Columns that are left out are emptied by REPLACE.
        for field in Self::writable(object) {
            if fields
                .iter()
                .all(|(other, _)| other.property != field.property)
            {
                fields.push((field, String::new()));
            }
        }
        self.insert_row("replace", object, "REPLACE", Some(row), &fields);
    }

    pub(super) fn upsert(
        &mut self,
        rng: &mut ChaCha8Rng,
        values: &mut Values,
        object: &ObjectMapping,
        row: i64,
    ) {
        let tag = tag_of(object.object.as_str());
        let fields: Vec<FieldMapping> = Self::writable(object)
            .into_iter()
            .filter(|field| field.property.as_str() != tag)
            .collect();
        let Some(field) = (!fields.is_empty()).then(|| pick(rng, &fields).clone()) else {
            return;
        };
        let value = values.for_property(rng, field.property.as_str(), "l");
        let bound = [Sql::Integer(row), self.to_sql(object, &field, &value)];
        let sql = format!(
            "INSERT INTO {0} (local_id, {1}) VALUES (?, ?) ON CONFLICT (local_id) DO UPDATE SET {1} = excluded.{1}",
            object.table, field.column
        );
        if self.run("upsert", &sql, &bound) {
            self.shadow
                .write(object.object.as_str(), row, field.property.as_str(), &value);
        }
    }

    pub(super) fn rolled_back(
        &mut self,
        rng: &mut ChaCha8Rng,
        values: &mut Values,
        object: &ObjectMapping,
        row: i64,
    ) {
        let before = self.shadow.clone();
        self.connection.execute_batch("BEGIN").expect("begins");
        self.update(rng, values, object, row);
        self.delete(object, row);
        self.connection
            .execute_batch("ROLLBACK")
            .expect("rolls back");
        self.shadow = before;
        self.world.note("local rolled back");
    }
}
