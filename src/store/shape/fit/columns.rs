//! The columns of a mirror, as a mapping wants them: renamed, made, and made anew where their type has changed.

use rusqlite::{Connection, named_params};

use crate::model::mapping::{Direction, FieldMapping, ObjectMapping};
use crate::model::value::{PropertyType, Value};
use crate::store::fields::{self, FieldRow, FieldState};
use crate::store::modes::{self, FieldMode};
use crate::store::shape::ddl::quoted;
use crate::store::shape::fit::{ShapeWork, columns_of, has, same_name, waiting_values};
use crate::store::shape::{alter, aside, bypassed, repair};
use crate::store::{StoreError, mirror, outbox, unreadable};
use crate::store::{conflicts, history};

impl ShapeWork<'_> {
    /// Renames, makes and changes the columns of an object.
    pub(super) fn columns(&mut self, object: &ObjectMapping) -> Result<(), StoreError> {
        self.rename_columns(object)?;
        for field in &object.fields {
            self.column(object, field)?;
        }
        Ok(())
    }

    /// Renames go through names of their own, so that two properties can swap theirs. A column that was mapped once makes
    /// way for one that is mapped.
    fn rename_columns(&mut self, object: &ObjectMapping) -> Result<(), StoreError> {
        let table = object.table.as_str();
        let actual = columns_of(self.tx, table)?;
        let mut moving = Vec::new();
        let known = self.known;
        for field in known.of_object(object) {
            let mapped = object
                .fields
                .iter()
                .find(|mapped| mapped.property.as_str() == field.property);
            let present = self.present_name(object, field, &actual);
            let wanted = match mapped {
                Some(mapped) => mapped.column.as_str().to_owned(),
                None if object
                    .fields
                    .iter()
                    .any(|mapped| same_name(mapped.column.as_str(), &field.column_name)) =>
                {
                    alter::name_aside(&field.column_name, &field.property, &actual)
                }
                None => continue,
            };
            if let Some(present) = present.filter(|present| wanted != *present) {
                moving.push((
                    field,
                    present,
                    format!("_sync_moving_{}", moving.len()),
                    wanted,
                ));
            }
        }
        if moving.is_empty() {
            return Ok(());
        }
        self.clear_way()?;
        for (_, present, between, _) in &moving {
            self.tx
                .execute_batch(&alter::rename_column(table, present, between))?;
        }
        let renamed = moving
            .iter()
            .map(|(field, _, _, wanted)| (field.column_name.clone(), wanted.clone()));
        let renamed = renamed.collect();
        history::rename_columns(self.tx, &object.object, &renamed)?;
        conflicts::rename_columns(self.tx, &object.object, &renamed)?;
        for (field, present, between, wanted) in moving {
            refuse_taken_column(self.tx, object, &wanted)?;
            self.tx
                .execute_batch(&alter::rename_column(table, &between, &wanted))?;
            if wanted != field.column_name {
                self.tx
                    .execute_batch(&alter::rename_check(object, field, &wanted))?;
                fields::set_column(self.tx, field, &wanted)?;
            }
            self.say(format!("column {table}.{present} renamed to {wanted}"));
        }
        Ok(())
    }

    /// The name that a column has in the file: a program may have renamed it, and our trigger went along.
    fn present_name(
        &self,
        object: &ObjectMapping,
        field: &FieldRow,
        actual: &[String],
    ) -> Option<String> {
        if has(actual, &field.column_name) {
            return Some(field.column_name.clone());
        }
        let is_mapped = |name: &String| {
            object
                .fields
                .iter()
                .any(|mapped| same_name(mapped.column.as_str(), name))
        };
        let renamed = repair::renamed_column(&self.triggers_before, object, &field.property);
        renamed.filter(|name| has(actual, name) && !is_mapped(name))
    }

    fn column(&mut self, object: &ObjectMapping, field: &FieldMapping) -> Result<(), StoreError> {
        let known = self.known.field(object, field);
        let there = has(
            &columns_of(self.tx, object.table.as_str())?,
            field.column.as_str(),
        );
        let made_with_table = known.is_none() && there && self.made_now(object);
        match known {
            Some(known) if there => {
                let kept_back = known.state == FieldState::Unmapped
                    || known.direction == Direction::Pull.as_str();
                if kept_back && field.direction.pushes() {
                    let (object, property) = (object.object.as_str(), field.property.as_str());
                    outbox::release_property(self.tx, object, property, self.now)?;
                }
                self.known_column(object, field, known)
            }
            None if made_with_table => self.save_field(object, field, FieldState::Active),
            Some(known) => {
                self.add_column(object, field)?;
                if known.state == FieldState::Unmapped {
                    return aside::restore_conflicts(self.tx, object, field);
                }
                // A program dropped the column: what waited in it is gone with it, and an empty value must not be sent.
                self.forget_values(object, field)?;
                aside::restore_conflicts(self.tx, object, field)
            }
            None => self.add_column(object, field),
        }
    }

    /// Whether nothing is known of the object's columns: its table was made in this run, or what was known is lost.
    fn made_now(&self, object: &ObjectMapping) -> bool {
        !self.known.tables.contains_key(object.object.as_str())
            || self.known.of_object(object).next().is_none()
    }

    fn add_column(
        &mut self,
        object: &ObjectMapping,
        field: &FieldMapping,
    ) -> Result<(), StoreError> {
        refuse_taken_column(self.tx, object, field.column.as_str())?;
        self.clear_way()?;
        self.tx
            .execute_batch(&alter::add_column(object.table.as_str(), field))?;
        self.say(format!("column {}.{} added", object.table, field.column));
        modes::forget_filled(self.tx, &object.object, &field.property)?;
        self.fill(object, field)
    }

    /// What was to be sent of a property whose column a program dropped is gone, and is told of until the column is filled.
    fn forget_values(
        &self,
        object: &ObjectMapping,
        field: &FieldMapping,
    ) -> Result<(), StoreError> {
        let (name, property) = (object.object.as_str(), field.property.as_str());
        let waiting = "FROM sync_outbox AS e
             JOIN sync_outbox_fields AS f ON f.outbox_id = e.id AND f.property = :property
             WHERE e.object = :object AND e.operation = 'update' AND e.state <> 'in_flight' AND e.row IS NULL";
        let waiting_for = named_params! { ":object": name, ":property": property };
        let rows: Vec<i64> = self
            .tx
            .prepare(&format!("SELECT e.local_id {waiting} ORDER BY e.local_id"))?
            .query_map(waiting_for, |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        if rows.is_empty() {
            return Ok(());
        }
        self.tx.execute(
            &format!("DELETE FROM sync_outbox_fields WHERE property = :property AND outbox_id IN (SELECT e.id {waiting})"),
            waiting_for,
        )?;
        let column = (property, field.column.as_str());
        bypassed::tell_column(self.tx, object, column, &rows, self.now)?;
        aside::end_empty_updates(self.tx, object)
    }

    /// New values have to be read where pages without them have been.
    fn fill(&self, object: &ObjectMapping, field: &FieldMapping) -> Result<(), StoreError> {
        let filling =
            field.direction.pulls() && fields::begin_filling(self.tx, object.object.as_str())?;
        let degraded = self.is_closed(object, field)?;
        unreadable::forget_property(self.tx, object.object.as_str(), field.property.as_str())?;
        let state = if degraded {
            FieldState::Degraded
        } else if filling {
            FieldState::Filling
        } else {
            FieldState::Active
        };
        self.save_field(object, field, state)
    }

    /// Whether a field is left out of requests because of what the portal says of its property.
    fn is_closed(&self, object: &ObjectMapping, field: &FieldMapping) -> Result<bool, StoreError> {
        let degraded = self
            .known
            .field(object, field)
            .is_some_and(|known| known.state == FieldState::Degraded);
        Ok(degraded
            && !unreadable::has_any(self.tx, object.object.as_str(), field.property.as_str())?)
    }

    fn known_column(
        &mut self,
        object: &ObjectMapping,
        field: &FieldMapping,
        known: &FieldRow,
    ) -> Result<(), StoreError> {
        let from = PropertyType::parse(&known.property_type).ok_or_else(|| {
            StoreError::UnknownValue(format!("type `{}` of `sync_fields`", known.property_type))
        })?;
        let stored_alike = alter::is_plain_text(from) && alter::is_plain_text(field.property_type);
        if from != field.property_type && !stored_alike {
            return self.retype(object, field, known, from);
        }
        if known.state == FieldState::Unmapped {
            aside::follow_conflicts(self.tx, object, field)?;
        }
        let pulls_at_last = known.direction == Direction::Push.as_str() && field.direction.pulls();
        if known.state == FieldState::Unmapped || from != field.property_type || pulls_at_last {
            self.say(format!(
                "column {}.{} is filled from {}.{}",
                object.table, field.column, object.object, field.property
            ));
            return self.fill(object, field);
        }
        if known.direction == field.direction.as_str() {
            Ok(())
        } else {
            self.save_field(object, field, known.state)
        }
    }

    /// Makes a column anew under another type. Values that only the mirror has would be lost: then it is refused. Those of a column
    /// that was never filled, which HubSpot has not had yet, are taken along where they are of the new type.
    fn retype(
        &mut self,
        object: &ObjectMapping,
        field: &FieldMapping,
        known: &FieldRow,
        from: PropertyType,
    ) -> Result<(), StoreError> {
        let waiting = waiting_values(self.tx, object, field)?;
        let is_new = known.state == FieldState::Degraded
            && !modes::is_said(
                self.tx,
                &object.object,
                FieldMode::Filled,
                field.property.as_str(),
            )?;
        let along = match waiting > 0 && is_new {
            true => in_type(
                self.tx,
                object,
                &FieldMapping {
                    property_type: from,
                    ..field.clone()
                },
                field.property_type,
            )?,
            false => None,
        };
        if waiting > 0 && along.is_none() {
            return Err(StoreError::TypeChange {
                object: object.object.as_str().to_owned(),
                property: field.property.as_str().to_owned(),
                from: known.property_type.clone(),
                to: field.property_type.as_str().to_owned(),
                waiting,
            });
        }
        self.clear_way()?;
        // What nobody synced may be nowhere else.
        if matches!(known.state, FieldState::Unmapped | FieldState::Degraded) && along.is_none() {
            self.keep_values(object, field, from)?;
        }
        alter::make_anew(self.tx, object, field, from)?;
        modes::forget_filled(self.tx, &object.object, &field.property)?;
        put_in(self.tx, object, field, along.unwrap_or_default())?;
        self.say(format!(
            "column {}.{} made anew as {}",
            object.table, field.column, field.property_type
        ));
        self.fill(object, field)
    }

    /// What a column held that nobody synced is nowhere else: it goes to `sync_history`.
    fn keep_values(
        &self,
        object: &ObjectMapping,
        field: &FieldMapping,
        from: PropertyType,
    ) -> Result<(), StoreError> {
        let sql = alter::values_to_history(object, field, from);
        self.tx.execute(
            &sql,
            named_params! {
                ":now": self.now.to_string(),
                ":object": object.object.as_str(),
                ":property": field.property.as_str(),
            },
        )?;
        Ok(())
    }

    fn save_field(
        &self,
        object: &ObjectMapping,
        field: &FieldMapping,
        state: FieldState,
    ) -> Result<(), StoreError> {
        fields::save(self.tx, object.object.as_str(), field, state, self.now)
    }
}

/// The values of a column, by row, as a type has them; `None` where one of them can't be of it. `field` says how the column was made.
pub(super) fn in_type(
    connection: &Connection,
    object: &ObjectMapping,
    field: &FieldMapping,
    kind: PropertyType,
) -> Result<Option<Vec<(i64, Value)>>, StoreError> {
    let column = quoted(field.column.as_str());
    let sql = format!(
        "SELECT \"local_id\", {column} FROM {} WHERE {column} <> ''",
        quoted(object.table.as_str())
    );
    let mut statement = connection.prepare(&sql)?;
    let mut rows = statement.query([])?;
    let mut values = Vec::new();
    while let Some(row) = rows.next()? {
        let held = field
            .property_type
            .from_column(&mirror::from_sql(row.get_ref(1)?));
        match held.and_then(|held| kind.canonical_here(held.as_deref())) {
            Ok(value) => values.push((row.get(0)?, value)),
            Err(_invalid) => return Ok(None),
        }
    }
    Ok(Some(values))
}

/// Puts values into a column that was made anew.
fn put_in(
    connection: &Connection,
    object: &ObjectMapping,
    field: &FieldMapping,
    values: Vec<(i64, Value)>,
) -> Result<(), StoreError> {
    let sql = format!(
        "UPDATE {} SET {} = ?2 WHERE \"local_id\" = ?1",
        quoted(object.table.as_str()),
        quoted(field.column.as_str())
    );
    for (local_id, value) in values {
        let column = mirror::to_sql(field.property_type.to_column(&value));
        connection
            .prepare_cached(&sql)?
            .execute((local_id, column))?;
    }
    Ok(())
}

fn refuse_taken_column(
    connection: &Connection,
    object: &ObjectMapping,
    column: &str,
) -> Result<(), StoreError> {
    if !has(&columns_of(connection, object.table.as_str())?, column) {
        return Ok(());
    }
    Err(StoreError::Mapping(format!(
        "{table} has a column `{column}` of its own already: rename it, or write another `column`",
        table = object.table,
    )))
}
