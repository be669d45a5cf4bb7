//! What a program's INSERT and DELETE in `associations` mean: triggers, and the view of each pair.
//!
//! | trigger or view | does |
//! |---|---|
//! | `sync_guard_associations_insert` | refuses what is no link of the mapping; skips what is there already |
//! | `sync_guard_associations_inserted` | fills in what the pair's types tell, and queues the association |
//! | `sync_guard_associations_update` | refuses |
//! | `sync_guard_associations_delete` | refuses what the pair does not take |
//! | `sync_guard_associations_deleted` | takes what goes along, and queues the disassociations |
//! | `_sync_link_made` | a row is there: what the outbox makes of it |
//! | `_sync_link_gone` | a row goes: what the outbox makes of it; the row itself and its other direction go with it |
//! | `_sync_link_lost` | a mirror row was deleted: its associations go without a word to HubSpot |
//! | `_sync_link_back` | a deleted mirror row is back, with the associations that its entry kept |
//!
//! An association's entry is one for each type of a pair; that of a pair of one object, or of one that the file maps in both orders,
//! serves both directions. What the outbox makes of a write is `decide/entry`'s to say: what HubSpot never heard of is cut short, what is on its way is told by its
//! version, what is in doubt is turned round.
//!
//! A sentence of RAISE is a literal in every SQLite that people use, so that the pair's types stand in the trigger's text: it is
//! made anew when they change.

use rusqlite::{Connection, named_params};

use crate::decide::outgoing::along::ASSOCIATION_REQUIRED;
use crate::model::association::{PRIMARY, PairMapping};
use crate::model::mapping::{Mapping, ObjectMapping};
use crate::model::name::ObjectType;
use crate::model::record::LocalRecord;
use crate::store::StoreError;
use crate::store::links::pairs::UNMAPPED;
use crate::store::shape::ddl::{each, literal, quoted};
use crate::store::shape::guards::kept_by_hubsyncd;
use crate::store::shape::triggers::{CLOSE_GATE, FROM_OUTSIDE, Made, OPEN_GATE, made, raise};
use crate::store::shape::views::NOW;

/// How the triggers of the parts begin.
pub(crate) const PREFIX: &str = "sync_link_";

/// The views that triggers write to, and their columns.
const WRITTEN_TO: [(&str, &str); 4] = [
    ("_sync_link_made", "id, by_default"),
    (
        "_sync_link_gone",
        "id, from_object, from_local_id, to_object, to_local_id, category, type_id, label",
    ),
    ("_sync_link_lost", "object, local_id, hs_id"),
    ("_sync_link_back", "row"),
];

/// Whether a view of this name is one of those.
pub(crate) fn is_view(name: &str) -> bool {
    WRITTEN_TO.iter().any(|(view, _)| name == *view)
}

/// The pairs of a mapping, with what their types are called.
pub(crate) struct Pairs<'a> {
    mapping: &'a Mapping,
    /// A sentence's part for each pair whose types are known, in the mapping's order.
    types: Vec<Option<String>>,
    /// Whether the file has associations.
    has_rows: bool,
}

impl<'a> Pairs<'a> {
    pub(crate) fn of(connection: &Connection, mapping: &'a Mapping) -> Result<Self, StoreError> {
        let types = mapping
            .pairs
            .iter()
            .map(|pair| types_of(connection, pair))
            .collect::<Result<_, _>>()?;
        let has_rows = connection
            .prepare_cached("SELECT 1 FROM associations LIMIT 1")?
            .exists([])?;
        Ok(Self {
            mapping,
            types,
            has_rows,
        })
    }

    /// Those of which nothing is known but the mapping.
    #[cfg(test)]
    pub(crate) fn untold(mapping: &'a Mapping) -> Self {
        let types = vec![None; mapping.pairs.len()];
        Self {
            mapping,
            types,
            has_rows: false,
        }
    }

    /// Whether no association is here, and none can come: a local write costs nothing for them.
    fn are_none(&self) -> bool {
        self.pairs().is_empty() && !self.has_rows
    }

    fn pairs(&self) -> &'a [PairMapping] {
        &self.mapping.pairs
    }

    fn table(&self, object: &str) -> Option<&'a ObjectMapping> {
        self.mapping.object(object)
    }

    /// The objects that stand at one end of a pair, each once.
    fn ends(&self, end: impl Fn(&PairMapping) -> &str) -> Vec<&'a ObjectMapping> {
        let objects = self.mapping.objects.iter();
        objects
            .filter(|object| {
                self.pairs()
                    .iter()
                    .any(|pair| end(pair) == object.object.as_str())
            })
            .collect()
    }

    /// The id in HubSpot of the row that two columns name.
    fn hs_id(&self, object: &str, local_id: &str) -> String {
        self.of_row(object, |table| {
            format!("(SELECT hs_id FROM {table} WHERE local_id = {local_id})")
        })
    }

    /// Whether the row that two columns name is there.
    fn is_there(&self, object: &str, local_id: &str) -> String {
        self.of_row(object, |table| {
            format!("EXISTS (SELECT 1 FROM {table} WHERE local_id = {local_id})")
        })
    }

    /// Something of the table whose object a column names.
    fn of_row(&self, object: &str, of_table: impl Fn(&str) -> String) -> String {
        // Also of an object that stands in no pair: rows of a former one may.
        let arms: Vec<String> = self
            .mapping
            .objects
            .iter()
            .filter(|_| !self.are_none())
            .map(|mapped| {
                let told = of_table(&quoted(mapped.table.as_str()));
                format!("\n    WHEN {} THEN {told}", literal(mapped.object.as_str()))
            })
            .collect();
        match arms.is_empty() {
            true => "NULL".to_owned(),
            false => format!("(CASE {object}{} END)", arms.concat()),
        }
    }
}

fn types_of(connection: &Connection, pair: &PairMapping) -> Result<Option<String>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT coalesce('`' || label || '`', 'no label') || ' (' || category || ' ' || type_id || ')'
         FROM association_types
         WHERE from_object = :from AND to_object = :to AND archived = 0
         ORDER BY label, category, type_id",
    )?;
    let types = statement
        .query_map(
            named_params! { ":from": pair.from.as_str(), ":to": pair.to.as_str() },
            |row| row.get(0),
        )?
        .collect::<Result<Vec<String>, _>>()?;
    Ok((!types.is_empty()).then(|| types.join(", ")))
}

/// The triggers on `associations`, the parts that they and the mirrors' triggers write to, and the pairs' views.
pub(crate) fn all(pairs: &Pairs<'_>) -> Vec<Made> {
    let mut all: Vec<Made> = WRITTEN_TO
        .iter()
        .map(|(name, columns)| {
            let nothing = vec!["NULL"; columns.split(", ").count()].join(", ");
            view(name, columns, &format!("SELECT {nothing} WHERE 0"))
        })
        .collect();
    all.extend([
        part("made", "1", &made_link(pairs)),
        part("gone", "1", &gone(pairs)),
        part(
            "lost",
            &format!("{} OR {}", has_any(), has_waiting()),
            &lost(pairs),
        ),
        part("back", HAS_LIST, &back(pairs)),
    ]);
    if pairs.pairs().is_empty() {
        let none = raise(
            "associations can not be written: the mapping file has no pair, or its pairs wait with their objects (sync_status.last_error) \
             [pair-unmapped]",
        );
        let events: &[&str] = match pairs.has_rows {
            true => &["INSERT", "UPDATE"],
            false => &["INSERT", "UPDATE", "DELETE"],
        };
        for event in events {
            let name = event.to_lowercase();
            let refuse = [format!("SELECT {none}")];
            all.push(guard(
                &name,
                &format!("BEFORE {event}"),
                FROM_OUTSIDE,
                &refuse,
            ));
        }
        if pairs.has_rows {
            all.extend(taking_away(pairs));
        }
        return all;
    }
    all.extend([
        guard(
            "insert",
            "BEFORE INSERT",
            FROM_OUTSIDE,
            &[skip(), refuse_id("> 0"), refuse_insert(pairs)],
        ),
        guard("update", "BEFORE UPDATE", FROM_OUTSIDE, &[refuse_update()]),
        guard("inserted", "AFTER INSERT", FROM_OUTSIDE, &inserted()),
    ]);
    all.extend(taking_away(pairs));
    all.extend(pairs.pairs().iter().map(|pair| view_of(pairs, pair)));
    all
}

/// What refuses associations while nobody has read what the portal is like: nothing would record them.
pub(crate) fn before_schema() -> Made {
    let refuse = raise(
        "associations can not be written yet: the portal's schema has not been read (sync_health.last_error says why) [pair-unmapped]",
    );
    guard(
        "insert",
        "BEFORE INSERT",
        FROM_OUTSIDE,
        &[format!("SELECT {refuse}")],
    )
}

/// What a DELETE fires: a row of a pair that is in the file no more may be taken away too.
fn taking_away(pairs: &Pairs<'_>) -> Vec<Made> {
    let refuse = refuse_delete(pairs).map(|refuse| {
        guard(
            "delete",
            "BEFORE DELETE",
            FROM_OUTSIDE,
            std::slice::from_ref(&refuse),
        )
    });
    let take = guard("deleted", "AFTER DELETE", FROM_OUTSIDE, &deleted());
    refuse.into_iter().chain([take]).collect()
}

fn view(name: &str, columns: &str, select: &str) -> Made {
    Made {
        name: name.to_owned(),
        sql: format!("CREATE VIEW {} ({columns}) AS\n{select}", quoted(name)),
    }
}

fn guard(what: &str, event: &str, when: &str, steps: &[String]) -> Made {
    made(
        &format!("sync_guard_associations_{what}"),
        event,
        "\"associations\"",
        when,
        steps,
    )
}

/// A part that takes nothing while the gate is shut.
fn part(what: &str, when: &str, steps: &[String]) -> Made {
    let name = format!("_sync_link_{what}");
    let refuse = format!(
        "SELECT {} WHERE {FROM_OUTSIDE}",
        raise(&kept_by_hubsyncd(&name))
    );
    made(
        &format!("{PREFIX}{what}"),
        "INSTEAD OF INSERT",
        &quoted(&name),
        when,
        &[&[refuse], steps].concat(),
    )
}

/// The view of a pair, as people join it.
fn view_of(pairs: &Pairs<'_>, pair: &PairMapping) -> Made {
    let table = |object: &str| {
        let mapped = pairs.table(object).expect("both ends are mapped");
        mapped.table.as_str()
    };
    let (from, to) = if pair.is_of_one_object() {
        ("from", "to")
    } else {
        (table(pair.from.as_str()), table(pair.to.as_str()))
    };
    let primary = each(&PRIMARY, |number| format!(", {number}"));
    let sql = format!(
        "CREATE VIEW {} AS
SELECT id AS association_id, from_local_id AS {}, to_local_id AS {}, category, type_id, label,
       coalesce(category = 'HUBSPOT_DEFINED' AND type_id IN ({}), 0) AS is_primary
FROM associations
WHERE from_object = {} AND to_object = {}",
        quoted(pair.key.as_str()),
        quoted(&format!("{from}_local_id")),
        quoted(&format!("{to}_local_id")),
        primary.trim_start_matches(", "),
        literal(pair.from.as_str()),
        literal(pair.to.as_str()),
    );
    Made {
        name: pair.key.as_str().to_owned(),
        sql,
    }
}

/// The pair that a row stands in.
fn is_of(pair: &PairMapping, row: &str) -> String {
    format!(
        "{row}.from_object = {} AND {row}.to_object = {}",
        literal(pair.from.as_str()),
        literal(pair.to.as_str())
    )
}

/// The pair that an entry, as `e`, is of.
fn is_of_entry(pair: &PairMapping) -> String {
    format!(
        "e.object = {} AND e.to_object = {}",
        literal(pair.from.as_str()),
        literal(pair.to.as_str())
    )
}

/// A refusal for each condition that holds, the first of them.
fn refuse_where(cases: &[(String, String)]) -> String {
    let arms = each(cases, |(condition, sentence)| {
        format!("\nWHEN {condition} THEN {}", raise(sentence))
    });
    format!("SELECT CASE{arms} END")
}

/// The types that an INSERT may mean, as `t`: those of its number, of its label, or of both, or the pair's plain ones.
const NAMED: &str =
    "association_types AS t WHERE t.from_object = new.from_object AND t.to_object = new.to_object AND t.archived = 0
    AND t.category = coalesce(new.category, t.category) AND t.type_id = coalesce(new.type_id, t.type_id)
    AND CASE WHEN trim(coalesce(new.label, ''), char(9, 10, 13, 32)) <> ''
             THEN lower(trim(t.label)) = lower(trim(new.label, char(9, 10, 13, 32)))
             ELSE new.type_id IS NOT NULL OR t.label IS NULL END";

/// Whether an INSERT names a type, be it by a part of it.
const IS_NAMED: &str =
    "(new.type_id IS NOT NULL OR trim(coalesce(new.label, ''), char(9, 10, 13, 32)) <> '')";

/// Whether the daemon is to say which type an INSERT means: SQLite folds the case of A to Z alone, so that a label with other letters
/// (more bytes than characters) may be one that it does not know again.
const IS_FOLDED_LATER: &str = "(new.type_id IS NULL AND new.label IS NOT NULL AND length(CAST(new.label AS BLOB)) > length(new.label))";

/// Rows of the same two records in the same order.
fn same_ends(row: &str, other: &str) -> String {
    format!(
        "{row}.from_object = {other}.from_object AND {row}.from_local_id = {other}.from_local_id \
         AND {row}.to_object = {other}.to_object AND {row}.to_local_id = {other}.to_local_id"
    )
}

/// An id is ours to give: one that another row has would take that row away under OR REPLACE. Before the insert −1 stands for a
/// number that SQLite is to give; behind it only a program's own number is below 1.
fn refuse_id(numbers: &str) -> String {
    format!(
        "SELECT {} WHERE new.id {numbers}",
        raise("associations gives each row its id: leave it out [association-id]")
    )
}

/// A type that is there, or that waits, is there: nothing is written and nothing queued. What may be one of several types is none
/// of them.
fn skip() -> String {
    format!(
        "SELECT RAISE(IGNORE) WHERE EXISTS (SELECT 1 FROM associations AS a WHERE {}
    AND ((EXISTS (SELECT 1 FROM {NAMED} AND t.category = a.category AND t.type_id = a.type_id)
          AND (NOT {IS_NAMED} OR (SELECT count(*) FROM {NAMED}) = 1))
         OR (a.category IS new.category AND a.type_id IS new.type_id AND
             (lower(coalesce(a.label, '')) = lower(trim(coalesce(new.label, ''), char(9, 10, 13, 32)))
              OR (new.category IS NOT NULL AND new.type_id IS NOT NULL AND NOT EXISTS (SELECT 1 FROM association_types AS t
                  WHERE t.from_object = new.from_object AND t.to_object = new.to_object))))))",
        same_ends("a", "new")
    )
}

fn refuse_insert(pairs: &Pairs<'_>) -> String {
    let mut cases = Vec::new();
    let mut mapped = Vec::new();
    for pair in pairs.pairs() {
        mapped.push(format!("({})", is_of(pair, "new")));
        if pairs
            .mapping
            .pair(pair.to.as_str(), pair.from.as_str())
            .is_none()
        {
            let turned = format!(
                "new.from_object = {} AND new.to_object = {}",
                literal(pair.to.as_str()),
                literal(pair.from.as_str())
            );
            let sentence = format!(
                "rows of {} stand from {} to {}: exchange the two ends [pair-turned]",
                pair.key, pair.from, pair.to
            );
            cases.push((turned, sentence));
        }
        if !pair.direction.pushes() {
            cases.push((
                is_of(pair, "new"),
                format!(
                    "{} comes from HubSpot: leave it as it is [pair-pulled]",
                    pair.key
                ),
            ));
        }
    }
    let unmapped = format!("({}) IS NOT 1", mapped.join(" OR "));
    cases.push((unmapped, not_mapped(pairs)));
    for (end, objects) in [
        ("from", pairs.ends(|pair| pair.from.as_str())),
        ("to", pairs.ends(|pair| pair.to.as_str())),
    ] {
        for object in objects {
            let missing = format!(
                "new.{end}_object = {} AND NOT EXISTS (SELECT 1 FROM {} WHERE local_id = new.{end}_local_id)",
                literal(object.object.as_str()),
                quoted(object.table.as_str())
            );
            let sentence = format!(
                "{} has no row with this {end}_local_id: INSERT that row first [association-without-row]",
                object.table
            );
            cases.push((missing, sentence));
            let archived = format!(
                "new.{end}_object = {} AND EXISTS (SELECT 1 FROM {} WHERE local_id = new.{end}_local_id AND hs_archived = 1)",
                literal(object.object.as_str()),
                quoted(object.table.as_str())
            );
            let sentence = format!(
                "the record of {} with this {end}_local_id is archived in HubSpot: restore it there first [association-archived]",
                object.table
            );
            cases.push((archived, sentence));
        }
    }
    cases.push((
        "new.from_object = new.to_object AND new.from_local_id = new.to_local_id".to_owned(),
        "a record can not be associated with itself [association-with-itself]".to_owned(),
    ));
    for (pair, types) in pairs.pairs().iter().zip(&pairs.types) {
        let Some(types) = types else { continue };
        let is_of = is_of(pair, "new");
        let count = format!("(SELECT count(*) FROM {NAMED})");
        cases.push((
            format!("{is_of} AND {count} = 0 AND NOT {IS_FOLDED_LATER}"),
            format!(
                "{} has no such label or type: it has {types} [unknown-association-type]",
                pair.key
            ),
        ));
        cases.push((
            format!("{is_of} AND {count} > 1 AND {IS_NAMED}"),
            format!(
                "more than one type of {} has this label or number: write category and type_id of one of {types} \
                 [ambiguous-association-type]",
                pair.key
            ),
        ));
    }
    refuse_where(&cases)
}

fn not_mapped(pairs: &Pairs<'_>) -> String {
    let names: Vec<String> = pairs
        .pairs()
        .iter()
        .map(|pair| format!("{} to {}", pair.from, pair.to))
        .collect();
    format!(
        "this pair of objects is not in the mapping file, or waits with one of its objects (sync_status.last_error): associations \
         takes {} [pair-unmapped]",
        names.join(", ")
    )
}

fn refuse_update() -> String {
    format!(
        "SELECT {}",
        raise(
            "a row of associations can not be changed: DELETE it and INSERT another [association-update]"
        )
    )
}

fn refuse_delete(pairs: &Pairs<'_>) -> Option<String> {
    let pulled = pairs.pairs().iter().filter(|pair| !pair.direction.pushes());
    let cases: Vec<(String, String)> = pulled
        .map(|pair| {
            let sentence = format!(
                "{} comes from HubSpot: leave it as it is [pair-pulled]",
                pair.key
            );
            (is_of(pair, "old"), sentence)
        })
        .collect();
    (!cases.is_empty()).then(|| refuse_where(&cases))
}

/// What the pair's types tell of a new row, where they tell one thing.
fn inserted() -> Vec<String> {
    let told = |column: &str, otherwise: &str| {
        format!("{column} = (SELECT iif(count(*) = 1, min(t.{column}), {otherwise}) FROM {NAMED})")
    };
    vec![
        refuse_id("< 1"),
        OPEN_GATE.to_owned(),
        format!(
            "UPDATE associations SET {}, {}, {} WHERE id = new.id",
            told("category", "new.category"),
            told("type_id", "new.type_id"),
            told("label", "nullif(trim(new.label, char(9, 10, 13, 32)), '')"),
        ),
        format!("INSERT INTO _sync_link_made VALUES (new.id, NOT {IS_NAMED})"),
        CLOSE_GATE.to_owned(),
    ]
}

/// The type that stands for this one in the other direction of a pair of one object.
fn inverse(row: &str) -> String {
    format!(
        "(SELECT t.inverse_type_id FROM association_types AS t WHERE t.from_object = {row}.from_object \
         AND t.to_object = {row}.to_object AND t.category = {row}.category AND t.type_id = {row}.type_id)"
    )
}

/// Whether an entry is an association's, in the words of the index `sync_outbox_association`: with them SQLite finds it by its
/// rows, and not among all entries of its object.
const OF_LINK: &str = "e.operation IN ('associate', 'disassociate')";

/// The entry that stands for a row, as `e`: its own, or that of the other direction, in a pair of one object or one that the file maps
/// in both orders.
fn is_entry_of(row: &str) -> String {
    format!(
        "(({OF_LINK} AND e.object = {row}.from_object AND e.local_id = {row}.from_local_id AND e.to_object = {row}.to_object
    AND e.to_local_id = {row}.to_local_id AND e.category IS {row}.category AND e.type_id IS {row}.type_id
    AND ({row}.type_id IS NOT NULL OR e.label IS {row}.label))
 OR ({OF_LINK} AND e.object = {row}.to_object AND e.local_id = {row}.to_local_id
    AND e.to_object = {row}.from_object AND e.to_local_id = {row}.from_local_id AND e.category IS {row}.category
    AND e.type_id IS {}))",
        inverse(row)
    )
}

/// Whether nothing of an entry is on its way, and nothing in doubt.
const IS_FREE: &str = "e.state <> 'in_flight' AND e.unanswered_since IS NULL";

/// Turns round what is in doubt, and raises the version of what is on its way: settling looks whether the row is there.
fn turned(row: &str, source: &str, (operation, more): (&str, &str)) -> String {
    format!(
        "UPDATE sync_outbox SET version = version + 1, discarded_at = NULL,{more}
    next_attempt_at = iif(state = 'dead', {NOW}, next_attempt_at),
    operation = iif(state = 'in_flight', operation, '{operation}'),
    attempts = iif(state = 'dead', 0, attempts),
    waits_for = iif(waits_for = 'guard', NULL, waits_for),
    state = iif(state = 'dead', 'pending', state)
WHERE id IN (SELECT e.id FROM sync_outbox AS e{source} WHERE {} AND NOT ({IS_FREE}))",
        is_entry_of(row)
    )
}

/// Whether the other direction of an entry, as `e`, has a row of its own: in a pair of one object, or of another pair of the file.
fn has_opposite(pairs: &Pairs<'_>) -> String {
    let kept: Vec<String> = pairs
        .pairs()
        .iter()
        .map(|pair| {
            format!(
                "(e.to_object = {} AND e.object = {})",
                literal(pair.from.as_str()),
                literal(pair.to.as_str())
            )
        })
        .collect();
    match kept.is_empty() {
        true => "0".to_owned(),
        false => format!("({})", kept.join(" OR ")),
    }
}

/// The rows that go with an entry, as `e`, which a program has cut short by inserting one of them: both directions are there again.
fn back_with_entry(pairs: &Pairs<'_>, row: &str, is_entry: &str) -> String {
    let columns = "from_object, from_local_id, to_object, to_local_id, category, type_id, label";
    let is_cut = format!("e.operation = 'disassociate' AND {IS_FREE} AND {is_entry}");
    format!(
        "INSERT INTO associations ({columns})
SELECT {columns} FROM (
    SELECT e.object AS from_object, e.local_id AS from_local_id, e.to_object AS to_object, e.to_local_id AS to_local_id,
        e.category AS category, e.type_id AS type_id, e.label AS label
    FROM sync_outbox AS e, {row} AS a WHERE {is_cut}
    UNION ALL
    SELECT e.to_object, e.to_local_id, e.object, e.local_id, b.category, b.type_id, b.label
    FROM sync_outbox AS e, {row} AS a, association_types AS b WHERE {is_cut} AND {} AND b.from_object = e.to_object AND b.to_object = e.object AND b.category = e.category
        AND b.type_id = {}
) AS s
WHERE NOT EXISTS (SELECT 1 FROM associations AS o WHERE {} AND o.category IS s.category AND o.type_id IS s.type_id
    AND (s.type_id IS NOT NULL OR o.label IS s.label))",
        has_opposite(pairs),
        inverse_of_entry(),
        same_ends("o", "s"),
    )
}

/// The type that stands for that of an entry, as `e`, in the other direction.
fn inverse_of_entry() -> &'static str {
    "(SELECT t.inverse_type_id FROM association_types AS t WHERE t.from_object = e.object AND t.to_object = e.to_object \
     AND t.category = e.category AND t.type_id = e.type_id)"
}

/// A row is there: what was to take it away is cut short, else it is to be made in HubSpot.
fn made_link(pairs: &Pairs<'_>) -> Vec<String> {
    let is_entry = is_entry_of("a");
    let row = "(SELECT * FROM associations WHERE id = new.id)";
    let (from, to) = (
        pairs.hs_id("a.from_object", "a.from_local_id"),
        pairs.hs_id("a.to_object", "a.to_local_id"),
    );
    let missing = |end: &str| {
        let (object, local_id) = (format!("f.{end}_object"), format!("f.{end}_local_id"));
        let told = |why: String| format!("iif(f.{end}_id IS NULL, {why}, NULL)");
        (
            told(unmade_record(&object, &local_id)),
            told(waiting_record(&object, &local_id)),
        )
    };
    let ((from_why, from_waits), (to_why, to_waits)) = (missing("from"), missing("to"));
    // The entry that takes the plain type away takes the whole pair: where it has not been sent, the plain type stays.
    let plain_leaves = format!(
        "{OF_LINK} AND e.operation = 'disassociate' AND {IS_FREE} AND e.object = a.from_object AND e.local_id = a.from_local_id \
         AND e.to_object = a.to_object AND e.to_local_id = a.to_local_id AND e.label IS NULL"
    );
    vec![
        // What lacked an association may have it with this one.
        format!(
            "UPDATE sync_outbox SET state = 'pending', attempts = 0, next_attempt_at = {NOW}, last_error = NULL, code = NULL
WHERE id IN ({})",
            creates_of(row, &format!("c.state = 'dead' AND c.code = '{ASSOCIATION_REQUIRED}'"))
        ),
        turned(
            "a",
            &format!(", {row} AS a"),
            ("associate", " by_default = new.by_default,"),
        ),
        format!(
            "INSERT INTO sync_outbox (object, local_id, hs_id, operation, enqueued_at, next_attempt_at, waits_for, last_error, code,
    to_object, to_local_id, category, type_id, label, by_default)
SELECT a.from_object, a.from_local_id, h.from_id, 'associate', {NOW}, iif(h.waits, NULL, {NOW}), iif(h.waits, 'create', NULL),
    h.why, iif(h.why IS NULL, NULL, '{MISSING_RECORD}'), a.to_object, a.to_local_id, a.category, a.type_id, a.label, new.by_default
FROM {row} AS a, (SELECT f.from_id, f.from_id IS NULL OR f.to_id IS NULL AS waits,
        coalesce({from_why}, {to_why}, {from_waits}, {to_waits}) AS why
    FROM (SELECT a.from_object, a.from_local_id, a.to_object, a.to_local_id, {from} AS from_id, {to} AS to_id FROM {row} AS a) AS f) AS h
WHERE NOT EXISTS (SELECT 1 FROM sync_outbox AS e WHERE {is_entry})"
        ),
        format!(
            "INSERT INTO associations (from_object, from_local_id, to_object, to_local_id, category, type_id)
SELECT e.object, e.local_id, e.to_object, e.to_local_id, e.category, e.type_id
FROM sync_outbox AS e, {row} AS a WHERE {plain_leaves} AND a.label IS NOT NULL"
        ),
        back_with_entry(pairs, row, &is_entry),
        format!(
            "DELETE FROM sync_outbox WHERE id IN (SELECT e.id FROM sync_outbox AS e, {row} AS a
    WHERE e.operation = 'disassociate' AND {IS_FREE} AND {is_entry}
    UNION SELECT e.id FROM sync_outbox AS e, {row} AS a WHERE {plain_leaves} AND a.label IS NOT NULL)"
        ),
    ]
}

/// The code of what waits for a record that nothing makes.
pub(crate) const MISSING_RECORD: &str = "waits-for-create";

/// Why nothing makes the record of a row that has none, where its own create is at fault, as a text of SQL; NULL where that waits or
/// is on its way.
pub(crate) fn unmade_record(object: &str, local_id: &str) -> String {
    let own = own_entry(object, local_id);
    format!(
        "coalesce((SELECT 'waits for the create of ' || c.object || ' row ' || c.local_id ||
        ', which is dead: its own entry says why; mend the row, retry that entry, or delete the association [{MISSING_RECORD}]'
        {own} AND c.operation = 'create' AND c.state = 'dead'),
        iif(EXISTS (SELECT 1 {own}), NULL,
        (SELECT 'waits for a record of ' || x.object || ' row ' || x.local_id ||
        ', whose create was discarded: write to the row, and it is made, or delete the association [{MISSING_RECORD}]'
        FROM _sync_excluded AS x WHERE x.object = {object} AND x.local_id = {local_id})))"
    )
}

/// The same where its create waits for another record that nothing makes.
pub(crate) fn waiting_record(object: &str, local_id: &str) -> String {
    let own = own_entry(object, local_id);
    format!(
        "(SELECT 'waits for the create of ' || c.object || ' row ' || c.local_id ||
        ', which waits itself for a record that nothing makes: its own entry says which; mend that, or delete the association [{MISSING_RECORD}]'
        {own} AND c.operation = 'create' AND c.waits_for = 'create' AND c.code = '{MISSING_RECORD}')"
    )
}

/// The entry of a row itself, as `c`.
fn own_entry(object: &str, local_id: &str) -> String {
    format!(
        "FROM sync_outbox AS c WHERE c.object = {object} AND c.local_id = {local_id} AND c.operation NOT IN ('associate', 'disassociate')"
    )
}

/// The creates of both ends of an association in one state, of a row as SQL names it.
fn creates_of(row: &str, state: &str) -> String {
    let at = |end: &str| {
        format!(
            "SELECT c.id FROM {row} AS a JOIN sync_outbox AS c ON c.object = a.{end}_object AND c.local_id = a.{end}_local_id
    WHERE c.operation NOT IN ('associate', 'disassociate') AND c.operation = 'create' AND {state}"
        )
    };
    format!("{} UNION {}", at("from"), at("to"))
}

/// Creates that wait for another row's look anew: the association that named it is gone.
fn release(row: &str) -> String {
    format!(
        "UPDATE sync_outbox SET waits_for = NULL, next_attempt_at = {NOW},
    last_error = iif(code = '{MISSING_RECORD}', NULL, last_error), code = iif(code = '{MISSING_RECORD}', NULL, code)
WHERE id IN ({})",
        creates_of(row, "c.waits_for = 'create'")
    )
}

/// Whether a row is of the pair's plain type, with which HubSpot takes all types of the pair.
const IS_PLAIN: &str = "old.label IS NULL AND (old.type_id IS NULL OR EXISTS (SELECT 1 FROM association_types AS t
    WHERE t.from_object = old.from_object AND t.to_object = old.to_object AND t.category = old.category
    AND t.type_id = old.type_id AND t.label IS NULL))";

fn deleted() -> Vec<String> {
    let columns = "from_object, from_local_id, to_object, to_local_id, category, type_id, label";
    let given = |row: &str| {
        let columns: Vec<String> = columns
            .split(", ")
            .map(|column| format!("{row}.{column}"))
            .collect();
        format!("{row}.id, {}", columns.join(", "))
    };
    vec![
        OPEN_GATE.to_owned(),
        format!(
            "INSERT INTO _sync_link_gone SELECT {} FROM associations AS a WHERE {} AND {IS_PLAIN}",
            given("a"),
            same_ends("a", "old")
        ),
        format!("INSERT INTO _sync_link_gone VALUES ({})", given("old")),
        CLOSE_GATE.to_owned(),
    ]
}

/// A row goes, and its other direction with it, in a pair of one object or one that is mapped in both orders. What is to be taken away
/// of a pair that is in the file no more waits until it is there again.
fn gone(pairs: &Pairs<'_>) -> Vec<String> {
    let is_entry = is_entry_of("new");
    let (from, to) = (
        pairs.hs_id("new.from_object", "new.from_local_id"),
        pairs.hs_id("new.to_object", "new.to_local_id"),
    );
    let ends = "(SELECT new.from_object AS from_object, new.from_local_id AS from_local_id, new.to_object AS to_object, \
                new.to_local_id AS to_local_id)";
    let mapped: Vec<String> = pairs
        .pairs()
        .iter()
        .map(|pair| format!("({})", is_of(pair, "new")))
        .collect();
    let is_mapped = match mapped.is_empty() {
        true => "0".to_owned(),
        false => format!("({})", mapped.join(" OR ")),
    };
    let unmapped = literal(UNMAPPED);
    vec![
        release(ends),
        turned("new", "", ("disassociate", "")),
        format!(
            "INSERT INTO sync_outbox (object, local_id, hs_id, operation, enqueued_at, next_attempt_at,
    to_object, to_local_id, category, type_id, label, state, last_error, code)
SELECT new.from_object, new.from_local_id, h.from_id, 'disassociate', {NOW}, {NOW},
    new.to_object, new.to_local_id, new.category, new.type_id, new.label,
    iif(h.is_mapped, 'pending', 'dead'), iif(h.is_mapped, NULL, {unmapped}), iif(h.is_mapped, NULL, 'pair-unmapped')
FROM (SELECT {from} AS from_id, {to} AS to_id, {is_mapped} AS is_mapped) AS h
WHERE h.from_id IS NOT NULL AND h.to_id IS NOT NULL AND NOT EXISTS (SELECT 1 FROM sync_outbox AS e WHERE {is_entry})"
        ),
        format!(
            "DELETE FROM sync_outbox WHERE id IN (SELECT e.id FROM sync_outbox AS e \
             WHERE e.operation = 'associate' AND {IS_FREE} AND {is_entry})"
        ),
        format!(
            "DELETE FROM associations WHERE id = new.id OR (from_object = new.to_object
    AND to_object = new.from_object AND from_local_id = new.to_local_id
    AND to_local_id = new.from_local_id AND category IS new.category AND type_id IS {})",
            inverse("new")
        ),
    ]
}

/// Rows that stand from or to a mirror row, as `a`.
const OF_ROW: &str = "(a.from_object = new.object AND a.from_local_id = new.local_id) \
     OR (a.to_object = new.object AND a.to_local_id = new.local_id)";

/// The associations of a mirror row as its entry keeps them, a JSON list; those that HubSpot has not heard of are marked. The
/// row is that of a part which is told of `new.object`, `new.local_id` and `new.hs_id`; `hs_id_of` finds another row's record.
fn kept(hs_id_of: &dyn Fn(&str, &str) -> String) -> String {
    let waiting = format!(
        "FROM sync_outbox AS e WHERE e.operation = 'associate' AND {}",
        is_entry_of("a")
    );
    let hs_id = |end: &str| {
        let (object, local_id) = (format!("a.{end}_object"), format!("a.{end}_local_id"));
        format!(
            "iif({object} = new.object AND {local_id} = new.local_id, new.hs_id, {})",
            hs_id_of(&object, &local_id)
        )
    };
    let all = format!(
        "json_object('from_object', a.from_object, 'from_local_id', a.from_local_id, 'from_hs_id', {},
    'to_object', a.to_object, 'to_local_id', a.to_local_id, 'to_hs_id', {},
    'category', a.category, 'type_id', a.type_id, 'label', a.label)",
        hs_id("from"),
        hs_id("to")
    );
    format!(
        "SELECT json_group_array(json(iif(EXISTS (SELECT 1 {waiting}),
    json_insert({all}, '$.pending', 1, '$.by_default', (SELECT max(e.by_default) {waiting})), {all}))) FROM associations AS a WHERE {OF_ROW}"
    )
}

/// A deleted row with its associations, where it has any. The part is told of `new.row` too.
pub(crate) fn with_associations(pairs: &Pairs<'_>) -> String {
    if pairs.are_none() {
        return "new.row".to_owned();
    }
    row_with(&|object, local_id| pairs.hs_id(object, local_id))
}

fn row_with(hs_id_of: &dyn Fn(&str, &str) -> String) -> String {
    format!(
        "iif({}, json_set(new.row, '$.associations', json(({}))), new.row)",
        has_any(),
        kept(hs_id_of)
    )
}

/// The JSON of a row that the daemon takes away, with its associations as an entry keeps those of a row that a program deleted; as
/// it is where it has none.
pub(crate) fn taken_away(
    connection: &Connection,
    object: &ObjectType,
    record: &LocalRecord,
    row: &str,
) -> Result<String, StoreError> {
    let objects: Vec<(String, String)> = connection
        .prepare_cached("SELECT object, table_name FROM _sync_objects ORDER BY object")?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<_, _>>()?;
    let hs_id_of = |object: &str, local_id: &str| {
        let of_each = objects.iter().map(|(name, table)| {
            let (name, table) = (literal(name), quoted(table));
            format!(" WHEN {name} THEN (SELECT hs_id FROM {table} WHERE local_id = {local_id})")
        });
        format!("CASE {object}{} END", of_each.collect::<String>())
    };
    let sql = format!(
        "SELECT {} FROM (SELECT :object AS object, :local_id AS local_id, :hs_id AS hs_id, :row AS row) AS new",
        row_with(&hs_id_of)
    );
    let whole = named_params! {
        ":object": object.as_str(),
        ":local_id": record.local_id.0,
        ":hs_id": record.hs_id.map(|id| id.0),
        ":row": row,
    };
    Ok(connection
        .prepare_cached(&sql)?
        .query_row(whole, |row| row.get(0))?)
}

/// With `recursive_triggers` a REPLACE deletes its row like a DELETE: the note of it keeps the associations, since a row that was
/// never sent leaves no entry behind.
pub(crate) fn note_replaced(pairs: &Pairs<'_>) -> Option<String> {
    let note = format!(
        "UPDATE _sync_replaced SET row = json_set(row, '$.associations', json(({})))
WHERE object = new.object AND local_id = new.local_id AND taking = 0 AND {}",
        kept(&|object, local_id| pairs.hs_id(object, local_id)),
        has_any()
    );
    (!pairs.are_none()).then_some(note)
}

/// Whether a mirror row that is deleted has associations.
fn has_any() -> String {
    format!("EXISTS (SELECT 1 FROM associations AS a WHERE {OF_ROW})")
}

/// HubSpot takes the associations of an archived record by itself. What was still to be made is written down, as the daemon does
/// where it meets an association whose record is gone; not where the row is replaced, whose associations come back.
fn lost(pairs: &Pairs<'_>) -> Vec<String> {
    let hs_id = |end: &str| {
        let (object, local_id) = (format!("e.{end}object"), format!("e.{end}local_id"));
        format!(
            "iif({object} = new.object AND {local_id} = new.local_id, new.hs_id, {})",
            pairs.hs_id(&object, &local_id)
        )
    };
    let arms: Vec<String> = pairs
        .pairs()
        .iter()
        .map(|pair| {
            format!(
                "\n    WHEN {} THEN {}",
                is_of_entry(pair),
                literal(pair.key.as_str())
            )
        })
        .collect();
    let key = match arms.is_empty() {
        true => "NULL".to_owned(),
        false => format!("(CASE{} END)", arms.concat()),
    };
    let written = format!(
        "INSERT INTO sync_history (at, object, local_id, hs_id, property, old_value, origin)
SELECT {NOW}, l.pair, l.local_id, l.from_hs_id, 'association',
    json_object('from_local_id', l.local_id, 'from_hs_id', l.from_hs_id, 'to_local_id', l.to_local_id, 'to_hs_id', l.to_hs_id,
                'category', l.category, 'type_id', l.type_id, 'label', l.label), 'push'
FROM (SELECT DISTINCT e.*, {key} AS pair, {} AS from_hs_id, {} AS to_hs_id FROM sync_outbox AS e, associations AS a
      WHERE e.operation = 'associate' AND {IS_FREE} AND ({OF_ROW}) AND {}) AS l
WHERE l.pair IS NOT NULL AND NOT EXISTS (SELECT 1 FROM _sync_replaced AS n WHERE n.object = new.object AND n.local_id = new.local_id AND n.taking = 0)",
        hs_id(""),
        hs_id("to_"),
        is_entry_of("a")
    );
    let rows = format!("(SELECT * FROM associations AS a WHERE {OF_ROW})");
    vec![
        release(&rows),
        written,
        format!(
            "DELETE FROM sync_outbox WHERE id IN (SELECT e.id FROM sync_outbox AS e, associations AS a
    WHERE e.operation = 'associate' AND {IS_FREE} AND ({OF_ROW}) AND {})",
            is_entry_of("a")
        ),
        format!("DELETE FROM associations WHERE id IN (SELECT a.id FROM associations AS a WHERE {OF_ROW})"),
        // What is in doubt and waits for a create would wait for ever.
        format!(
            "UPDATE sync_outbox SET waits_for = NULL, next_attempt_at = {NOW}
WHERE id IN (SELECT e.id FROM sync_outbox AS e WHERE {OF_ROW_WAITING})"
        ),
    ]
}

/// Entries of a mirror row's associations that wait for a create, as `e`.
const OF_ROW_WAITING: &str =
    "e.waits_for = 'create' AND ((e.object = new.object AND e.local_id = new.local_id
      AND e.operation IN ('associate', 'disassociate'))
    OR (e.to_object = new.object AND e.to_local_id = new.local_id AND e.to_local_id IS NOT NULL))";

/// Whether a mirror row that is deleted has such entries.
fn has_waiting() -> String {
    format!("EXISTS (SELECT 1 FROM sync_outbox AS e WHERE {OF_ROW_WAITING})")
}

/// Whether what an entry kept of its row has associations.
const HAS_LIST: &str = "json_type(new.row, '$.associations') = 'array'";

/// A deleted row's associations come back with it. One whose other row is gone stays away.
fn back(pairs: &Pairs<'_>) -> Vec<String> {
    let value = |name: &str| format!("json_extract(j.value, '$.{name}')");
    let columns = [
        "from_object",
        "from_local_id",
        "to_object",
        "to_local_id",
        "category",
        "type_id",
        "label",
    ];
    let values: Vec<String> = columns
        .iter()
        .map(|column| format!("{} AS {column}", value(column)))
        .collect();
    let all = format!(
        "(SELECT {}, {} AS pending, coalesce({}, 0) AS by_default FROM json_each(new.row, '$.associations') AS j)",
        values.join(", "),
        value("pending"),
        value("by_default")
    );
    let columns = columns.join(", ");
    let same = format!(
        "{} AND a.category IS v.category AND a.type_id IS v.type_id AND a.label IS v.label",
        same_ends("a", "v")
    );
    vec![
        format!(
            "INSERT INTO associations ({columns}) SELECT {columns} FROM {all} AS v
WHERE {} AND {} AND NOT EXISTS (SELECT 1 FROM associations AS a WHERE {same})",
            pairs.is_there("v.from_object", "v.from_local_id"),
            pairs.is_there("v.to_object", "v.to_local_id")
        ),
        format!(
            "INSERT INTO _sync_link_made SELECT a.id, v.by_default FROM {all} AS v, associations AS a WHERE v.pending = 1 AND {same}"
        ),
    ]
}
