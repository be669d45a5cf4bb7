//! What a local write means: the triggers of a mirror table, as SQL text. `repair.rs` puts them into the file.
//!
//! They run in every client, so they use nothing newer than SQLite 3.37, handle conflicts by `ON CONFLICT DO …` or
//! `NOT EXISTS` (a statement's own `OR REPLACE` would override anything else), and let their own writes through by opening
//! `_sync_gate` first and closing it last: mostly the parts do (`entries.rs`), which know by a number that it is a trigger that
//! writes to them. The daemon's own connection fires none of them. `local_sql.rs` tests each
//! statement that a program may write.
//!
//! An UPDATE is refused after it, not before: with any BEFORE UPDATE trigger SQLite 3.37 takes no whole number for a REAL
//! column of a STRICT table.
//!
//! | trigger | does |
//! |---|---|
//! | `…_before_insert` | notes the rows that the insert stands for: the only place where a REPLACE can be seen |
//! | `…_insert` | refuses an INSERT of what can't be pushed; a create, unless a row was noted |
//! | `…_insert_again` | where a row was noted: the update that a REPLACE, or a DELETE and INSERT, was meant as |
//! | `…_refuse` | refuses an UPDATE of what can't be pushed |
//! | `…_before_replace`, `…_after_replace` | notes the rows that an UPDATE collides with, and refuses where `UPDATE OR REPLACE` took one away; where the user has UNIQUE indexes |
//! | `…_update` | an update, field by field |
//! | `…_delete` | an archive, or nothing where HubSpot never saw the row |
//! | `…_past_by_…` | marks the table where a program writes while the gate is open, so that none of the others sees it |
//!
//! A refusal ends with its code. What a column's CHECK refuses has SQLite's words before ours, and its code at the end: a CHECK goes
//! before any AFTER trigger, and no BEFORE trigger may say it first (an UPSERT's row passes through it, and see above).
//!
//! They say what was written, as the columns hold it; what it is in the outbox say the parts that all mirrors share
//! (`entries.rs`). The order in which SQLite fires triggers of one event is nobody's promise: none of these counts on it.
//!
//! A table whose object left the mapping has none of these, and `sync_unmapped_…` instead, which refuse every write.

use crate::model::mapping::{FieldMapping, ObjectMapping};
use crate::model::value::{LONGEST_VALUE, PropertyType};
use crate::store::shape::ddl::{each, literal, quoted};
use crate::store::shape::options;

/// The key of a create: 128 random bits.
pub(crate) const KEY: &str = "lower(hex(randomblob(16)))";

/// Whether a statement comes from a program, not from one of these triggers.
pub(crate) const FROM_OUTSIDE: &str = "(SELECT open FROM _sync_gate) = 0";
/// Whether the gate hides a statement from these triggers: it is open, or its row is gone.
const PAST_THE_GATE: &str = "(SELECT open FROM _sync_gate) IS NOT 0";
/// What our triggers write to open the gate: nothing that a person would write, so that `SET open = 1` is refused.
pub(crate) const OPENED: i64 = 20_813;
pub(crate) const OPEN_GATE: &str = "UPDATE _sync_gate SET open = 20813 WHERE id = 1";
pub(crate) const CLOSE_GATE: &str = "UPDATE _sync_gate SET open = 0 WHERE id = 1";

/// Why a row that is marked as archived takes no write.
pub(crate) const ARCHIVED: &str =
    "this record is archived: DELETE its row, or restore it in HubSpot [record-archived]";

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

    /// The pushed fields that take HubSpot's options alone, each with its new value, and whether that is none of them.
    fn strict(&self) -> impl Iterator<Item = (&FieldMapping, String, String)> {
        let fields = self.pushed();
        let strict = fields.filter(|field| options::is_strict(self.object, field));
        strict.map(|field| {
            let value = format!("new.{}", quoted(field.column.as_str()));
            let is_unknown = options::is_unknown(self.object, field, &value);
            (field, value, is_unknown)
        })
    }

    /// Fields that a program writes as text of any length.
    fn texts(&self) -> impl Iterator<Item = &FieldMapping> {
        self.pushed()
            .filter(|field| field.property_type.sql_type() == "TEXT")
    }

    fn refusal(&self, field: &FieldMapping) -> String {
        raise(&read_only(self.object, field))
    }

    fn too_long(&self, field: &FieldMapping) -> String {
        raise(&format!(
            "shorten {}.{} to {LONGEST_VALUE} characters [value-too-long]",
            self.object.table, field.column
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

/// Why nobody writes to a column here.
pub(crate) fn read_only(object: &ObjectMapping, field: &FieldMapping) -> String {
    let (table, column) = (&object.table, &field.column);
    format!("{table}.{column} comes from HubSpot: leave it [read-only]")
}

/// A trigger's text; its lines after a step's first are indented by whoever writes them.
pub(crate) fn made(name: &str, event: &str, table: &str, when: &str, steps: &[String]) -> Made {
    let steps = each(steps, |step| format!("{step};\n"));
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

/// Steps between opening the gate and closing it.
fn through_the_gate(steps: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut all = vec![OPEN_GATE.to_owned()];
    all.extend(steps);
    all.push(CLOSE_GATE.to_owned());
    all
}

/// Items of a list, a line each.
fn lines(items: impl Iterator<Item = String>) -> String {
    items.collect::<Vec<_>>().join(",\n")
}

/// A refusal for each condition that holds, a line each.
fn refuse_where(cases: &[(String, String)]) -> String {
    each(cases, |(condition, raise)| {
        format!("\nWHEN {condition} THEN {raise}")
    })
}

/// The triggers of a mirror table.
pub(crate) fn of_mirror(shape: &MirrorShape<'_>) -> Vec<Made> {
    let mut all = vec![
        before_insert(shape),
        insert(shape),
        refuse_update(shape),
        delete(shape),
    ];
    if shape.object.direction.pushes() {
        all.push(insert_again(shape));
    }
    all.extend(update(shape));
    all.extend(too_long(shape));
    all.extend(replace(shape));
    all.extend(past_the_gate(shape));
    all
}

/// The triggers of a table whose object the mapping no longer has: they refuse what nobody would push. `columns` are those
/// that are hubsyncd's; the user's own stay free.
pub(crate) fn of_unmapped(object: &str, table: &str, columns: &[String]) -> Vec<Made> {
    let sentence = format!(
        "{object} is not in the mapping file, so that nothing written to {table} would reach HubSpot: map {object} again, \
         or go on in a table of your own (CREATE TABLE ... AS SELECT * FROM {table}) [object-not-mapped]"
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
        &format!("{FROM_OUTSIDE} AND new.local_id > {LARGEST_GIVEN_ID}"),
        &[refuse_number()],
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

/// The whole row of `from` as JSON: mapped values under their properties' names, the rest under names that begin with `$`, all
/// as the columns hold them, REALs with all their digits.
fn row_json(shape: &MirrorShape<'_>, from: &str) -> String {
    let fixed = ["local_id", "hs_created_at", "hs_modified_at", "hs_archived"]
        .iter()
        .map(|name| format!("{}, {from}.{name}", literal(&format!("${name}"))));
    // A value of the user's own keeps its class (`store/rowjson.rs` reads it again).
    let own = shape.own_columns.iter().map(|name| {
        let column = format!("{from}.{}", quoted(name));
        let key = |class: &str| literal(&format!("${class}:{name}"));
        format!(
            "CASE typeof({column}) WHEN 'blob' THEN {} WHEN 'real' THEN {} ELSE {} END, \
             CASE typeof({column}) WHEN 'blob' THEN hex({column}) WHEN 'real' THEN printf('%!.17g', {column}) ELSE {column} END",
            key("blob"),
            key("real"),
            key("column")
        )
    });
    json(mapped(shape, from).chain(fixed).chain(own))
}

/// The values of the mapped columns.
fn mapped<'a>(shape: &'a MirrorShape<'_>, from: &'a str) -> impl Iterator<Item = String> + 'a {
    shape.object.fields.iter().map(move |field| {
        let column = format!("{from}.{}", quoted(field.column.as_str()));
        let value = match field.property_type.sql_type() {
            "REAL" => format!("json(nullif(quote({column}), 'NULL'))"),
            _ => column,
        };
        format!("{}, {value}", literal(field.property.as_str()))
    })
}

/// As many pairs as a function of SQLite takes arguments for, and terms as one SELECT is sure to take.
const PAIRS: usize = 60;

/// An object of these pairs. Its parts end in no brace but their own, since none of their values is an object.
fn json(pairs: impl Iterator<Item = String>) -> String {
    let pairs: Vec<String> = pairs.collect();
    let object = |pairs: &[String]| format!("json_object(\n{})", pairs.join(",\n"));
    match pairs.len() {
        0..=PAIRS => object(&pairs),
        _ => {
            let parts: Vec<String> = pairs
                .chunks(PAIRS)
                .map(|part| format!("trim({}, '{{}}')", object(part)))
                .collect();
            format!("'{{' || {} || '}}'", parts.join(" || ',' || "))
        }
    }
}

/// Queries for the rows that a new row collides with by each of the user's own UNIQUE indexes.
fn collisions(shape: &MirrorShape<'_>) -> Vec<String> {
    let table = shape.table();
    let find =
        |same: &Vec<String>| format!("SELECT local_id FROM {table} WHERE {}", same.join(" AND "));
    shape.unique.iter().map(find).collect()
}

/// The notes for the row that is inserted. Before SQLite gives it a number that is −1.
fn noted_for(shape: &MirrorShape<'_>) -> String {
    format!(
        "object = {} AND for_id IN (-1, new.local_id)",
        shape.object()
    )
}

fn is_noted(shape: &MirrorShape<'_>) -> String {
    format!(
        "EXISTS (SELECT 1 FROM _sync_replaced WHERE {})",
        noted_for(shape)
    )
}

/// Notes the rows that an INSERT may stand for: those that it collides with, and one that was deleted and whose entry is
/// still here. It refuses nothing but a number that leaves no room, since an UPSERT passes here too. A note is of use to one
/// row: the next INSERT, which may come from a trigger of the user's before the first one is done, gives it that row's number.
fn before_insert(shape: &MirrorShape<'_>) -> Made {
    let (table, object) = (shape.table(), shape.object());
    let same_id = "local_id = new.local_id OR hs_id = new.hs_id";
    let same_key = collisions(shape);
    let exists = [
        format!("SELECT 1 FROM {table} WHERE {same_id}"),
        format!("SELECT 1 FROM _sync_entry_kept WHERE object = {object} AND hs_id = new.hs_id"),
        format!(
            "SELECT 1 FROM _sync_entry_kept WHERE object = {object} AND local_id = new.local_id"
        ),
        format!("SELECT 1 FROM _sync_replaced WHERE {}", noted_for(shape)),
    ];
    let exists = each(&[exists.as_slice(), &same_key].concat(), |query| {
        format!("\nOR EXISTS ({query})")
    });
    let same_key = match same_key.as_slice() {
        [] => String::new(),
        queries => format!(" OR local_id IN ({})", queries.join(" UNION ")),
    };
    let when = format!("{FROM_OUTSIDE} AND (new.local_id > {LARGEST_GIVEN_ID}{exists})");
    let row = json(mapped(shape, "e"));
    let note = format!(
        "INSERT INTO _sync_entry_former\n\
         SELECT {OPENED}, {object}, new.local_id, e.local_id, e.hs_id, e.hs_created_at, e.hs_modified_at, e.hs_archived,\n\
         {row}\n\
         FROM {table} AS e WHERE {same_id}{same_key}"
    );
    let deleted = format!(
        "INSERT INTO _sync_entry_note VALUES ({OPENED}, {object}, new.local_id, new.hs_id, (SELECT max(local_id) FROM {table}))"
    );
    shape.trigger("before_insert", "BEFORE INSERT", &when, &[deleted, note])
}

/// A new row is a create, unless it stands for a row that was there. What can't be pushed is refused.
fn insert(shape: &MirrorShape<'_>) -> Made {
    if !shape.object.direction.pushes() {
        let sentence = format!(
            "{} comes from HubSpot: rows can not be inserted here [read-only]",
            shape.object.table
        );
        return shape.trigger(
            "insert",
            "AFTER INSERT",
            FROM_OUTSIDE,
            &[format!("SELECT {}", raise(&sentence))],
        );
    }
    // A trigger of the user's may have taken it away again.
    let insert = format!(
        "INSERT INTO _sync_entry_insert VALUES ({OPENED}, {}, (SELECT local_id FROM {} WHERE local_id = new.local_id),\n{})",
        shape.object(),
        shape.table(),
        too_long_new(shape).unwrap_or_else(|| "NULL".to_owned()),
    );
    let steps = [refuse_insert(shape), insert];
    shape.trigger("insert", "AFTER INSERT", FROM_OUTSIDE, &steps)
}

/// A row that a REPLACE has just overwritten, or one that was deleted and whose archive is still pending: the new row takes
/// its identity, and the difference between the two is an update. It takes it outside the gate: what triggers of the user's
/// write meanwhile is recorded like any other write.
fn insert_again(shape: &MirrorShape<'_>) -> Made {
    let mut steps = find_former(shape);
    steps.push(take_identity(shape));
    steps.extend(written_again(shape));
    steps.push(format!(
        "INSERT INTO _sync_entry_again VALUES ({OPENED}, {}, new.local_id)",
        shape.object()
    ));
    shape.trigger(
        "insert_again",
        "AFTER INSERT",
        &format!("{FROM_OUTSIDE} AND {}", is_noted(shape)),
        &steps,
    )
}

/// A partial UNIQUE index is met by rows that it does not hold: they are still there beside the new one, as long as that has
/// not taken the number of the row for which it stands.
fn still_there(shape: &MirrorShape<'_>, note: &str) -> Option<String> {
    let is_partial = !shape.unique.is_empty();
    is_partial.then(|| {
        format!(
            "(SELECT count(*) FROM {} WHERE local_id IN (new.local_id, {note}.local_id)) = 2",
            shape.table()
        )
    })
}

/// Leaves the note of the row that the new one stands for.
fn find_former(shape: &MirrorShape<'_>) -> Vec<String> {
    let narrow = still_there(shape, "_sync_replaced").map(|still_there| {
        through_the_gate([format!(
            "DELETE FROM _sync_replaced WHERE {} AND {still_there}",
            noted_for(shape)
        )])
    });
    let found = format!(
        "INSERT INTO _sync_entry_found VALUES ({OPENED}, {}, new.local_id)",
        shape.object()
    );
    narrow.into_iter().flatten().chain([found]).collect()
}

/// SQLite gives no number after the largest one that a row ever had, or that an INSERT tried: one of 2⁶³ − 1 would end all
/// inserts, the daemon's too. What JSON and every language can count to is enough.
pub(crate) const LARGEST_LOCAL_ID: i64 = 9_007_199_254_740_991;

/// The largest number that a program may give a row itself: as many numbers as below it are left for the rows after it.
const LARGEST_GIVEN_ID: i64 = 1 << 52;

/// Refuses a number that leaves no room, before the row is there: of a row that `OR IGNORE` skips the number would stay.
pub(crate) fn refuse_number() -> String {
    let sentence = format!(
        "this local_id leaves no room for rows after it: leave it out, or use one up to {LARGEST_GIVEN_ID} [out-of-range]"
    );
    format!(
        "SELECT {} WHERE new.local_id > {LARGEST_GIVEN_ID}",
        raise(&sentence)
    )
}

/// Whether a text is longer than HubSpot takes. In characters, which SQLite counts up to the first NUL: what is behind one
/// is bounded by the bytes that so many characters have at most.
pub(crate) fn is_too_long(value: &str) -> String {
    let bytes = format!("length(CAST({value} AS BLOB))");
    // Most texts have few bytes, and nothing of those has to be counted.
    format!("{bytes} > {LONGEST_VALUE} AND max(length({value}), {bytes} / 4.0) > {LONGEST_VALUE}")
}

/// What the note says, of a row `n` of notes.
fn noted(key: &str) -> String {
    format!("json_extract(n.row, {})", literal(&format!("$.\"{key}\"")))
}

/// Refuses values that only HubSpot gives, unless they are what the former row had, and values that HubSpot never takes.
fn refuse_insert(shape: &MirrorShape<'_>) -> String {
    let table = &shape.object.table;
    let of_note = |note: &str| {
        let still_there =
            still_there(shape, note).map(|still_there| format!(" AND NOT {still_there}"));
        format!(
            "{note}.{}{}",
            noted_for(shape),
            still_there.unwrap_or_default()
        )
    };
    let mut cases = vec![
        (
            format!(
                "(SELECT count(*) FROM _sync_replaced AS m WHERE {}) > 1",
                of_note("m")
            ),
            raise("this overwrites two rows: DELETE one first [two-rows]"),
        ),
        ("n.hs_archived = 1".to_owned(), raise(ARCHIVED)),
        (
            "coalesce(new.hs_id, n.hs_id) IS NOT n.hs_id".to_owned(),
            raise(&format!(
                "{table}.hs_id comes from HubSpot: leave it [read-only]"
            )),
        ),
        (
            "new.hs_archived <> 0".to_owned(),
            raise(&format!(
                "{table}.hs_archived is set by hubsyncd: leave it [read-only]"
            )),
        ),
        // Before the insert −1 stands for a number that SQLite is to give.
        (
            "new.local_id < 1 AND new.local_id IS NOT n.local_id".to_owned(),
            raise(&format!(
                "{table}.local_id counts from 1: leave it out [out-of-range]"
            )),
        ),
    ];
    for name in ["hs_created_at", "hs_modified_at"] {
        cases.push((
            format!("coalesce(new.{name}, n.{name}) IS NOT n.{name}"),
            raise(&format!(
                "{table}.{name} comes from HubSpot: leave it [read-only]"
            )),
        ));
    }
    for field in shape.pulled() {
        let value = format!("new.{}", quoted(field.column.as_str()));
        cases.push((
            format!("{value} <> '' AND {value} IS NOT {}", noted_column(field)),
            shape.refusal(field),
        ));
    }
    for (field, value, is_unknown) in shape.strict() {
        cases.push((
            format!("{value} IS NOT {} AND {is_unknown}", noted_column(field)),
            raise(&options::sentence(shape.object, field)),
        ));
    }
    // The gate has one row, whether there is a note or none.
    format!(
        "SELECT CASE{} END\nFROM _sync_gate LEFT JOIN _sync_replaced AS n ON {}",
        refuse_where(&cases),
        of_note("n"),
    )
}

/// A property of the new row whose text is too long. What HubSpot itself holds may be longer: a REPLACE writes it again.
fn too_long_new(shape: &MirrorShape<'_>) -> Option<String> {
    shape.texts().next()?;
    let values = shape.texts().map(|field| {
        format!(
            "({}, +new.{})",
            literal(field.property.as_str()),
            quoted(field.column.as_str())
        )
    });
    Some(format!(
        "(SELECT column1 FROM (VALUES\n{})\n\
         WHERE {} AND column2 IS NOT (SELECT json_extract(row, '$.\"' || column1 || '\"') FROM _sync_replaced WHERE {}))",
        lines(values),
        is_too_long("column2"),
        noted_for(shape),
    ))
}

/// Refuses a text that is too long. All that writes to the object comes here, so that its columns are named once.
fn too_long(shape: &MirrorShape<'_>) -> Option<Made> {
    let cases: Vec<(String, String)> = shape
        .texts()
        .map(|field| (literal(field.property.as_str()), shape.too_long(field)))
        .collect();
    let refuse = format!("SELECT CASE new.property{} END", refuse_where(&cases));
    (!cases.is_empty()).then(|| {
        made(
            &format!("sync_mirror_{}_too_long", shape.object.table),
            "INSTEAD OF INSERT",
            "\"_sync_entry_long\"",
            &format!("new.object = {}", shape.object()),
            &[refuse],
        )
    })
}

/// What the note says of a field, as its column holds it: a row that the daemon has spelled says `true`, not 1.
fn noted_column(field: &FieldMapping) -> String {
    let value = noted(field.property.as_str());
    match field.property_type {
        PropertyType::Bool => {
            format!("CASE {value} WHEN 'true' THEN 1 WHEN 'false' THEN 0 ELSE {value} END")
        }
        PropertyType::Number => format!("CAST({value} AS REAL)"),
        PropertyType::Integer => format!("CAST({value} AS INTEGER)"),
        PropertyType::String
        | PropertyType::Decimal
        | PropertyType::Date
        | PropertyType::Datetime
        | PropertyType::Enumeration
        | PropertyType::Set => value,
    }
}

/// Gives the new row the former one's ids, times and values that only HubSpot gives.
fn take_identity(shape: &MirrorShape<'_>) -> String {
    let settings = ["local_id", "hs_id", "hs_created_at", "hs_modified_at"]
        .map(|name| format!("{name} = n.{name}"));
    let pulled = shape.pulled().map(|field| {
        format!(
            "{} = {}",
            quoted(field.column.as_str()),
            noted_column(field)
        )
    });
    format!(
        "UPDATE {} SET\n{}\n\
         FROM _sync_replaced AS n WHERE n.object = {} AND n.for_id = new.local_id AND {}.local_id = new.local_id",
        shape.table(),
        lines(settings.into_iter().chain(pulled)),
        shape.object(),
        shape.table(),
    )
}

/// The new row's values into `_sync_changed`: those that the note says too are left out there.
fn written_again(shape: &MirrorShape<'_>) -> Option<String> {
    shape.pushed().next()?;
    let values = shape.pushed().map(|field| {
        format!(
            "({OPENED}, {}, +new.{})",
            literal(field.property.as_str()),
            quoted(field.column.as_str())
        )
    });
    Some(format!(
        "INSERT INTO _sync_changed (writer, property, new_value) VALUES\n{}",
        lines(values)
    ))
}

fn columns(shape: &MirrorShape<'_>, of: &str) -> String {
    let names = shape.pushed();
    let names: Vec<String> = names
        .map(|field| format!("{of}{}", quoted(field.column.as_str())))
        .collect();
    names.join(", ")
}

/// The fields that an UPDATE changed, into `_sync_changed`, with what the row holds of them by now: a trigger of the user's
/// that runs before ours may have written to it. A SELECT for each column costs a comparison where it did not change; a list
/// of all columns would be copied, value by value.
fn changed(shape: &MirrorShape<'_>) -> Vec<String> {
    let fields: Vec<&FieldMapping> = shape.pushed().collect();
    let select = |field: &&FieldMapping| {
        let column = quoted(field.column.as_str());
        format!(
            "SELECT {OPENED}, {}, old.{column} AS o, new.{column} AS n, (SELECT {column} FROM {} WHERE local_id = new.local_id) WHERE o IS NOT n",
            literal(field.property.as_str()),
            shape.table(),
        )
    };
    let insert = |fields: &[&FieldMapping]| {
        let selects: Vec<String> = fields.iter().map(select).collect();
        format!(
            "INSERT INTO _sync_changed (writer, property, base_value, new_value, held_value)\n{}",
            selects.join("\nUNION ALL ")
        )
    };
    fields.chunks(PAIRS).map(insert).collect()
}

/// The columns that every mirror has, in the order of `_sync_entry_fixed`.
pub(crate) const FIXED: [&str; 5] = [
    "local_id",
    "hs_id",
    "hs_created_at",
    "hs_modified_at",
    "hs_archived",
];

/// Refuses what only HubSpot or hubsyncd may change. The user's own columns are free. Where a statement sets none of these
/// columns, SQLite leaves the trigger out of it.
fn refuse_update(shape: &MirrorShape<'_>) -> Made {
    let changed = |column: &str| format!("new.{column} IS NOT old.{column}");
    let fixed: Vec<String> = FIXED.iter().map(|column| changed(column)).collect();
    let fixed = format!(
        "INSERT INTO _sync_entry_fixed VALUES ({})",
        fixed.join(", ")
    );
    let pulled = shape.pulled().map(|field| {
        let refusal = shape.refusal(field);
        (changed(&quoted(field.column.as_str())), refusal)
    });
    let strict = shape.strict().map(|(field, _, is_unknown)| {
        let column = changed(&quoted(field.column.as_str()));
        let sentence = options::sentence(shape.object, field);
        (format!("{column} AND {is_unknown}"), raise(&sentence))
    });
    let pulled: Vec<(String, String)> = pulled.chain(strict).collect();
    let pulled = (!pulled.is_empty()).then(|| format!("SELECT CASE{} END", refuse_where(&pulled)));
    let steps: Vec<String> = [fixed].into_iter().chain(pulled).collect();
    let when = format!(
        "{FROM_OUTSIDE} AND NOT EXISTS (SELECT 1 FROM _sync_replaced WHERE object = {} AND taking = 1 AND for_id = old.local_id)",
        shape.object()
    );
    // A row's number has these names too.
    let names = ["rowid", "oid", "_rowid_"].into_iter().chain(FIXED);
    let pulled = shape.pulled().map(|field| quoted(field.column.as_str()));
    let strict = shape
        .strict()
        .map(|(field, ..)| quoted(field.column.as_str()));
    let columns = names.map(str::to_owned).chain(pulled).chain(strict);
    let columns: Vec<String> = columns.collect();
    let event = format!("AFTER UPDATE OF {}", columns.join(", "));
    shape.trigger("refuse", &event, &when, &steps)
}

/// What watches an UPDATE where the user has UNIQUE indexes. The rows that it collides with are noted: `UPDATE OR REPLACE`
/// would take them away without a DELETE trigger. By its ids a row collides with none, since they can't change. Where one of
/// them is gone afterwards the UPDATE is refused.
fn replace(shape: &MirrorShape<'_>) -> Vec<Made> {
    let object = shape.object();
    let found: Vec<String> = collisions(shape)
        .iter()
        .map(|query| format!("{query} AND local_id <> old.local_id"))
        .collect();
    if found.is_empty() {
        return Vec::new();
    }
    // No INSERT has such a number.
    let notes = format!("object = {object} AND for_id = -1 - old.local_id");
    let is_noted = format!("EXISTS (SELECT 1 FROM _sync_replaced WHERE {notes})");
    let exists = each(&found, |query| format!("\nOR EXISTS ({query})"));
    let clear = format!("DELETE FROM _sync_replaced WHERE {notes}");
    let note = format!(
        "INSERT INTO _sync_replaced (object, for_id, local_id, row) SELECT {object}, -1 - old.local_id, local_id, '{{}}' FROM ({})",
        found.join(" UNION ")
    );
    let sentence = format!(
        "UPDATE OR REPLACE would take another row of {} away: DELETE that row first [two-rows]",
        shape.object.table
    );
    let refuse = format!(
        "SELECT {} WHERE EXISTS (SELECT 1 FROM _sync_replaced AS n WHERE n.{notes} \
         AND NOT EXISTS (SELECT 1 FROM {} AS e WHERE e.local_id = n.local_id))",
        raise(&sentence),
        shape.table(),
    );
    vec![
        shape.trigger(
            "before_replace",
            "BEFORE UPDATE",
            &format!("{FROM_OUTSIDE} AND ({is_noted}{exists})"),
            &through_the_gate([clear.clone(), note]),
        ),
        shape.trigger(
            "after_replace",
            "AFTER UPDATE",
            &format!("{FROM_OUTSIDE} AND {is_noted}"),
            &through_the_gate([refuse, clear]),
        ),
    ]
}

/// An update, field by field.
fn update(shape: &MirrorShape<'_>) -> Option<Made> {
    shape.pushed().next()?;
    let when = format!(
        "({}) IS NOT ({})\nAND {FROM_OUTSIDE}",
        columns(shape, "new."),
        columns(shape, "old.")
    );
    let write = format!(
        "INSERT INTO _sync_entry_update VALUES ({OPENED}, {}, new.local_id, new.hs_id, old.hs_archived)",
        shape.object()
    );
    let mut steps = changed(shape);
    steps.push(write);
    Some(shape.trigger("update", "AFTER UPDATE", &when, &steps))
}

/// An archive that keeps the whole row. A row that is marked as archived is just removed.
fn delete(shape: &MirrorShape<'_>) -> Made {
    if !shape.object.direction.pushes() {
        let sentence = format!(
            "{} comes from HubSpot: rows can not be deleted here [read-only]",
            shape.object.table
        );
        return shape.trigger(
            "delete",
            "AFTER DELETE",
            FROM_OUTSIDE,
            &[format!("SELECT {}", raise(&sentence))],
        );
    }
    let archive = format!(
        "INSERT INTO _sync_entry_archive\n\
         VALUES ({OPENED}, {}, old.local_id, iif(old.hs_archived, NULL, old.hs_id),\n{})",
        shape.object(),
        row_json(shape, "old"),
    );
    shape.trigger("delete", "AFTER DELETE", FROM_OUTSIDE, &[archive])
}

/// What marks a write with the gate open: a program has opened it, and may close it again before the daemon looks. None of our
/// own triggers writes to a mirror then. They name no column that a program may drop: it would have to drop them first.
fn past_the_gate(shape: &MirrorShape<'_>) -> [Made; 3] {
    let mark = [format!(
        "INSERT INTO _sync_entry_past VALUES ({})",
        shape.object()
    )];
    [
        ("past_by_insert", "AFTER INSERT"),
        ("past_by_change", "AFTER UPDATE"),
        ("past_by_delete", "AFTER DELETE"),
    ]
    .map(|(kind, event)| shape.trigger(kind, event, PAST_THE_GATE, &mark))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::entry::code_in;
    use crate::model::mapping::{Direction, Mapping};
    use crate::store::shape::associations::{self, Pairs};
    use crate::store::shape::{entries, guards};
    use crate::store::testing::{field, object};

    /// Contacts as `config.example.toml` maps them.
    fn example() -> ObjectMapping {
        let both = |property: &str, column: &str| {
            field(property, column, PropertyType::Enumeration, Direction::Both)
        };
        object(
            "contacts",
            Direction::Both,
            vec![
                both("email", "email"),
                both("firstname", "first_name"),
                both("lastname", "last_name"),
                both("hubspot_owner_id", "owner_id"),
                both("lifecyclestage", "stage"),
                field(
                    "annualrevenue",
                    "revenue",
                    PropertyType::Number,
                    Direction::Pull,
                ),
            ],
        )
    }

    fn shape(object: &ObjectMapping) -> MirrorShape<'_> {
        MirrorShape {
            object,
            own_columns: Vec::new(),
            unique: Vec::new(),
        }
    }

    #[test]
    fn triggers_read_like_this() {
        let contacts = example();
        let plain = of_mirror(&shape(&contacts));
        let mut special = shape(&contacts);
        special.own_columns = vec!["note".to_owned()];
        special.unique = vec![vec![
            "\"email\" = new.\"email\" COLLATE \"NOCASE\"".to_owned(),
        ]];
        let special = of_mirror(&special).into_iter().map(|made| Made {
            name: format!("{}_of_a_special_table", made.name),
            ..made
        });
        let is_known = |special: &Made| plain.iter().any(|made| made.sql == special.sql);
        let special: Vec<Made> = special.filter(|made| !is_known(made)).collect();
        let none = Mapping::default();
        let parts = entries::all(&Pairs::untold(&none));
        let (views, parts): (Vec<Made>, Vec<Made>) = parts
            .into_iter()
            .partition(|made| made.sql.starts_with("CREATE VIEW"));
        for made in plain.iter().chain(&special).chain(&parts) {
            insta::assert_snapshot!(made.name.clone(), made.sql);
        }
        insta::assert_snapshot!(
            "sync_entry_views",
            each(&views, |view| format!("{};\n", view.sql))
        );
    }

    /// What a trigger's refusals say.
    fn said(sql: &str) -> Vec<String> {
        let raises = sql.split("RAISE(ABORT, '").skip(1);
        let text = raises.map(|rest| rest.replace("''", "\u{2019}"));
        text.filter_map(|rest| rest.split_once('\'').map(|(said, _)| said.to_owned()))
            .collect()
    }

    #[test]
    fn each_refusal_ends_with_its_code() {
        let contacts = example();
        let pulled = ObjectMapping {
            direction: Direction::Pull,
            ..example()
        };
        let mut special = shape(&contacts);
        special.unique = vec![vec!["\"email\" = new.\"email\"".to_owned()]];
        let none = Mapping::default();
        let columns = ["local_id".to_owned()];
        let all = of_mirror(&shape(&contacts))
            .into_iter()
            .chain(of_mirror(&special))
            .chain(of_mirror(&shape(&pulled)))
            .chain(of_unmapped("deals", "deals", &columns))
            .chain(entries::all(&Pairs::untold(&none)))
            .chain(associations::all(&Pairs::untold(&none)))
            .chain([associations::before_schema()])
            .chain(guards::all());
        let mut refusals = 0;
        for made in all {
            for sentence in said(&made.sql) {
                refusals += 1;
                assert!(code_in(&sentence).is_some(), "{}: {sentence}", made.name);
            }
        }
        assert!(refusals > 50, "{refusals}");
    }

    /// Every program's SQLite reads them at every open. 36 bytes a trigger are its seal's.
    #[test]
    fn the_triggers_of_an_object_take_at_most_8_kib() {
        let contacts = example();
        let all = of_mirror(&shape(&contacts));
        let sizes: Vec<(&str, usize, usize)> = all
            .iter()
            .map(|made| (&*made.name, made.sql.len() + 36, sentences(&made.sql)))
            .collect();
        let whole: usize = sizes.iter().map(|(_, size, _)| size).sum();
        let sentences: usize = sizes.iter().map(|(_, _, sentences)| sentences).sum();
        eprintln!("{whole} bytes, {sentences} of them sentences: {sizes:?}");
        assert!(whole <= 8_192, "{whole} bytes: {sizes:?}");
    }

    /// The bytes of a trigger's refusals.
    fn sentences(sql: &str) -> usize {
        let raises = sql.split("RAISE(ABORT, ").skip(1);
        raises.filter_map(|rest| rest.find("')")).sum()
    }
}
