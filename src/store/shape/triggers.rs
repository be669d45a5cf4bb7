//! What a local write means: the triggers of a mirror table, as SQL text. `repair.rs` puts them into the file.
//!
//! They run in every client, so they use nothing newer than SQLite 3.37, handle conflicts by `ON CONFLICT DO …` or
//! `NOT EXISTS` (a statement's own `OR REPLACE` would override anything else), and let their own writes through by opening
//! `_sync_gate` first and closing it last. The daemon's own connection fires none of them. `local_sql.rs` tests each
//! statement that a program may write.
//!
//! An UPDATE is refused after it, not before: with any BEFORE UPDATE trigger SQLite 3.37 takes no whole number for a REAL
//! column of a STRICT table.
//!
//! | trigger | does |
//! |---|---|
//! | `…_before_insert` | notes the rows that the insert stands for: the only place where a REPLACE can be seen |
//! | `…_insert` | a create |
//! | `…_insert_again` | where a row was noted: the update that a REPLACE, or a DELETE and INSERT, was meant as |
//! | `…_refuse` | refuses an UPDATE of what can't be pushed |
//! | `…_before_replace` | notes the rows that an UPDATE collides with, for `UPDATE OR REPLACE`, where the user has UNIQUE indexes |
//! | `…_update` | an update, field by field |
//! | `…_delete` | an archive, or nothing where HubSpot never saw the row |
//! | `…_past_by_…` | marks the table where a program writes while the gate is open, so that none of the others sees it |
//!
//! A table whose object left the mapping has none of these, and `sync_unmapped_…` instead, which refuse every write.

use crate::model::mapping::{Direction, FieldMapping, ObjectMapping};
use crate::model::value::{LONGEST_VALUE, PropertyType};
use crate::store::outbox::UNWRITABLE;
use crate::store::shape::bypassed;
use crate::store::shape::ddl::{each, literal, quoted};
use crate::store::shape::views::NOW;

/// The key of a create: 128 random bits.
pub(crate) const KEY: &str = "lower(hex(randomblob(16)))";

/// Whether a statement comes from a program, not from one of these triggers.
pub(crate) const FROM_OUTSIDE: &str = "(SELECT open FROM _sync_gate) = 0";
/// Whether the gate hides a statement from these triggers: it is open, or its row is gone.
const PAST_THE_GATE: &str = "(SELECT open FROM _sync_gate) IS NOT 0";
/// What our triggers write to open the gate: nothing that a person would write, so that `SET open = 1` is refused.
pub(crate) const OPENED: i64 = 20_813;
pub(crate) const OPEN_GATE: &str = "UPDATE _sync_gate SET open = 20813";
pub(crate) const CLOSE_GATE: &str = "UPDATE _sync_gate SET open = 0";

/// How the triggers of a table begin whose object is not mapped.
pub(crate) const UNMAPPED_PREFIX: &str = "sync_unmapped_";

/// A trigger or view by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Made {
    pub(crate) name: String,
    pub(crate) sql: String,
}

/// A mirror table as it lies in the file, for its triggers.
#[derive(Debug)]
pub(crate) struct MirrorShape<'a> {
    pub(crate) object: &'a ObjectMapping,
    /// Columns that the mapping does not know: the user's own, and those that were mapped once.
    pub(crate) own_columns: Vec<String>,
    /// The user's UNIQUE indexes: for each the conditions that hold for a row of the same key as `new`.
    pub(crate) unique: Vec<Vec<String>>,
}

impl MirrorShape<'_> {
    fn table(&self) -> String {
        quoted(self.object.table.as_str())
    }

    fn object(&self) -> String {
        literal(self.object.object.as_str())
    }

    /// Whether a field only comes from HubSpot.
    fn is_pulled(&self, field: &FieldMapping) -> bool {
        !self.object.direction.pushes() || !field.direction.pushes()
    }

    /// The fields that only come from HubSpot.
    fn pulled(&self) -> impl Iterator<Item = &FieldMapping> {
        let fields = self.object.fields.iter();
        fields.filter(|field| self.is_pulled(field))
    }

    /// The fields whose writes are taken, also while they are left out of requests: then they wait.
    fn pushed(&self) -> impl Iterator<Item = &FieldMapping> {
        let fields = self.object.fields.iter();
        fields.filter(|field| !self.is_pulled(field))
    }

    fn refusal(&self, field: &FieldMapping) -> String {
        let (table, column) = (&self.object.table, &field.column);
        raise(&format!(
            "{table}.{column} comes from HubSpot and can not be written here: leave it as it is"
        ))
    }

    fn trigger(&self, kind: &str, event: &str, when: &str, steps: &[String]) -> Made {
        made(
            &format!("sync_mirror_{}_{kind}", self.object.table),
            event,
            &self.table(),
            when,
            steps,
        )
    }
}

/// A trigger's text, sealed so that an altered one is known.
pub(crate) fn made(name: &str, event: &str, table: &str, when: &str, steps: &[String]) -> Made {
    let steps = each(steps, |step| format!("    {step};\n"));
    let sql = format!(
        "CREATE TRIGGER {} {event} ON {table}\nWHEN {when}\nBEGIN\n{steps}END",
        quoted(name)
    );
    Made {
        name: name.to_owned(),
        sql,
    }
}

pub(crate) fn raise(sentence: &str) -> String {
    format!("RAISE(ABORT, {})", literal(sentence))
}

/// The triggers of a mirror table.
pub(crate) fn of_mirror(shape: &MirrorShape<'_>) -> Vec<Made> {
    let mut all = vec![
        before_insert(shape),
        insert(shape),
        refuse_update(shape),
        update(shape),
        delete(shape),
    ];
    all.extend(insert_again(shape));
    all.extend(before_replace(shape));
    all.extend(past_the_gate(shape));
    all
}

/// The triggers of a table whose object the mapping no longer has: they refuse what nobody would push. `columns` are those
/// that are hubsyncd's; the user's own stay free.
pub(crate) fn of_unmapped(object: &str, table: &str, columns: &[String]) -> Vec<Made> {
    let sentence = format!(
        "{object} is not in the mapping file, so that nothing written to {table} would reach HubSpot: map {object} again, \
         or go on in a table of your own (CREATE TABLE ... AS SELECT * FROM {table})"
    );
    let refuse = [format!("SELECT {}", raise(&sentence))];
    let changes: Vec<String> = columns
        .iter()
        .map(|column| {
            let column = quoted(column);
            format!("new.{column} IS NOT old.{column}")
        })
        .collect();
    let made = |kind: &str, event: &str, when: &str| {
        let name = format!("{UNMAPPED_PREFIX}{table}_{kind}");
        made(&name, event, &quoted(table), when, &refuse)
    };
    // What `OR IGNORE` skips meets no trigger that comes after it, and its number would stay.
    let number = self::made(
        &format!("{UNMAPPED_PREFIX}{table}_number"),
        "BEFORE INSERT",
        &quoted(table),
        &format!("{FROM_OUTSIDE} AND new.\"local_id\" > {LARGEST_GIVEN_ID}"),
        &[refuse_number(table)],
    );
    vec![
        number,
        made("insert", "AFTER INSERT", FROM_OUTSIDE),
        made(
            "update",
            "AFTER UPDATE",
            &format!("{FROM_OUTSIDE} AND {}", any(&changes)),
        ),
        made("delete", "AFTER DELETE", FROM_OUTSIDE),
    ]
}

/// Terms joined in groups, so that no client's limit on the depth of an expression is met.
fn any(terms: &[String]) -> String {
    let groups: Vec<String> = terms
        .chunks(50)
        .map(|group| format!("({})", group.join(" OR ")))
        .collect();
    if groups.is_empty() {
        "0".to_owned()
    } else {
        format!("({})", groups.join(" OR "))
    }
}

/// Canonical text of a value, as `model/value.rs` writes it: empty text as NULL, booleans by name, a time in UTC to the
/// millisecond, whole numbers without `.0`, others with as few digits as read back the same and without an exponent.
/// `kind` is `PLAIN`, `BOOL` or `TIME`.
fn canonical(value: &str, kind: &str) -> String {
    let fifteen = format!("printf('%.15g', {value})");
    format!(
        "CASE WHEN {value} IS NULL OR {value} = '' THEN NULL \
         WHEN typeof({value}) = 'text' THEN CASE {kind} WHEN {TIME} \
         THEN coalesce(strftime('%Y-%m-%dT%H:%M:%fZ', {value}), {value}) ELSE {value} END \
         WHEN typeof({value}) = 'integer' THEN CASE WHEN {kind} <> {BOOL} THEN CAST({value} AS TEXT) WHEN {value} THEN 'true' ELSE 'false' END \
         WHEN abs({value}) < 9007199254740992.0 AND {value} = CAST({value} AS INTEGER) THEN CAST(CAST({value} AS INTEGER) AS TEXT) \
         WHEN instr({fifteen}, 'e') = 0 AND CAST({fifteen} AS REAL) = {value} THEN {fifteen} \
         ELSE {} END",
        plain_decimal(value)
    )
}

/// A REAL in digits and a point: its shortest form with an exponent (15 to 17 digits), taken apart and put together anew.
fn plain_decimal(value: &str) -> String {
    let digits = |format: &str| format!("printf('{format}', abs({value}))");
    let (fifteen, sixteen, seventeen) = (digits("%.14e"), digits("%!.15e"), digits("%!.16e"));
    let zeros = |count: &str| format!("substr(hex(zeroblob(({count}) / 2 + 1)), 1, {count})");
    format!(
        "(SELECT CASE WHEN {value} < 0 THEN '-' ELSE '' END || CASE \
         WHEN x < 0 THEN '0.' || {before} || d \
         WHEN length(d) <= x + 1 THEN d || {after} \
         ELSE substr(d, 1, x + 1) || '.' || substr(d, x + 2) END \
         FROM (SELECT rtrim(replace(substr(s, 1, instr(s, 'e') - 1), '.', ''), '0') AS d, \
         CAST(substr(s, instr(s, 'e') + 1) AS INTEGER) AS x \
         FROM (SELECT CASE WHEN CAST({fifteen} AS REAL) = abs({value}) THEN {fifteen} \
         WHEN CAST({sixteen} AS REAL) = abs({value}) THEN {sixteen} ELSE {seventeen} END AS s)))",
        before = zeros("-x - 1"),
        after = zeros("x + 1 - length(d)"),
    )
}

/// How a column's value is spelled: as it is, as a boolean, as a time.
const PLAIN: u8 = 0;
const BOOL: u8 = 1;
const TIME: u8 = 2;
/// In a row's JSON: a value of the user's own, which keeps its class (`store/rowjson.rs` reads it again).
const OWN: u8 = 3;

/// Canonical text of a column of a type.
pub(crate) fn canonical_column(column: &str, property_type: PropertyType) -> String {
    canonical(column, &kind_of(property_type).to_string())
}

fn kind(field: &FieldMapping) -> u8 {
    kind_of(field.property_type)
}

fn kind_of(property_type: PropertyType) -> u8 {
    match property_type {
        PropertyType::Bool => BOOL,
        PropertyType::Datetime => TIME,
        PropertyType::String
        | PropertyType::Number
        | PropertyType::Decimal
        | PropertyType::Integer
        | PropertyType::Date
        | PropertyType::Enumeration
        | PropertyType::Set => PLAIN,
    }
}

/// The whole row of `from` as JSON: mapped values under their properties' names, the rest under names that begin with `$`,
/// and one value more. A list of VALUES has no limit on its length, `json_object` has one on its arguments.
fn row_json(shape: &MirrorShape<'_>, from: &str, more: Option<(&str, &str)>) -> String {
    let mapped = shape.object.fields.iter().map(|field| {
        format!(
            "({}, {}, +{from}.{})",
            literal(field.property.as_str()),
            kind(field),
            quoted(field.column.as_str())
        )
    });
    let fixed = ["local_id", "hs_created_at", "hs_modified_at", "hs_archived"]
        .iter()
        .map(|name| {
            format!(
                "({}, {PLAIN}, +{from}.{})",
                literal(&format!("${name}")),
                quoted(name)
            )
        });
    let own = shape.own_columns.iter().map(|name| {
        let column = format!("{from}.{}", quoted(name));
        let key = |class: &str| literal(&format!("${class}:{name}"));
        format!(
            "(CASE typeof({column}) WHEN 'blob' THEN {} WHEN 'real' THEN {} ELSE {} END, {OWN}, \
             CASE typeof({column}) WHEN 'blob' THEN hex({column}) ELSE {column} END)",
            key("blob"),
            key("real"),
            key("column")
        )
    });
    let values = mapped
        .chain(fixed)
        .chain(own)
        .chain(more.map(|(name, value)| format!("({}, {PLAIN}, {value})", literal(name))))
        .collect::<Vec<_>>()
        .join(", ");
    format!(
        "(SELECT json_group_object(column1, CASE WHEN column2 = {OWN} AND typeof(column3) <> 'real' THEN column3 \
         ELSE {} END) FROM (VALUES {values}))",
        canonical("column3", "column2")
    )
}

/// The condition that finds a row's own entry, in the words of the index `sync_outbox_record`.
fn entry(shape: &MirrorShape<'_>, alias: &str, local_id: &str) -> String {
    format!(
        "{alias}object = {} AND {alias}local_id = {local_id} AND {alias}operation IN ('create', 'update', 'archive')",
        shape.object()
    )
}

fn changed(field: &FieldMapping) -> String {
    let column = quoted(field.column.as_str());
    format!("new.{column} IS NOT old.{column}")
}

/// Rows that a new row collides with, by id and by each of the user's own UNIQUE indexes.
fn collisions(shape: &MirrorShape<'_>, by_id: bool) -> Vec<String> {
    let table = shape.table();
    let find = |condition: String| format!("SELECT \"local_id\" FROM {table} WHERE {condition}");
    let ids = ["local_id", "hs_id"]
        .iter()
        .filter(|_| by_id)
        .map(|name| find(format!("\"{name}\" = new.\"{name}\"")));
    let unique = shape.unique.iter().map(|same| {
        let mut conditions = same.clone();
        if !by_id {
            conditions.push("\"local_id\" <> old.\"local_id\"".to_owned());
        }
        find(conditions.join(" AND "))
    });
    ids.chain(unique).collect()
}

fn clear_notes(shape: &MirrorShape<'_>) -> String {
    format!(
        "DELETE FROM _sync_replaced WHERE object = {}",
        shape.object()
    )
}

/// Notes the rows that an INSERT may stand for: those that it collides with, and one that was deleted and whose entry is
/// still here. It refuses nothing but a number that leaves no room, since an UPSERT passes here too. Notes stay until the
/// next INSERT or the daemon's next look, so that of the two triggers that follow only one finds what it is for.
fn before_insert(shape: &MirrorShape<'_>) -> Made {
    let (table, object) = (shape.table(), shape.object());
    let found = collisions(shape, true);
    let former = former_entries(shape);
    let mut any_of: Vec<String> = found
        .iter()
        .map(|query| format!("EXISTS ({query})"))
        .collect();
    any_of.extend(
        former
            .iter()
            .map(|condition| format!("EXISTS (SELECT 1 FROM sync_outbox WHERE {condition})")),
    );
    any_of.push(format!(
        "EXISTS (SELECT 1 FROM _sync_replaced WHERE object = {object})"
    ));
    any_of.push(format!("new.\"local_id\" > {LARGEST_GIVEN_ID}"));
    let when = format!("{FROM_OUTSIDE} AND {}", any(&any_of));
    let create = format!(
        "(SELECT key FROM sync_outbox WHERE {} AND operation = 'create')",
        entry(shape, "", "e.\"local_id\"")
    );
    let note = format!(
        "INSERT INTO _sync_replaced (object, local_id, hs_id, row) \
         SELECT {object}, e.\"local_id\", e.\"hs_id\", {} \
         FROM {table} AS e WHERE e.\"local_id\" IN ({})",
        row_json(shape, "e", Some(("$create", &create))),
        found.join(" UNION "),
    );
    let mut steps = vec![
        refuse_number(shape.object.table.as_str()),
        OPEN_GATE.to_owned(),
        clear_notes(shape),
        note,
    ];
    steps.extend(former.iter().map(|condition| {
        format!(
            "INSERT INTO _sync_replaced (object, local_id, hs_id, row) \
             SELECT object, local_id, hs_id, row FROM sync_outbox WHERE {condition} ON CONFLICT DO NOTHING"
        )
    }));
    steps.push(CLOSE_GATE.to_owned());
    shape.trigger("before_insert", "BEFORE INSERT", &when, &steps)
}

/// Conditions that find the entry of a deleted row that an INSERT brings back, by its record or by its own id.
fn former_entries(shape: &MirrorShape<'_>) -> [String; 2] {
    let object = shape.object();
    let kept = "row IS NOT NULL AND operation IN ('create', 'update', 'archive')";
    [
        format!("object = {object} AND hs_id = new.\"hs_id\" AND {kept}"),
        format!(
            "object = {object} AND local_id = new.\"local_id\" AND new.\"hs_id\" IS NULL AND {kept}"
        ),
    ]
}

/// What the one valid note says, or NULL.
fn noted(shape: &MirrorShape<'_>, what: &str) -> String {
    format!(
        "(SELECT {what} FROM _sync_replaced WHERE object = {})",
        shape.object()
    )
}

fn noted_json(shape: &MirrorShape<'_>, key: &str) -> String {
    noted(
        shape,
        &format!("json_extract(row, {})", literal(&format!("$.\"{key}\""))),
    )
}

/// A new row is a create, unless it stands for a row that was there.
fn insert(shape: &MirrorShape<'_>) -> Made {
    if !shape.object.direction.pushes() {
        let sentence = format!(
            "{} comes from HubSpot: rows can not be inserted here",
            shape.object.table
        );
        return shape.trigger(
            "insert",
            "AFTER INSERT",
            FROM_OUTSIDE,
            &[format!("SELECT {}", raise(&sentence))],
        );
    }
    let when = format!("{FROM_OUTSIDE} AND NOT {}", is_noted(shape));
    // A list of VALUES and no SELECT, which SQLite would copy into a table of its own for each row.
    let create = format!(
        "INSERT INTO sync_outbox (object, local_id, operation, enqueued_at, next_attempt_at, waits_for, key) \
         VALUES ({}, new.\"local_id\", 'create', {NOW}, {}, {}, {KEY}) ON CONFLICT DO NOTHING",
        shape.object(),
        due_at_once(shape),
        waits_for_backfill(shape),
    );
    let steps = [
        OPEN_GATE.to_owned(),
        refuse_insert(shape),
        create,
        CLOSE_GATE.to_owned(),
    ];
    shape.trigger("insert", "AFTER INSERT", &when, &steps)
}

fn is_noted(shape: &MirrorShape<'_>) -> String {
    format!(
        "EXISTS (SELECT 1 FROM _sync_replaced WHERE object = {})",
        shape.object()
    )
}

/// A row that a REPLACE has just overwritten, or one that was deleted and whose archive is still pending: the new row takes
/// its identity, and the difference between the two is an update.
fn insert_again(shape: &MirrorShape<'_>) -> Option<Made> {
    if !shape.object.direction.pushes() {
        return None;
    }
    let local_id = format!("coalesce({}, new.\"local_id\")", noted(shape, "local_id"));
    let hs_id = noted(shape, "hs_id");
    let mut steps = vec![OPEN_GATE.to_owned()];
    steps.extend(find_former(shape));
    steps.push(refuse_insert(shape));
    steps.push(take_identity(shape));
    steps.push(changed_since_note(shape));
    steps.push(revive_entry(shape));
    steps.push(queue_create(shape, &local_id));
    steps.extend(queue_changes(shape, &local_id, &hs_id));
    steps.push(CLOSE_GATE.to_owned());
    let when = format!("{FROM_OUTSIDE} AND {}", is_noted(shape));
    Some(shape.trigger("insert_again", "AFTER INSERT", &when, &steps))
}

/// Leaves at most one note: the row that the new one stands for.
fn find_former(shape: &MirrorShape<'_>) -> [String; 3] {
    let (table, object) = (shape.table(), shape.object());
    let still_there = format!(
        "DELETE FROM _sync_replaced WHERE object = {object} AND local_id <> new.\"local_id\" \
         AND EXISTS (SELECT 1 FROM {table} AS e WHERE e.\"local_id\" = _sync_replaced.local_id)"
    );
    let two = format!(
        "{} would overwrite two rows: DELETE one of them first",
        shape.object.table
    );
    let refuse_two = format!(
        "SELECT {} WHERE (SELECT count(*) FROM _sync_replaced WHERE object = {object}) > 1",
        raise(&two)
    );
    let archiving = format!(
        "the former row of {} is being archived in HubSpot at this moment: INSERT it without local_id and hs_id to make a new record",
        shape.object.table
    );
    let refuse_archiving = format!(
        "SELECT {} WHERE EXISTS (SELECT 1 FROM sync_outbox WHERE {} AND operation = 'archive' \
         AND (state = 'in_flight' OR unanswered_since IS NOT NULL))",
        raise(&archiving),
        entry(shape, "", &noted(shape, "local_id")),
    );
    [still_there, refuse_two, refuse_archiving]
}

/// SQLite gives no number after the largest one that a row ever had, or that an INSERT tried: one of 2⁶³ − 1 would end all
/// inserts, the daemon's too. What JSON and every language can count to is enough.
pub(crate) const LARGEST_LOCAL_ID: i64 = 9_007_199_254_740_991;

/// The largest number that a program may give a row itself: as many numbers as below it are left for the rows after it.
const LARGEST_GIVEN_ID: i64 = 1 << 52;

/// Refuses a number that leaves no room, before the row is there: of a row that `OR IGNORE` skips the number would stay.
fn refuse_number(table: &str) -> String {
    let sentence = format!(
        "this {table}.local_id leaves no room for rows after it: leave local_id out, or use one up to {LARGEST_GIVEN_ID}"
    );
    format!(
        "SELECT {} WHERE new.\"local_id\" > {LARGEST_GIVEN_ID}",
        raise(&sentence)
    )
}

/// Whether a text is longer than HubSpot takes. In characters, which SQLite counts up to the first NUL: what is behind one
/// is bounded by the bytes that so many characters have at most.
fn is_too_long(value: &str) -> String {
    let bytes = format!("length(CAST({value} AS BLOB))");
    format!(
        "({bytes} > {LONGEST_VALUE} AND (length({value}) > {LONGEST_VALUE} OR {bytes} > {}))",
        4 * LONGEST_VALUE
    )
}

impl MirrorShape<'_> {
    /// Fields that a program writes as text of any length.
    fn texts(&self) -> impl Iterator<Item = &FieldMapping> {
        self.pushed()
            .filter(|field| field.property_type.sql_type() == "TEXT")
    }

    fn too_long(&self, field: &FieldMapping) -> String {
        raise(&format!(
            "{}.{} takes {LONGEST_VALUE} characters, as many as HubSpot does: write a shorter text",
            self.object.table, field.column
        ))
    }
}

/// Refuses values that only HubSpot gives, unless they are what the former row had, and values that HubSpot never takes.
fn refuse_insert(shape: &MirrorShape<'_>) -> String {
    let table = &shape.object.table;
    let mut cases = vec![
        format!(
            "WHEN {} = '1' THEN {}",
            noted_json(shape, "$hs_archived"),
            raise(&format!(
                "this record of {table} is archived in HubSpot: DELETE its row, or restore it in HubSpot"
            ))
        ),
        format!(
            "WHEN new.\"hs_id\" IS NOT NULL AND new.\"hs_id\" IS NOT {} THEN {}",
            noted(shape, "hs_id"),
            raise(&format!(
                "{table}.hs_id is given by HubSpot: leave hs_id out"
            ))
        ),
        format!(
            "WHEN new.\"hs_archived\" <> 0 THEN {}",
            raise(&format!(
                "{table}.hs_archived is set by hubsyncd: leave hs_archived out"
            ))
        ),
        // Before the insert −1 stands for a number that SQLite is to give.
        format!(
            "WHEN new.\"local_id\" < 1 AND new.\"local_id\" IS NOT {} THEN {}",
            noted(shape, "local_id"),
            raise(&format!(
                "{table}.local_id counts from 1: leave local_id out, or use a number from 1"
            ))
        ),
    ];
    for name in ["hs_created_at", "hs_modified_at"] {
        cases.push(format!(
            "WHEN new.{column} IS NOT NULL AND new.{column} IS NOT {noted} THEN {raise}",
            column = quoted(name),
            noted = noted_json(shape, &format!("${name}")),
            raise = raise(&format!(
                "{table}.{name} is given by HubSpot: leave {name} out"
            )),
        ));
    }
    for field in shape.pulled() {
        let value = format!("new.{}", quoted(field.column.as_str()));
        cases.push(format!(
            "WHEN {value} <> '' AND {} IS NOT {} THEN {}",
            canonical(&value, &kind(field).to_string()),
            noted_json(shape, field.property.as_str()),
            shape.refusal(field),
        ));
    }
    // What HubSpot itself holds may be longer: a REPLACE writes it again.
    for field in shape.texts() {
        let value = format!("new.{}", quoted(field.column.as_str()));
        cases.push(format!(
            "WHEN {} AND {value} IS NOT {} THEN {}",
            is_too_long(&value),
            noted_json(shape, field.property.as_str()),
            shape.too_long(field),
        ));
    }
    format!("SELECT CASE {} END", cases.join(" "))
}

/// The canonical text of the note as the column stores it.
fn noted_column(shape: &MirrorShape<'_>, field: &FieldMapping) -> String {
    let text = noted_json(shape, field.property.as_str());
    match field.property_type {
        PropertyType::Bool => format!("CASE {text} WHEN 'true' THEN 1 WHEN 'false' THEN 0 END"),
        PropertyType::Number => format!("CAST({text} AS REAL)"),
        PropertyType::Integer => format!("CAST({text} AS INTEGER)"),
        PropertyType::String
        | PropertyType::Decimal
        | PropertyType::Date
        | PropertyType::Datetime
        | PropertyType::Enumeration
        | PropertyType::Set => text,
    }
}

/// Gives the new row the former one's ids, times and values that only HubSpot gives.
fn take_identity(shape: &MirrorShape<'_>) -> String {
    let mut settings = vec![
        format!("\"local_id\" = {}", noted(shape, "local_id")),
        format!("\"hs_id\" = {}", noted(shape, "hs_id")),
        format!(
            "\"hs_created_at\" = {}",
            noted_json(shape, "$hs_created_at")
        ),
        format!(
            "\"hs_modified_at\" = {}",
            noted_json(shape, "$hs_modified_at")
        ),
    ];
    settings.extend(shape.pulled().map(|field| {
        format!(
            "{} = {}",
            quoted(field.column.as_str()),
            noted_column(shape, field)
        )
    }));
    format!(
        "UPDATE {} SET {} WHERE \"local_id\" = new.\"local_id\" AND EXISTS (SELECT 1 FROM _sync_replaced WHERE object = {})",
        shape.table(),
        settings.join(", "),
        shape.object(),
    )
}

/// Into `_sync_changed`: the fields in which the new row differs from the noted one. The list comes first: as the inner
/// loop SQLite would make a table of it for each row, and an insert take ten times as long.
fn changed_since_note(shape: &MirrorShape<'_>) -> String {
    let values: Vec<String> = shape
        .pushed()
        .map(|field| {
            format!(
                "({}, {}, +new.{})",
                literal(field.property.as_str()),
                kind(field),
                quoted(field.column.as_str())
            )
        })
        .collect();
    if values.is_empty() {
        return "DELETE FROM _sync_changed".to_owned();
    }
    let becomes = canonical("v.column3", "v.column2");
    let was = "json_extract(n.row, '$.\"' || v.column1 || '\"')";
    format!(
        "INSERT INTO _sync_changed (property, base_value, new_value, real_value) \
         SELECT v.column1, {was}, {becomes}, CASE typeof(v.column3) WHEN 'real' THEN v.column3 END \
         FROM (VALUES {}) AS v CROSS JOIN _sync_replaced AS n \
         WHERE n.object = {} AND {was} IS NOT {becomes}",
        values.join(", "),
        shape.object(),
    )
}

/// The row is back: what a DELETE made of its entry is undone. A dead one is due again.
fn revive_entry(shape: &MirrorShape<'_>) -> String {
    format!(
        "UPDATE sync_outbox SET \
         version = version + 1, row = NULL, discarded_at = NULL, \
         attempts = CASE WHEN operation = 'archive' OR state = 'dead' THEN 0 ELSE attempts END, \
         next_attempt_at = CASE WHEN operation = 'archive' OR state = 'dead' THEN enqueued_at ELSE next_attempt_at END, \
         waits_for = CASE operation WHEN 'archive' THEN NULL ELSE waits_for END, \
         approved_hold = CASE operation WHEN 'archive' THEN NULL ELSE approved_hold END, \
         last_error = CASE operation WHEN 'archive' THEN NULL ELSE last_error END, \
         state = CASE state WHEN 'dead' THEN 'pending' ELSE state END, \
         operation = CASE operation WHEN 'archive' THEN 'update' ELSE operation END \
         WHERE {} AND row IS NOT NULL",
        entry(shape, "", &noted(shape, "local_id"))
    )
}

/// Creates wait for the first backfill, so that a filled local table meets the records that HubSpot has already.
fn waits_for_backfill(shape: &MirrorShape<'_>) -> String {
    if shape.object.direction == Direction::Push {
        return "NULL".to_owned();
    }
    format!(
        "(SELECT 'backfill' FROM _sync_cursors WHERE object = {} AND backfill <> 'done')",
        shape.object()
    )
}

/// What waits for the backfill has no time, so that a long queue of it costs a look at what is due nothing.
fn due_at_once(shape: &MirrorShape<'_>) -> String {
    format!(
        "CASE WHEN {} IS NULL THEN {NOW} END",
        waits_for_backfill(shape)
    )
}

/// A row that was never there is a create; so is one whose create a REPLACE has just taken away.
fn queue_create(shape: &MirrorShape<'_>, local_id: &str) -> String {
    let (object, former_key) = (shape.object(), noted_json(shape, "$create"));
    format!(
        "INSERT INTO sync_outbox (object, local_id, operation, enqueued_at, next_attempt_at, waits_for, key) \
         SELECT {object}, {local_id}, 'create', {NOW}, {due}, {waits_for}, coalesce({former_key}, {KEY}) \
         WHERE NOT EXISTS (SELECT 1 FROM sync_outbox WHERE {entry}) \
         AND ({former_key} IS NOT NULL OR NOT EXISTS (SELECT 1 FROM _sync_replaced WHERE object = {object}))",
        due = due_at_once(shape),
        waits_for = waits_for_backfill(shape),
        entry = entry(shape, "", local_id),
    )
}

/// Carries `_sync_changed` over into the row's open conflicts, its entry and its fields.
fn queue_changes(shape: &MirrorShape<'_>, local_id: &str, hs_id: &str) -> Vec<String> {
    let object = shape.object();
    let conflicts = format!("object = {object} AND local_id = {local_id} AND resolved_at IS NULL");
    let own = entry(shape, "", local_id);
    let settled = format!(
        "{own} AND operation = 'update' AND state <> 'in_flight' AND unanswered_since IS NULL"
    );
    vec![
        // A field in an open conflict waits for a person: only the conflict learns of the write.
        format!(
            "UPDATE sync_conflicts SET local_value = \
             (SELECT c.new_value FROM _sync_changed AS c WHERE c.property = sync_conflicts.property) \
             WHERE {conflicts} AND property IN (SELECT property FROM _sync_changed)"
        ),
        format!(
            "DELETE FROM _sync_changed WHERE property IN (SELECT property FROM sync_conflicts WHERE {conflicts})"
        ),
        format!(
            "UPDATE sync_outbox SET version = version + 1, discarded_at = NULL, \
             attempts = CASE state WHEN 'dead' THEN 0 ELSE attempts END, \
             next_attempt_at = CASE WHEN state = 'dead' OR last_error = {unwritable} THEN enqueued_at ELSE next_attempt_at END, \
             last_error = CASE WHEN last_error = {unwritable} THEN NULL ELSE last_error END, \
             state = CASE state WHEN 'dead' THEN 'pending' ELSE state END \
             WHERE {own} AND operation <> 'archive' AND EXISTS (SELECT 1 FROM _sync_changed)",
            // What can't be written rests for a while; what is written now must not wait for it.
            unwritable = literal(UNWRITABLE),
        ),
        format!(
            "INSERT INTO sync_outbox (object, local_id, hs_id, operation, enqueued_at, next_attempt_at, waits_for, key) \
             SELECT {object}, {local_id}, {hs_id}, 'update', {NOW}, {NOW}, NULL, NULL \
             WHERE {hs_id} IS NOT NULL AND EXISTS (SELECT 1 FROM _sync_changed) \
             AND NOT EXISTS (SELECT 1 FROM sync_outbox WHERE {own})"
        ),
        // A row without a record and without an entry is one whose create was discarded: the next write creates it.
        format!(
            "INSERT INTO sync_outbox (object, local_id, hs_id, operation, enqueued_at, next_attempt_at, waits_for, key) \
             SELECT {object}, {local_id}, NULL, 'create', {NOW}, {due}, {waits_for}, {KEY} \
             WHERE {hs_id} IS NULL AND EXISTS (SELECT 1 FROM _sync_changed) \
             AND NOT EXISTS (SELECT 1 FROM sync_outbox WHERE {own})",
            due = due_at_once(shape),
            waits_for = waits_for_backfill(shape),
        ),
        // The first write saves the base. A create sends whole rows: its fields say when a column was written after the INSERT,
        // and while an attempt is open, that it was written since.
        format!(
            "INSERT INTO sync_outbox_fields (outbox_id, property, base_value, changed_at, base_known) \
             SELECT e.id, c.property, CASE e.operation WHEN 'update' THEN c.base_value END, {NOW}, e.operation = 'update' \
             FROM sync_outbox AS e CROSS JOIN _sync_changed AS c \
             WHERE {} AND e.operation <> 'archive' \
             ON CONFLICT (outbox_id, property) DO UPDATE SET changed_at = excluded.changed_at",
            entry(shape, "e.", local_id),
        ),
        // Back to the base: nothing is left to send. Not while an attempt is open.
        format!(
            "DELETE FROM sync_outbox_fields WHERE outbox_id = (SELECT id FROM sync_outbox WHERE {settled}) \
             AND base_known = 1 AND sent_value IS NULL AND EXISTS (SELECT 1 FROM _sync_changed AS c \
             WHERE c.property = sync_outbox_fields.property \
             AND (c.new_value IS sync_outbox_fields.base_value OR c.real_value = CAST(sync_outbox_fields.base_value AS REAL)))"
        ),
        format!(
            "DELETE FROM sync_outbox WHERE {settled} \
             AND NOT EXISTS (SELECT 1 FROM sync_outbox_fields AS f WHERE f.outbox_id = sync_outbox.id)"
        ),
        "DELETE FROM _sync_changed".to_owned(),
    ]
}

/// Refuses what only HubSpot or hubsyncd may change. The user's own columns are free.
fn refuse_update(shape: &MirrorShape<'_>) -> Made {
    let table = &shape.object.table;
    let mut cases = Vec::new();
    let mut refuse = |condition: String, raise: String| cases.push((condition, raise));
    for (name, owner) in [
        ("local_id", "is the row's own id for ever"),
        ("hs_id", "is given by HubSpot"),
        ("hs_created_at", "is given by HubSpot"),
        ("hs_modified_at", "is given by HubSpot"),
        ("hs_archived", "is set by hubsyncd"),
    ] {
        refuse(
            format!("new.\"{name}\" IS NOT old.\"{name}\""),
            raise(&format!("{table}.{name} {owner}: leave it as it is")),
        );
    }
    for field in shape.pulled() {
        refuse(changed(field), shape.refusal(field));
    }
    for field in shape.texts() {
        let value = format!("new.{}", quoted(field.column.as_str()));
        refuse(
            format!("({} AND {})", changed(field), is_too_long(&value)),
            shape.too_long(field),
        );
    }
    let pushed: Vec<String> = shape.pushed().map(changed).collect();
    let archived = format!(
        "this record of {table} is archived in HubSpot: DELETE its row, or restore it in HubSpot"
    );
    refuse(
        format!("(old.\"hs_archived\" = 1 AND {})", any(&pushed)),
        raise(&archived),
    );
    let conditions: Vec<String> = cases
        .iter()
        .map(|(condition, _)| condition.clone())
        .collect();
    let when = format!("{FROM_OUTSIDE} AND {}", any(&conditions));
    let arms = each(&cases, |(condition, raise)| {
        format!(" WHEN {condition} THEN {raise}")
    });
    shape.trigger(
        "refuse",
        "AFTER UPDATE",
        &when,
        &[format!("SELECT CASE{arms} END")],
    )
}

/// Notes the rows that an UPDATE collides with: `UPDATE OR REPLACE` would take them away without a DELETE trigger. By its
/// ids a row collides with none, since they can't change.
fn before_replace(shape: &MirrorShape<'_>) -> Option<Made> {
    let object = shape.object();
    let found = collisions(shape, false);
    if found.is_empty() {
        return None;
    }
    let exists = each(&found, |query| format!(" OR EXISTS ({query})"));
    let when = format!(
        "{FROM_OUTSIDE} AND (EXISTS (SELECT 1 FROM _sync_replaced WHERE object = {object}){exists})"
    );
    let note = format!(
        "INSERT INTO _sync_replaced (object, local_id, row) SELECT {object}, \"local_id\", '{{}}' FROM ({})",
        found.join(" UNION ")
    );
    let steps = [
        OPEN_GATE.to_owned(),
        clear_notes(shape),
        note,
        CLOSE_GATE.to_owned(),
    ];
    Some(shape.trigger("before_replace", "BEFORE UPDATE", &when, &steps))
}

/// An update, field by field.
fn update(shape: &MirrorShape<'_>) -> Made {
    let pushed: Vec<String> = shape.pushed().map(changed).collect();
    let mut conditions = vec![any(&pushed)];
    let mut steps = vec![OPEN_GATE.to_owned()];
    if !shape.unique.is_empty() {
        let object = shape.object();
        conditions.push(format!(
            "EXISTS (SELECT 1 FROM _sync_replaced WHERE object = {object})"
        ));
        steps.extend([refuse_replaced(shape), clear_notes(shape)]);
    }
    if !pushed.is_empty() {
        steps.push(changed_by_update(shape));
        steps.extend(queue_changes(shape, "new.\"local_id\"", "new.\"hs_id\""));
    }
    steps.push(CLOSE_GATE.to_owned());
    let when = format!("{FROM_OUTSIDE} AND {}", any(&conditions));
    shape.trigger("update", "AFTER UPDATE", &when, &steps)
}

/// Refuses where a row that was noted before is gone.
fn refuse_replaced(shape: &MirrorShape<'_>) -> String {
    let sentence = format!(
        "UPDATE OR REPLACE would take another row of {} away: DELETE that row first",
        shape.object.table
    );
    format!(
        "SELECT {} WHERE EXISTS (SELECT 1 FROM _sync_replaced AS n WHERE n.object = {} \
         AND NOT EXISTS (SELECT 1 FROM {} AS e WHERE e.\"local_id\" = n.local_id))",
        raise(&sentence),
        shape.object(),
        shape.table(),
    )
}

/// Into `_sync_changed`: the fields that an UPDATE has changed.
fn changed_by_update(shape: &MirrorShape<'_>) -> String {
    let values: Vec<String> = shape
        .pushed()
        .map(|field| {
            let column = quoted(field.column.as_str());
            format!(
                "({}, {}, +old.{column}, +new.{column})",
                literal(field.property.as_str()),
                kind(field)
            )
        })
        .collect();
    let (was, becomes) = (
        canonical("column3", "column2"),
        canonical("column4", "column2"),
    );
    format!(
        "INSERT INTO _sync_changed (property, base_value, new_value, real_value) \
         SELECT column1, {was}, {becomes}, CASE typeof(column4) WHEN 'real' THEN column4 END \
         FROM (VALUES {}) \
         WHERE column3 IS NOT column4 AND {was} IS NOT {becomes}",
        values.join(", "),
    )
}

/// An archive that keeps the whole row; nothing where HubSpot never saw it. While an attempt is open, only the row is
/// kept: settling makes the archive.
fn delete(shape: &MirrorShape<'_>) -> Made {
    if !shape.object.direction.pushes() {
        let sentence = format!(
            "{} comes from HubSpot: rows can not be deleted here",
            shape.object.table
        );
        return shape.trigger(
            "delete",
            "AFTER DELETE",
            FROM_OUTSIDE,
            &[format!("SELECT {}", raise(&sentence))],
        );
    }
    let object = shape.object();
    let own = entry(shape, "", "old.\"local_id\"");
    let unseen = format!(
        "{own} AND operation = 'create' AND (state = 'dead' OR (attempts = 0 AND unanswered_since IS NULL AND state <> 'in_flight'))"
    );
    let steps = [
        OPEN_GATE.to_owned(),
        format!(
            "DELETE FROM sync_outbox_fields WHERE outbox_id = (SELECT id FROM sync_outbox WHERE {unseen})"
        ),
        format!("DELETE FROM sync_outbox WHERE {unseen}"),
        format!(
            "INSERT INTO sync_outbox (object, local_id, hs_id, operation, enqueued_at, next_attempt_at, version) \
             SELECT {object}, old.\"local_id\", old.\"hs_id\", 'archive', {NOW}, {NOW}, 0 \
             WHERE old.\"hs_id\" IS NOT NULL AND old.\"hs_archived\" = 0 \
             AND NOT EXISTS (SELECT 1 FROM sync_outbox WHERE {own})"
        ),
        format!(
            // The DELETE's own time, also where an attempt is open: an edit in HubSpot is compared with it.
            "UPDATE sync_outbox SET row = {}, version = version + 1, discarded_at = NULL, enqueued_at = {NOW} WHERE {own}",
            row_json(shape, "old", None)
        ),
        format!(
            "UPDATE sync_outbox SET operation = 'archive', state = 'pending', attempts = 0, next_attempt_at = {NOW}, \
             last_error = NULL, waits_for = NULL, approved_hold = NULL \
             WHERE {own} AND operation = 'update' AND state <> 'in_flight' AND unanswered_since IS NULL"
        ),
        CLOSE_GATE.to_owned(),
    ];
    shape.trigger("delete", "AFTER DELETE", FROM_OUTSIDE, &steps)
}

/// What marks a write with the gate open: a program has opened it, and may close it again before the daemon looks. The one
/// such write of our own is [`take_identity`], after which the row has the number that is noted. They name no column that a
/// program may drop: it would have to drop them first.
fn past_the_gate(shape: &MirrorShape<'_>) -> [Made; 3] {
    let not_our_own = format!("new.\"local_id\" IS NOT {}", noted(shape, "local_id"));
    let mark = [bypassed::mark(shape.object)];
    [
        ("past_by_insert", "AFTER INSERT", "1"),
        ("past_by_change", "AFTER UPDATE", &not_our_own),
        ("past_by_delete", "AFTER DELETE", "1"),
    ]
    .map(|(kind, event, condition)| {
        shape.trigger(
            kind,
            event,
            &format!("{PAST_THE_GATE} AND {condition}"),
            &mark,
        )
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{
        ProptestConfig, Strategy, TestCaseError, prop_assert, prop_assert_eq, prop_oneof,
    };
    use proptest::test_runner::TestRunner;
    use rusqlite::Connection;

    use super::*;
    use crate::model::value::ColumnValue;

    fn by_sql(connection: &Connection, kind: u8, number: f64) -> Option<String> {
        let sql = format!(
            "SELECT {} FROM (SELECT ?1 AS number)",
            canonical("number", &kind.to_string())
        );
        connection
            .prepare_cached(&sql)
            .expect("is SQL")
            .query_row([number], |row| row.get(0))
            .expect("a row")
    }

    /// The last of 16 or 17 digits may be another one: SQLite's own arithmetic is not exact there. The number is the same.
    fn check(connection: &Connection, number: f64) -> Result<(), TestCaseError> {
        let expected = PropertyType::Number
            .from_column(&ColumnValue::Real(number))
            .expect("a number");
        let expected = expected.as_deref().expect("is not empty");
        let found = by_sql(connection, PLAIN, number).expect("is not NULL");
        prop_assert_eq!(found.parse(), Ok(number));
        prop_assert!(!found.contains('e') && digits_of(&found).len() <= 17);
        if digits_of(expected).len() <= 15 {
            prop_assert_eq!(found.as_str(), expected);
        }
        Ok(())
    }

    fn digits_of(text: &str) -> String {
        let digits = text.replace(['-', '.'], "");
        digits.trim_matches('0').to_owned()
    }

    #[test]
    fn sql_spells_a_number_as_the_model_does() {
        let connection = Connection::open_in_memory().expect("opens");
        let with_all_digits =
            (proptest::num::f64::NORMAL, -30..=30).prop_map(|(number, exponent)| {
                let of_one_to_two =
                    0x3ff0_0000_0000_0000 | (number.to_bits() & 0x800f_ffff_ffff_ffff);
                f64::from_bits(of_one_to_two) * 10_f64.powi(exponent)
            });
        let with_few_digits = (-99_999_999_i64..99_999_999, 0..12)
            .prop_map(|(digits, places)| digits as f64 / 10_f64.powi(places));
        let done = TestRunner::new(ProptestConfig::with_cases(4_000))
            .run(&prop_oneof![with_all_digits, with_few_digits], |number| {
                check(&connection, number)
            });
        done.expect("both spell it alike");
    }
}
