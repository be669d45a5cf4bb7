//! What `check --online` says of each thing that it looked at: green, yellow or red, and what to do (`contract-crm.md`,
//! section 4). Red is what stops the daemon or an object, yellow what degrades one field or will matter soon.

use std::time::Duration;

use serde::Serialize;

use crate::decide::portal::wishes::WishedOption;
use crate::decide::schema::{Definition, FieldProblem, NO_PROPERTY};
use crate::model::mapping::{Direction, FieldMapping, KeyChoice, OWN_KEY, ObjectMapping};
use crate::model::name::PropertyName;
use crate::model::object::is_unique_in_hubspot;
use crate::model::time::Timestamp;
use crate::model::value::PropertyType;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Colour {
    /// In order.
    Green,
    /// It degrades one field, or will matter soon.
    Yellow,
    /// It stops the daemon, or an object.
    Red,
}

/// A line of the doctor's page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CheckLine {
    /// What was looked at: `dns`, `property contacts.email`.
    pub name: String,
    /// How it is.
    pub status: Colour,
    /// The stable name of what is wrong.
    pub code: Option<&'static str>,
    /// What was found.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

impl CheckLine {
    /// A thing in order.
    pub fn green(name: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            status: Colour::Green,
            code: None,
            message: message.into(),
            hint: None,
        }
    }

    /// A thing to look at.
    pub fn yellow(name: &str, code: &'static str, message: String, hint: &str) -> Self {
        Self {
            name: name.to_owned(),
            status: Colour::Yellow,
            code: Some(code),
            message,
            hint: Some(hint.to_owned()),
        }
    }

    /// A thing that stops something.
    pub fn red(name: &str, code: &'static str, message: String, hint: &str) -> Self {
        Self {
            status: Colour::Red,
            ..Self::yellow(name, code, message, hint)
        }
    }

    /// The same line, with what could not be looked at for its sake.
    #[must_use]
    pub fn leaving_out(self, what: &str) -> Self {
        let join = match self.message.contains(LEFT_OUT) {
            true => ", ",
            false => LEFT_OUT,
        };
        let message = format!("{}{join}{what}", self.message);
        Self { message, ..self }
    }
}

/// Before what a line says not to have been looked at for its sake.
const LEFT_OUT: &str = "; not looked at for that: ";

/// What the portal has of a mapped property.
#[derive(Debug, Clone, Copy)]
pub enum FoundProperty<'a> {
    /// Nothing.
    Missing,
    /// It lies in HubSpot's archive.
    Archived,
    /// It is there.
    There {
        /// How it is defined.
        definition: &'a Definition,
        /// How many options it has.
        options: usize,
        /// Whether HubSpot takes no new record without it.
        is_required: bool,
    },
}

/// The line of a mapped property; `wrong` is what the schema step finds of it, `field` as the file has it.
pub fn property(
    object: &ObjectMapping,
    field: &FieldMapping,
    found: FoundProperty<'_>,
    wrong: Option<&FieldProblem>,
) -> CheckLine {
    let name = format!("property {}.{}", object.object, field.property);
    let (definition, options, is_required) = match found {
        FoundProperty::Archived => {
            let message = format!("`{}` is archived in HubSpot", field.property);
            return CheckLine::yellow(&name, "property-archived", message, NO_PROPERTY);
        }
        FoundProperty::Missing => {
            let (problem, hint) = wrong.map_or(("HubSpot has no such property", ""), |wrong| {
                (wrong.problem.as_str(), wrong.hint.as_str())
            });
            return CheckLine::yellow(&name, "unknown-property", problem.to_owned(), hint);
        }
        FoundProperty::There {
            definition,
            options,
            is_required,
        } => (definition, options, is_required),
    };
    if let Some(wrong) = wrong {
        return CheckLine::yellow(&name, wrong.code, wrong.problem.clone(), &wrong.hint);
    }
    let portal_type = definition.property_type();
    if let Some(declared) = field.declared_type
        && !holds(declared, portal_type)
    {
        let message = format!(
            "`{}` is of type {portal_type} in HubSpot, and the file says `{declared}`: values that don't fit are kept in `sync_unreadable` alone",
            field.property
        );
        let hint = format!("write `type = \"{portal_type}\"`, or take `type` out");
        return CheckLine::yellow(&name, "property-type", message, &hint);
    }
    if definition.read_only && field.direction != Direction::Pull {
        let message = format!(
            "HubSpot takes no value of `{}`, so that it is only read and the column refuses writes",
            field.property
        );
        let hint = "write `direction = \"pull\"` for it, so that the file says so";
        return CheckLine::yellow(&name, "read-only-property", message, hint);
    }
    let mut said = vec![field.declared_type.unwrap_or(portal_type).to_string()];
    let mut say = |holds: bool, what: &str| {
        if holds {
            said.push(what.to_owned());
        }
    };
    say(definition.read_only, "read-only");
    say(is_required, "required for a new record");
    say(is_unique(object, &field.property, definition), "unique");
    say(options > 0, &format!("{options} options"));
    CheckLine::green(name, said.join(", "))
}

/// The line of an object of which HubSpot takes no new record without `required` properties; nothing where each is sent.
pub fn required_unsent(object: &ObjectMapping, required: &[&str]) -> Option<CheckLine> {
    let makes_records = object.direction.pushes() && object.modes.new_records.makes_records();
    if !makes_records {
        return None;
    }
    let line = |names: Vec<&str>, why: &str, hint: &str| {
        let message = format!(
            "HubSpot takes no new record without `{}`, {why}: new rows are refused",
            names.join("`, `")
        );
        let name = format!("object {}", object.object);
        (!names.is_empty()).then(|| CheckLine::yellow(&name, "required-property", message, hint))
    };
    let field = |name: &str| {
        let mut fields = object.fields.iter();
        fields.find(|field| field.property.as_str() == name)
    };
    let those = |is_it: &dyn Fn(Option<&FieldMapping>) -> bool| {
        let required = required.iter().copied();
        required.filter(|name| is_it(field(name))).collect()
    };
    let unmapped = those(&|field| field.is_none());
    let locked = those(&|field| field.is_some_and(|field| field.modes.locked));
    let pulled = those(&|field| field.is_some_and(|field| !field.is_sent() && !field.modes.locked));
    line(
        unmapped,
        "which the file does not map",
        "map it, or write `new_records = \"from_hubspot\"`",
    )
    .or_else(|| {
        line(
            locked,
            "which it lets nobody write any more",
            "make it writable in HubSpot again, or write `new_records = \"from_hubspot\"`",
        )
    })
    .or_else(|| {
        line(
            pulled,
            "which is only pulled",
            "have it pushed (`direction = \"both\"`) where HubSpot lets it be written, or write `new_records = \"from_hubspot\"`",
        )
    })
}

/// The line of a property that is there without all the options that the file declares.
pub fn options_missing(name: &str, missing: &[&WishedOption]) -> CheckLine {
    let values: Vec<&str> = missing.iter().map(|option| option.value.as_str()).collect();
    CheckLine::yellow(
        name,
        "option-missing",
        format!("HubSpot has no option `{}` of it", values.join("`, `")),
        MAKE_IT,
    )
}

/// What makes what the file declares.
pub const MAKE_IT: &str = "run `hubsyncd properties apply`, which makes what the file declares";

/// Whether a column of a declared type can hold what HubSpot gives of another one.
fn holds(declared: PropertyType, given: PropertyType) -> bool {
    use PropertyType::{Decimal, Integer, Number, String};
    let is_number = |kind| matches!(kind, Number | Decimal | Integer);
    declared == given || declared == String || (is_number(declared) && is_number(given))
}

fn is_unique(object: &ObjectMapping, property: &PropertyName, definition: &Definition) -> bool {
    definition.unique || is_unique_in_hubspot(&object.object, property)
}

/// The line of an object's `key`; `key_of` gives how a property is defined.
pub fn key<'a>(
    object: &ObjectMapping,
    definition_of: impl Fn(&str) -> Option<&'a Definition>,
) -> CheckLine {
    let name = format!("key {}", object.object);
    let makes_records = object.direction.pushes() && object.modes.new_records.makes_records();
    match &object.key {
        _ if !makes_records => CheckLine::green(name, "no row becomes a record, so none is needed"),
        KeyChoice::None => CheckLine::green(
            name,
            "none: after a lost answer a new record is looked for by `match` alone",
        ),
        KeyChoice::Auto => match definition_of(OWN_KEY) {
            None => CheckLine::green(
                name,
                format!("`{OWN_KEY}` is made before the first row becomes a record"),
            ),
            Some(definition) if definition.unique => {
                CheckLine::green(name, format!("`{OWN_KEY}` is there, and unique"))
            }
            Some(_) => CheckLine::yellow(
                &name,
                "key-not-unique",
                format!("HubSpot does not keep `{OWN_KEY}` unique, so that it is not used"),
                "archive the property in HubSpot for good; hubsyncd makes it again as it should be",
            ),
        },
        KeyChoice::Property(property) => match definition_of(property.as_str()) {
            None => unusable(&name, property, "HubSpot has no such property"),
            Some(definition) if definition.property_type() == PropertyType::Set => unusable(
                &name,
                property,
                "it can hold several values, so that no record is found by it",
            ),
            Some(definition) if is_unique(object, property, definition) => {
                CheckLine::green(name, format!("`{property}`, which HubSpot keeps unique"))
            }
            Some(_) => CheckLine::yellow(
                &name,
                "key-not-unique",
                format!(
                    "HubSpot does not keep `{property}` unique, so that it does what `match` does and no more"
                ),
                "give `key` a property that HubSpot keeps unique, or write `key = \"auto\"` and name this one in `match`",
            ),
        },
    }
}

fn unusable(name: &str, property: &PropertyName, why: &str) -> CheckLine {
    let hint = "name a property that is there and holds one value, or take this key out";
    CheckLine::red(
        name,
        "match-unusable",
        format!("`{property}` can't be looked up: {why}"),
        hint,
    )
}

/// The line of an object's `match`; nothing where it has none.
pub fn match_property<'a>(
    object: &ObjectMapping,
    definition_of: impl Fn(&str) -> Option<&'a Definition>,
) -> Option<CheckLine> {
    let property = object.match_property.as_ref()?;
    let name = format!("match {}", object.object);
    let Some(definition) = definition_of(property.as_str()) else {
        return Some(unusable(&name, property, "HubSpot has no such property"));
    };
    if definition.property_type() == PropertyType::Set {
        let why = "it can hold several values, so that no record is found by it";
        return Some(unusable(&name, property, why));
    }
    if is_unique(object, property, definition) {
        let message = format!("`{property}`, which HubSpot keeps unique");
        return Some(CheckLine::green(name, message));
    }
    if object.direction == Direction::Push {
        let message = format!(
            "HubSpot does not keep `{property}` unique, so that records are looked for by search, whose index is late: a record that somebody makes in those seconds is not found"
        );
        let hint = "make the property unique in HubSpot, or write `direction = \"both\"`, so that rows are looked at";
        return Some(CheckLine::yellow(&name, "match-by-search", message, hint));
    }
    let message = format!("`{property}`, looked up among the rows once they are loaded");
    Some(CheckLine::green(name, message))
}

/// The line of what is used of the day; `own` are our requests of it.
pub fn day(limit: Option<u64>, used: u64, own: u64, resets_at: Timestamp) -> CheckLine {
    let Some(limit) = limit else {
        return CheckLine::green("day", "the account has no limit of the day for this app");
    };
    let others = used.saturating_sub(own);
    let share = used.saturating_mul(100) / limit.max(1);
    let message = format!(
        "{used} of {limit} requests are used ({share} %), {others} of them by other apps; the day ends at {resets_at}"
    );
    let hint = "find the app that uses it up under Development > Monitoring in HubSpot, or poll less often";
    match share {
        0..90 => CheckLine::green("day", message),
        90..100 => CheckLine::yellow("day", "day-nearly-spent", message, hint),
        _ => CheckLine::red("day", "out-of-quota", message, hint),
    }
}

/// The farthest that the two clocks may be apart without a word.
const CLOCK_MS: u64 = 60_000;

/// The line of this machine's clock; `offset_ms` is HubSpot's minus ours.
pub fn clock(offset_ms: i64) -> CheckLine {
    let seconds = offset_ms.unsigned_abs() / 1000;
    if offset_ms.unsigned_abs() < CLOCK_MS {
        return CheckLine::green("clock", format!("{seconds} s from HubSpot's"));
    }
    let way = if offset_ms > 0 { "behind" } else { "before" };
    CheckLine::yellow(
        "clock",
        "clock-off",
        format!("this machine's clock is {seconds} s {way} HubSpot's"),
        "let the clock be set by NTP (`timedatectl set-ntp true`): certificates and signatures go by it",
    )
}

/// The line of the tier: requests in ten seconds that the file counts on, and those that HubSpot lets go.
pub fn tier(counted_on: u32, allowed: u32, name: &str) -> CheckLine {
    let message = format!("`{name}`: HubSpot allows {allowed} requests in 10 s");
    if allowed >= counted_on {
        return CheckLine::green("tier", message);
    }
    CheckLine::yellow(
        "tier",
        "tier-differs",
        format!("{message}, and the file counts on {counted_on}"),
        "write the account's own tier into `[portal].tier`; until HubSpot has answered it is what requests are paced by",
    )
}

/// From here on a token's end is near.
const NEAR_END: Duration = Duration::from_hours(7 * 24);

/// The line of a token that HubSpot accepts; `ends_at` where it says when that ends.
pub fn token(what: &str, ends_at: Option<Timestamp>, now: Timestamp) -> CheckLine {
    match ends_at {
        Some(ends) if ends < now + NEAR_END => CheckLine::yellow(
            "token",
            "token-ends",
            format!("{what}; it ends at {ends}"),
            "have HubSpot make a new one, and put it in the old one's place",
        ),
        Some(ends) => CheckLine::green("token", format!("{what}; it ends at {ends}")),
        None => CheckLine::green("token", what),
    }
}

/// Of free space under this share of the disk something is said.
const LEAST_FREE_PERCENT: u64 = 10;

/// The line of the database's folder, which can be written; `free` and `size` of its disk in bytes.
pub fn database(what: &str, (free, size): (u64, u64), keeps_group: bool) -> CheckLine {
    let percent = free.saturating_mul(100) / size.max(1);
    let message = format!(
        "{what}; {percent} % of its disk are free ({} MiB)",
        free >> 20
    );
    if percent < LEAST_FREE_PERCENT {
        let hint = "make room, or give `[database].path` a larger disk; `[retention].max_size` bounds what is kept besides the rows";
        return CheckLine::yellow("database", "disk-nearly-full", message, hint);
    }
    if !keeps_group {
        let hint =
            "chmod g+s it, so that what programs of the group make there stays in that group";
        let message =
            format!("{message}; the folder lets its group write and does not hand the group on");
        return CheckLine::yellow("database", "folder-not-setgid", message, hint);
    }
    CheckLine::green("database", message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::mapping::{FieldModes, Policy};
    use crate::model::name::ColumnName;

    fn defined(kind: &str, field_type: &str) -> Definition {
        Definition {
            kind: kind.to_owned(),
            field_type: field_type.to_owned(),
            read_only: false,
            unique: false,
            refers_to_record: false,
        }
    }

    fn looked_at(
        declared: Option<PropertyType>,
        definition: &Definition,
        direction: Direction,
    ) -> (Colour, Option<&'static str>) {
        let field = FieldMapping {
            property: PropertyName::parse("revenue").expect("a name"),
            column: ColumnName::parse("revenue").expect("a name"),
            declared_type: declared,
            property_type: PropertyType::String,
            direction,
            policy: Policy::Newest,
            modes: FieldModes::default(),
        };
        let found = FoundProperty::There {
            definition,
            options: 0,
            is_required: false,
        };
        let contacts = crate::testing::contacts();
        let line = property(contacts.mapping(), &field, found, None);
        (line.status, line.code)
    }

    #[test]
    fn a_property_that_a_new_record_needs_and_that_is_not_sent_says_what_to_do() {
        let told = |change: &dyn Fn(&mut FieldMapping), required: &str| {
            let mut mapping = crate::testing::contacts().mapping().clone();
            mapping.fields.iter_mut().for_each(change);
            let line = required_unsent(&mapping, &[required])?;
            Some(line.hint.unwrap_or_default())
        };
        assert_eq!(told(&|_| (), "email"), None);
        for (change, required, hint) in [
            (&|_: &mut FieldMapping| (), "other", "map it, or"),
            (
                &|field: &mut FieldMapping| field.modes.locked = true,
                "email",
                "make it writable",
            ),
            (
                &|field: &mut FieldMapping| field.direction = Direction::Pull,
                "email",
                "have it pushed",
            ),
        ] as [(&dyn Fn(&mut FieldMapping), &str, &str); 3]
        {
            let told = told(change, required).expect("a line");
            assert!(told.starts_with(hint), "{told}");
        }
    }

    #[test]
    fn a_property_is_yellow_where_its_type_or_its_direction_is_another() {
        let number = defined("number", "number");
        let calculated = Definition {
            read_only: true,
            ..defined("number", "calculation_equation")
        };
        let green = (Colour::Green, None);
        for (declared, definition, direction, expected) in [
            (None, &number, Direction::Both, green),
            (Some(PropertyType::String), &number, Direction::Both, green),
            (Some(PropertyType::Decimal), &number, Direction::Both, green),
            (
                Some(PropertyType::Date),
                &number,
                Direction::Both,
                (Colour::Yellow, Some("property-type")),
            ),
            (None, &calculated, Direction::Pull, green),
            (
                None,
                &calculated,
                Direction::Both,
                (Colour::Yellow, Some("read-only-property")),
            ),
        ] {
            assert_eq!(looked_at(declared, definition, direction), expected);
        }
    }

    #[test]
    fn what_is_counted_turns_yellow_and_red_at_its_bounds() {
        let at = Timestamp::from_millis(0);
        let days = |used| day(Some(1_000), used, 100, at).status;
        assert_eq!(days(899), Colour::Green);
        assert_eq!(days(900), Colour::Yellow);
        assert_eq!(days(1_000), Colour::Red);
        assert_eq!(day(None, 5, 5, at).status, Colour::Green);
        assert!(
            day(Some(1_000), 250, 50, at)
                .message
                .contains("200 of them")
        );
        assert_eq!(clock(59_999).status, Colour::Green);
        assert_eq!(clock(-60_000).status, Colour::Yellow);
        assert!(clock(-60_000).message.contains("60 s before"));
        assert_eq!(tier(190, 190, "professional").status, Colour::Green);
        assert_eq!(tier(190, 100, "professional").status, Colour::Yellow);
        let ends = |days: u64| {
            let ends = at + Duration::from_hours(24 * days);
            token("a token", Some(ends), at).status
        };
        assert_eq!((ends(6), ends(7)), (Colour::Yellow, Colour::Green));
        let disk = |free| database("a folder", (free, 100), true).status;
        assert_eq!((disk(10), disk(9)), (Colour::Green, Colour::Yellow));
        assert_eq!(
            database("a folder", (50, 100), false).code,
            Some("folder-not-setgid")
        );
    }

    #[test]
    fn a_key_or_match_that_finds_nothing_is_red_and_one_by_search_is_yellow() {
        let told = |definition: Option<Definition>, direction| {
            let mut object = crate::testing::contacts().mapping().clone();
            object.direction = direction;
            let property = PropertyName::parse("reference").expect("a name");
            object.match_property = Some(property.clone());
            object.key = KeyChoice::Property(property);
            let of = |_: &str| definition.as_ref();
            let by_match = match_property(&object, of).expect("it has one");
            (key(&object, of).status, by_match.status)
        };
        let text = defined("string", "text");
        let unique = Definition {
            unique: true,
            ..text.clone()
        };
        let set = defined("enumeration", "checkbox");
        for (definition, direction, expected) in [
            (None, Direction::Both, (Colour::Red, Colour::Red)),
            (Some(set), Direction::Both, (Colour::Red, Colour::Red)),
            (
                Some(unique),
                Direction::Push,
                (Colour::Green, Colour::Green),
            ),
            (
                Some(text.clone()),
                Direction::Both,
                (Colour::Yellow, Colour::Green),
            ),
            (
                Some(text.clone()),
                Direction::Push,
                (Colour::Yellow, Colour::Yellow),
            ),
            (Some(text), Direction::Pull, (Colour::Green, Colour::Green)),
        ] {
            assert_eq!(told(definition, direction), expected);
        }
    }
}
