//! `sync_fields`: a row per property that is or was mapped, and the state of each. `ddl.rs` makes the rows.

use rusqlite::{Connection, OptionalExtension, Row, Transaction, named_params};

use crate::decide::schema::FieldProblem;
use crate::model::entry::states;
use crate::model::mapping::{Direction, FieldMapping, ObjectMapping};
use crate::model::name::{ObjectType, PropertyName};
use crate::model::time::Timestamp;
use crate::store::shape::options::{self, LOST, is_of_place};
use crate::store::{StoreError, conflicts, modes, outbox, unreadable};

states! {
    /// How far a field is in agreement.
    FieldState {
        /// Synced both ways, as its direction says.
        Active = "active",
        /// Mapped lately: its values are still being read from HubSpot.
        Filling = "filling",
        /// Something is wrong with it in the portal: left out of requests. Or HubSpot holds values that its column can't
        /// (`sync_unreadable`): synced on.
        Degraded = "degraded",
        /// No longer in the mapping; the column stays.
        Unmapped = "unmapped",
    }
}

/// A row of `sync_fields`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldRow {
    /// The object's name in the mapping.
    pub object: String,
    /// HubSpot's name of the property.
    pub property: String,
    /// The column.
    pub column_name: String,
    /// The type under which the column was made.
    pub property_type: String,
    /// The direction in force.
    pub direction: String,
    /// How far it is in agreement.
    pub state: FieldState,
    /// Since when.
    pub since: String,
    /// What is wrong with it, by its stable name.
    pub code: Option<String>,
}

/// What is wrong with a field, in words.
pub(crate) fn problem_of(
    connection: &Connection,
    object: &str,
    property: &str,
) -> Result<Option<String>, StoreError> {
    let problem = connection
        .prepare_cached(
            "SELECT problem FROM sync_fields WHERE object = :object AND property = :property",
        )?
        .query_row(
            named_params! { ":object": object, ":property": property },
            |row| row.get(0),
        )
        .optional()?;
    Ok(problem.flatten())
}

/// All fields, by object and property.
pub fn all(connection: &Connection) -> Result<Vec<FieldRow>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT object, property, column_name, type, direction, state, since, code
         FROM sync_fields
         ORDER BY object, property",
    )?;
    let mut rows = statement.query([])?;
    let mut fields = Vec::new();
    while let Some(row) = rows.next()? {
        fields.push(from_row(row)?);
    }
    Ok(fields)
}

fn from_row(row: &Row<'_>) -> Result<FieldRow, StoreError> {
    let state: String = row.get(5)?;
    Ok(FieldRow {
        object: row.get(0)?,
        property: row.get(1)?,
        column_name: row.get(2)?,
        property_type: row.get(3)?,
        direction: row.get(4)?,
        state: FieldState::parse(&state).ok_or_else(|| {
            StoreError::UnknownValue(format!("`{state}` as a state of `sync_fields`"))
        })?,
        since: row.get(6)?,
        code: row.get(7)?,
    })
}

/// A field with a problem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Troubled {
    /// The object's name in the mapping.
    pub object: String,
    /// HubSpot's name of the property.
    pub property: String,
    /// What is wrong.
    pub problem: String,
    /// What somebody can do about it.
    pub hint: Option<String>,
    /// Records whose value the column can't hold.
    pub unreadable: u64,
    /// The stable name of what is wrong.
    pub code: Option<String>,
}

/// The mapped fields that have a problem, by object and property.
pub(crate) fn troubled(connection: &Connection) -> Result<Vec<Troubled>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT object, property, problem, hint,
                (SELECT count(*) FROM sync_unreadable AS u WHERE u.object = f.object AND u.property = f.property),
                code
         FROM sync_fields AS f
         WHERE problem IS NOT NULL AND state <> 'unmapped'
         ORDER BY object, property",
    )?;
    let rows = statement.query_map([], |row| {
        Ok(Troubled {
            object: row.get(0)?,
            property: row.get(1)?,
            problem: row.get(2)?,
            hint: row.get(3)?,
            unreadable: row.get::<_, i64>(4)?.unsigned_abs(),
            code: row.get(5)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Since when a property's field is in its state.
pub(crate) fn since(
    connection: &Connection,
    object: &ObjectType,
    property: &PropertyName,
) -> Result<Option<Timestamp>, StoreError> {
    let since: Option<String> = connection
        .prepare_cached(
            "SELECT since
             FROM sync_fields
             WHERE object = :object
               AND property = :property",
        )?
        .query_row(
            named_params! { ":object": object.as_str(), ":property": property.as_str() },
            |row| row.get(0),
        )
        .optional()?;
    Ok(since.as_deref().and_then(Timestamp::parse))
}

/// The properties of an object that are in a state, by name.
pub(crate) fn in_state(
    connection: &Connection,
    object: &ObjectType,
    state: FieldState,
) -> Result<Vec<PropertyName>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT property
         FROM sync_fields
         WHERE object = :object AND state = :state
         ORDER BY property",
    )?;
    let mut rows =
        statement.query(named_params! { ":object": object.as_str(), ":state": state.as_str() })?;
    let mut properties = Vec::new();
    while let Some(row) = rows.next()? {
        let name: String = row.get(0)?;
        properties.push(
            PropertyName::parse(&name)
                .map_err(|error| StoreError::UnknownValue(error.to_string()))?,
        );
    }
    Ok(properties)
}

/// The fields of an object that a mapping in force does not have: those that left the mapping file, and those with a problem.
/// Their columns stay. By the mapping, not by the state alone: a step that began before a field was well again does not know
/// of it.
pub(crate) fn out_of_force(
    connection: &Connection,
    in_force: &ObjectMapping,
) -> Result<Vec<FieldRow>, StoreError> {
    let is_known = |field: &FieldRow| {
        let mut known = in_force.fields.iter();
        known.any(|known| known.property.as_str() == field.property)
    };
    let mut fields = all(connection)?;
    fields.retain(|field| field.object == in_force.object.as_str() && !is_known(field));
    Ok(fields)
}

/// The pushed fields among them that the mapping file has, and those that HubSpot lets nobody write: what their columns hold
/// waits.
pub(crate) fn left_out(
    connection: &Connection,
    in_force: &ObjectMapping,
) -> Result<Vec<FieldRow>, StoreError> {
    let mut writable = in_force.clone();
    writable.fields.retain(|field| !field.modes.locked);
    let mut fields = out_of_force(connection, &writable)?;
    fields.retain(|field| {
        field.state != FieldState::Unmapped && field.direction != Direction::Pull.as_str()
    });
    Ok(fields)
}

/// The values of an object's new columns have all been read.
pub(crate) fn end_filling(
    tx: &Transaction<'_>,
    object: &ObjectType,
    now: Timestamp,
) -> Result<(), StoreError> {
    modes::note_filled(tx, object, FieldState::Filling)?;
    tx.prepare_cached(
        "UPDATE sync_fields
         SET state = CASE WHEN EXISTS (SELECT 1 FROM sync_unreadable AS u
                                       WHERE u.object = sync_fields.object AND u.property = sync_fields.property)
                     THEN 'degraded' ELSE 'active' END,
             since = :now
         WHERE object = :object AND state = 'filling'",
    )?
    .execute(named_params! { ":object": object.as_str(), ":now": now.to_string() })?;
    Ok(())
}

/// Makes exactly these fields the degraded ones. A field whose problem is gone is filled again where the object's
/// backfill has begun, since its values may have moved.
pub(crate) fn set_problems(
    tx: &Transaction<'_>,
    problems: &[FieldProblem],
    now: Timestamp,
) -> Result<(), StoreError> {
    for field in all(tx)? {
        let problem = problems.iter().find(|problem| {
            problem.object.as_str() == field.object && problem.property.as_str() == field.property
        });
        set_problem(tx, &field, problem, now)?;
    }
    Ok(())
}

fn set_problem(
    tx: &Transaction<'_>,
    field: &FieldRow,
    problem: Option<&FieldProblem>,
    now: Timestamp,
) -> Result<(), StoreError> {
    match (problem, field.state) {
        // A column that is being filled goes on being filled; the next look tells what its rows hold.
        (Some(problem), FieldState::Filling) if is_lost(Some(problem.code)) => Ok(()),
        (Some(problem), FieldState::Active | FieldState::Filling | FieldState::Degraded) => {
            degrade(tx, problem, now)
        }
        // Only values are wrong: they tell when they are not any more.
        (None, FieldState::Degraded)
            if unreadable::has_any(tx, &field.object, &field.property)? =>
        {
            Ok(())
        }
        // It was synced on, so that no value of it has moved unseen.
        (None, FieldState::Degraded) if is_lost(field.code.as_deref()) => {
            outbox::release_property(tx, &field.object, &field.property, now)?;
            set_well(tx, field, FieldState::Active, now)
        }
        (None, FieldState::Degraded) => recover(tx, field, now),
        (Some(_), FieldState::Unmapped)
        | (None, FieldState::Active | FieldState::Filling | FieldState::Unmapped) => Ok(()),
    }
}

/// Says whether rows hold stages or pipelines that an object has no longer: its pipelines have changed.
pub(crate) fn follow_pipelines(
    tx: &Transaction<'_>,
    object: &ObjectMapping,
    now: Timestamp,
) -> Result<(), StoreError> {
    for row in all(tx)? {
        let is_synced = row.state == FieldState::Active || is_lost(row.code.as_deref());
        if row.object != object.object.as_str() || !is_synced {
            continue;
        }
        let mut fields = object.fields.iter();
        let field = fields.find(|field| field.property.as_str() == row.property);
        if let Some(field) = field.filter(|field| is_of_place(&object.object, &field.property)) {
            let problem = options::lost_by(tx, object, field)?;
            set_problem(tx, &row, problem.as_ref(), now)?;
        }
    }
    Ok(())
}

/// Says of fields that are synced what the mapping promises of them and can't keep; of the others, that it keeps it. A value
/// that can't be read is told before that.
pub(crate) fn set_remarks(
    tx: &Transaction<'_>,
    remarks: &[FieldProblem],
) -> Result<(), StoreError> {
    for field in all(tx)? {
        let is_synced = matches!(field.state, FieldState::Active | FieldState::Filling);
        if !is_synced || unreadable::has_any(tx, &field.object, &field.property)? {
            continue;
        }
        let remark = remarks.iter().find(|remark| {
            remark.object.as_str() == field.object && remark.property.as_str() == field.property
        });
        tx.prepare_cached(
            "UPDATE sync_fields
             SET problem = :problem, hint = :hint, code = :code
             WHERE object = :object AND property = :property
               AND (problem IS NOT :problem OR hint IS NOT :hint OR code IS NOT :code)",
        )?
        .execute(named_params! {
            ":object": field.object,
            ":property": field.property,
            ":problem": remark.map(|remark| remark.problem.as_str()),
            ":hint": remark.map(|remark| remark.hint.as_str()),
            ":code": remark.map(|remark| remark.code),
        })?;
    }
    Ok(())
}

/// Whether a field is degraded for what its rows hold alone.
fn is_lost(code: Option<&str>) -> bool {
    code.is_some_and(|code| LOST.contains(&code))
}

/// Whether a mapping by which something was sent has fields that are out of force by now: HubSpot has their properties no longer, or
/// lets nobody write them.
pub(crate) fn has_lost_fields(
    connection: &Connection,
    mapping: &ObjectMapping,
) -> Result<bool, StoreError> {
    for field in all(connection)? {
        let mut sent = mapping.fields.iter().filter(|sent| sent.is_sent());
        if field.object == mapping.object.as_str()
            && field.state == FieldState::Degraded
            && !is_lost(field.code.as_deref())
            && sent.any(|sent| sent.property.as_str() == field.property)
            && !unreadable::has_any(connection, &field.object, &field.property)?
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether a field is degraded.
pub(crate) fn is_degraded(
    connection: &Connection,
    object: &ObjectType,
    property: &PropertyName,
) -> Result<bool, StoreError> {
    Ok(connection
        .prepare_cached(
            "SELECT 1 FROM sync_fields WHERE object = :object AND property = :property AND state = 'degraded'",
        )?
        .exists(named_params! { ":object": object.as_str(), ":property": property.as_str() })?)
}

/// Says what is wrong with a field.
pub(crate) fn degrade(
    tx: &Transaction<'_>,
    problem: &FieldProblem,
    now: Timestamp,
) -> Result<(), StoreError> {
    unreadable::forget_property(tx, problem.object.as_str(), problem.property.as_str())?;
    tx.prepare_cached(
        "UPDATE sync_fields
         SET since = CASE WHEN state = 'degraded' THEN since ELSE :now END,
             state = 'degraded',
             problem = :problem,
             hint = :hint,
             code = :code
         WHERE object = :object
           AND property = :property
           AND (state <> 'degraded' OR problem IS NOT :problem OR hint IS NOT :hint OR code IS NOT :code)",
    )?
    .execute(named_params! {
        ":object": problem.object.as_str(),
        ":property": problem.property.as_str(),
        ":problem": problem.problem,
        ":hint": problem.hint,
        ":code": problem.code,
        ":now": now.to_string(),
    })?;
    Ok(())
}

fn recover(tx: &Transaction<'_>, field: &FieldRow, now: Timestamp) -> Result<(), StoreError> {
    let filling = begin_filling(tx, &field.object)?;
    let state = if filling {
        FieldState::Filling
    } else {
        FieldState::Active
    };
    outbox::release_property(tx, &field.object, &field.property, now)?;
    set_well(tx, field, state, now)
}

fn set_well(
    tx: &Transaction<'_>,
    field: &FieldRow,
    state: FieldState,
    now: Timestamp,
) -> Result<(), StoreError> {
    tx.prepare_cached(
        "UPDATE sync_fields
         SET state = :state, since = :now, problem = NULL, hint = NULL, code = NULL
         WHERE object = :object AND property = :property",
    )?
    .execute(named_params! {
        ":object": field.object,
        ":property": field.property,
        ":state": state.as_str(),
        ":now": now.to_string(),
    })?;
    conflicts::forget_refusals(tx, &field.object, &field.property)
}

/// Begins the filling of new columns at the first page, where pages without them have been read. Tells whether it did.
pub(super) fn begin_filling(tx: &Transaction<'_>, object: &str) -> Result<bool, StoreError> {
    let changed = tx
        .prepare_cached("UPDATE _sync_cursors SET filling_after = '' WHERE object = :object AND backfill <> 'waiting'")?
        .execute(named_params! { ":object": object })?;
    Ok(changed > 0)
}

/// Makes or changes a field's row. Its state's time moves only with the state.
pub(super) fn save(
    tx: &Transaction<'_>,
    object: &str,
    field: &FieldMapping,
    state: FieldState,
    now: Timestamp,
) -> Result<(), StoreError> {
    tx.prepare_cached(
        "INSERT INTO sync_fields (object, property, column_name, type, direction, state, since)
         VALUES (:object, :property, :column_name, :type, :direction, :state, :now)
         ON CONFLICT (object, property) DO UPDATE
         SET column_name = excluded.column_name,
             type = excluded.type,
             direction = excluded.direction,
             since = CASE WHEN state = excluded.state THEN since ELSE excluded.since END,
             state = excluded.state,
             problem = CASE excluded.state WHEN 'degraded' THEN problem END,
             hint = CASE excluded.state WHEN 'degraded' THEN hint END,
             code = CASE excluded.state WHEN 'degraded' THEN code END",
    )?
    .execute(named_params! {
        ":object": object,
        ":property": field.property.as_str(),
        ":column_name": field.column.as_str(),
        ":type": field.property_type.as_str(),
        ":direction": field.direction.as_str(),
        ":state": state.as_str(),
        ":now": now.to_string(),
    })?;
    match state {
        FieldState::Active | FieldState::Filling => {
            conflicts::forget_refusals(tx, object, field.property.as_str())
        }
        FieldState::Degraded | FieldState::Unmapped => Ok(()),
    }
}

/// Notes a column's new name.
pub(super) fn set_column(
    tx: &Transaction<'_>,
    field: &FieldRow,
    column: &str,
) -> Result<(), StoreError> {
    tx.prepare_cached("UPDATE sync_fields SET column_name = :column WHERE object = :object AND property = :property")?
        .execute(named_params! { ":object": field.object, ":property": field.property, ":column": column })?;
    Ok(())
}

/// The mapping no longer has the field.
pub(super) fn unmap(
    tx: &Transaction<'_>,
    field: &FieldRow,
    now: Timestamp,
) -> Result<(), StoreError> {
    unreadable::forget_property(tx, &field.object, &field.property)?;
    tx.prepare_cached(
        "UPDATE sync_fields
         SET state = 'unmapped', since = :now, problem = NULL, hint = NULL, code = NULL
         WHERE object = :object AND property = :property",
    )?
    .execute(named_params! { ":object": field.object, ":property": field.property, ":now": now.to_string() })?;
    Ok(())
}
