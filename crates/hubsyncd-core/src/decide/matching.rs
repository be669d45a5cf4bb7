//! Which row means which record: when two values are one for the object's `key` and `match`, and how a record that
//! HubSpot has already is looked for before a create.
//!
//! The rule stands here alone. SQL asks it through a function of the daemon's own connections (`store/shape/matching.rs`), whose
//! indexes other programs keep up with what their SQLite knows by itself.

use std::time::Duration;

use crate::model::mapping::{Direction, FieldMapping, NewRecords};
use crate::model::name::{ObjectType, PropertyName};
use crate::model::object::StandardObject;
use crate::model::synced::SyncedObject;
use crate::model::value::{ColumnValue, PropertyType, Value};

/// A value that says which record a row is, in the form in which two of them are compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The property: the object's natural key or its match property.
    pub property: PropertyName,
    /// The value's form.
    pub form: String,
}

/// How values of a property are held against each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MatchRule {
    /// Without what nobody sees around it, in lower case.
    Text,
    /// A company's domain as HubSpot keeps it: the host of an address, without `www.`.
    Domain,
    /// By the meaning that the type gives to text.
    Typed(PropertyType),
}

impl MatchRule {
    /// The rule of a property.
    pub fn of(object: &ObjectType, field: &FieldMapping) -> Self {
        match field.property_type {
            PropertyType::String | PropertyType::Enumeration
                if StandardObject::of(object.as_str())
                    .is_some_and(|standard| standard.domain == Some(field.property.as_str())) =>
            {
                Self::Domain
            }
            PropertyType::String | PropertyType::Enumeration => Self::Text,
            typed @ (PropertyType::Number
            | PropertyType::Decimal
            | PropertyType::Integer
            | PropertyType::Bool
            | PropertyType::Date
            | PropertyType::Datetime
            | PropertyType::Set) => Self::Typed(typed),
        }
    }

    /// The name by which SQL asks for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Domain => "domain",
            Self::Typed(property_type) => property_type.as_str(),
        }
    }

    /// Reads such a name.
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "text" => Some(Self::Text),
            "domain" => Some(Self::Domain),
            other => PropertyType::parse(other).map(Self::Typed),
        }
    }

    /// The form in which two values are held against each other; `None` where there is nothing to match by.
    pub fn form(self, value: &Value) -> Option<String> {
        self.form_of(value.as_deref()?)
    }

    /// The same of what a column holds.
    pub fn form_of_column(self, column: &ColumnValue) -> Option<String> {
        match (self, column) {
            (Self::Text | Self::Domain, ColumnValue::Text(text)) => self.form_of(text),
            (Self::Typed(property_type), column) => match property_type.from_column(column) {
                Ok(value) => self.form(&value),
                Err(_invalid) => self.form_of(&text_of(column)),
            },
            (Self::Text | Self::Domain, column) => self.form_of(&text_of(column)),
        }
    }

    fn form_of(self, text: &str) -> Option<String> {
        let form = match self {
            Self::Text => plain(text),
            Self::Domain => host(&plain(text)),
            Self::Typed(property_type) => typed(property_type, text),
        };
        Some(form).filter(|form| !form.is_empty())
    }
}

fn text_of(column: &ColumnValue) -> String {
    match column {
        ColumnValue::Null => String::new(),
        ColumnValue::Integer(number) => number.to_string(),
        ColumnValue::Real(number) => number.to_string(),
        ColumnValue::Text(text) => text.clone(),
    }
}

/// Whether a letter at the end of a value is no part of what people mean: space and control characters of all of Unicode,
/// and the marks without a width that come along with copied text.
pub fn is_unseen(letter: char) -> bool {
    letter.is_whitespace()
        || letter.is_control()
        || matches!(letter, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2064}' | '\u{feff}')
}

/// Text in the form in which two of them are compared.
pub fn plain(text: &str) -> String {
    text.trim_matches(is_unseen).to_lowercase()
}

/// The host of an address: without scheme, user, port and path (`hubspot/api-facts.md#7`). More than one `www.` goes, so that a
/// form is its own form.
fn host(address: &str) -> String {
    let mut bare = address;
    let mut is_url = false;
    while let Some(rest) = without_scheme(bare) {
        bare = rest;
        is_url = true;
    }
    let authority = bare.split(['/', '?', '#', '\\']).next().unwrap_or_default();
    // An e-mail address is no URL's host with a user: what HubSpot makes of one is not known.
    let host = match authority.rsplit_once('@') {
        Some((_, host)) if is_url => host,
        Some(_) | None => authority,
    };
    let end = host.find(']').map_or(0, |bracket| bracket + 1);
    let port = host[end..].find(':').map_or(host.len(), |at| end + at);
    let mut host = host[..port].trim_matches(|letter| letter == '.' || is_unseen(letter));
    while let Some(rest) = host.strip_prefix("www.") {
        host = rest.trim_start_matches(|letter| letter == '.' || is_unseen(letter));
    }
    host.to_owned()
}

/// What follows an address's scheme and slashes, or its slashes alone; `None` where it begins with its host. `http:host` has
/// one too, while `host:8080` has a port.
fn without_scheme(address: &str) -> Option<&str> {
    let is_slash = |letter: char| matches!(letter, '/' | '\\') || is_unseen(letter);
    let after = match address.split_once(':') {
        Some((scheme, rest))
            if matches!(scheme, "http" | "https")
                || (rest.starts_with("//") && is_scheme(scheme)) =>
        {
            rest
        }
        Some(_) | None if address.starts_with(is_slash) => address,
        Some(_) | None => return None,
    };
    Some(after.trim_start_matches(is_slash))
}

/// Whether text may stand before `://`. A path or a query that holds an address of its own may not.
fn is_scheme(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

fn typed(property_type: PropertyType, text: &str) -> String {
    let Ok(value) = property_type.canonical(Some(text.trim_matches(is_unseen))) else {
        return plain(text);
    };
    let canonical = value.to_wire();
    match property_type {
        // Several numbers are one in the column: it says nothing of which of them is meant.
        PropertyType::Number if property_type.is_blurred(&value) => String::new(),
        PropertyType::Number => canonical
            .parse::<f64>()
            .map_or_else(|_| plain(canonical), |number| (number + 0.0).to_string()),
        PropertyType::Set => {
            let mut options: Vec<&str> = canonical.split(';').collect();
            options.sort_unstable();
            options.dedup();
            options.join(";")
        }
        PropertyType::String
        | PropertyType::Enumeration
        | PropertyType::Decimal
        | PropertyType::Integer
        | PropertyType::Bool
        | PropertyType::Date
        | PropertyType::Datetime => canonical.to_owned(),
    }
}

/// How the record that a new row means is found by one of its values, if HubSpot has it already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LookBefore {
    /// Among the records that the first read and the polls bring.
    Rows,
    /// By a batch read, which shows the store.
    BatchRead,
    /// By a search just before the create, once it shows what was there when the row was made ([`SEARCH_LAG`]). A record
    /// that somebody makes within that time is not found.
    Search,
    /// Not at all: no row is made here.
    Nowhere,
}

/// How far HubSpot's search is behind its store on most days (`hubspot/api-facts.md#6`).
pub const SEARCH_LAG: Duration = Duration::from_secs(30);

/// Decides where a record is looked for by a property before a row becomes a record of its own.
pub(crate) fn look_before_create(
    direction: Direction,
    new_records: NewRecords,
    is_unique: bool,
) -> LookBefore {
    match (direction, new_records, is_unique) {
        (Direction::Pull, ..) => LookBefore::Nowhere,
        (Direction::Both, NewRecords::Both, _) => LookBefore::Rows,
        (Direction::Both | Direction::Push, _, true) => LookBefore::BatchRead,
        // Every record is a row: it is adopted as it comes.
        (Direction::Both, NewRecords::FromHubspot, false) => LookBefore::Rows,
        (Direction::Both, NewRecords::FromLocal | NewRecords::None, false)
        | (Direction::Push, _, false) => LookBefore::Search,
    }
}

/// The fields by which a create's record is looked for in one way before it is sent.
pub fn looked_up(object: &SyncedObject, way: LookBefore) -> impl Iterator<Item = &FieldMapping> {
    let (direction, new_records) = (
        object.mapping().direction,
        object.mapping().modes.new_records,
    );
    object.mapping().identities().filter(move |field| {
        look_before_create(direction, new_records, object.is_unique(&field.property)) == way
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(rule: MatchRule, text: &str, expected: Option<&str>) {
        let form = rule.form(&Value::from_canonical(text));
        assert_eq!(form.as_deref(), expected, "{text:?}");
        if let Some(form) = &form {
            let again = rule.form(&Value::from_canonical(form.as_str()));
            assert_eq!(again.as_ref(), Some(form), "{text:?} is not its own form");
        }
        assert_eq!(MatchRule::parse(rule.as_str()), Some(rule));
    }

    #[test]
    fn what_nobody_sees_around_an_address_and_its_case_make_no_other_person() {
        let check = |text: &str, expected| check(MatchRule::Text, text, expected);
        for around in [
            " ", "\r", "\n", "\t", "\u{a0}", "\u{3000}", "\u{200b}", "\u{feff}", "\u{85}", "\0",
            "\u{7f}", "\u{2028}",
        ] {
            check(&format!("Ann@Example.com{around}"), Some("ann@example.com"));
            check(&format!("{around}ann@example.com"), Some("ann@example.com"));
            check(around, None);
        }
        check("a b@x.com", Some("a b@x.com"));
        check("ÉRIC.MÜLLER@EXAMPLE.COM", Some("éric.müller@example.com"));
        check("ORDER-\u{212a}", Some("order-k"));
        check("", None);
    }

    #[test]
    fn a_domain_is_the_host_that_hubspot_keeps() {
        let check = |text: &str, expected| check(MatchRule::Domain, text, expected);
        check("https://www.web.example.com/about", Some("web.example.com"));
        check("HTTP://Example.COM:8080?x=1", Some("example.com"));
        check("www.example.com.", Some("example.com"));
        check("\texample.com/\r\n", Some("example.com"));
        check("www.www.example.com", Some("example.com"));
        check("wwwexample.com", Some("wwwexample.com"));
        check("https://", None);
    }

    #[test]
    fn each_way_to_write_an_address_has_its_host_as_its_form() {
        for text in [
            "//example.com/x",
            "///example.com",
            "https:///example.com/x",
            "https:/example.com",
            "https:\\\\example.com\\x",
            "http:example.com",
            "HTTP:Example.com/x",
            "https:// example.com",
            "https://https://example.com",
            "ftp://example.com",
            "https://user:pass@example.com:8080/x",
            "//user@www.example.com",
            "example.com:8080",
            "example.com:",
            "example.com../",
            "example.com/go?to=https://other.com",
            "example.com?to=//other.com",
            "example.com#https://other.com",
            "WWW.example.com",
            "www..example.com",
            ".www.example.com.",
        ] {
            check(MatchRule::Domain, text, Some("example.com"));
        }
        let check = |text: &str, expected| check(MatchRule::Domain, text, expected);
        check("http://[::1]:8080/x", Some("[::1]"));
        check("info@example.com", Some("info@example.com"));
        check("https.example.com", Some("https.example.com"));
        for nothing in [
            "//",
            "http:",
            "https://www.",
            "/",
            "https://?x=1",
            "https://user@/",
        ] {
            let form = MatchRule::Domain.form(&Value::from_canonical(nothing));
            assert!(
                matches!(form.as_deref(), None | Some("www")),
                "{nothing}: {form:?}"
            );
        }
    }

    #[test]
    fn other_types_match_by_their_meaning() {
        let typed =
            |kind, text: &str, expected| check(MatchRule::Typed(kind), text, Some(expected));
        typed(PropertyType::Number, "4711.0", "4711");
        typed(PropertyType::Number, " -0", "0");
        typed(PropertyType::Decimal, "12.50", "12.5");
        typed(PropertyType::Integer, "4711\n", "4711");
        typed(PropertyType::Set, "b;a;b", "a;b");
        typed(PropertyType::Bool, "true", "true");
        typed(
            PropertyType::Datetime,
            "2026-11-24T03:10:00Z",
            "2026-11-24T03:10:00.000Z",
        );
        // Text that the type can't hold is compared as text.
        typed(PropertyType::Integer, " A-1", "a-1");
        let real =
            MatchRule::Typed(PropertyType::Number).form_of_column(&ColumnValue::Real(4711.0));
        assert_eq!(real.as_deref(), Some("4711"));
    }

    #[test]
    fn a_number_that_a_real_can_not_tell_from_its_neighbours_matches_nothing() {
        use PropertyType::{Decimal, Integer, Number, String};
        let form = |kind, text| MatchRule::Typed(kind).form(&Value::from_canonical(text));
        assert_eq!(
            form(Number, "9007199254740991").as_deref(),
            Some("9007199254740991")
        );
        for text in ["9007199254740992", "9007199254740993", "1.0E16", "-1e300"] {
            assert_eq!(form(Number, text), None, "{text}");
        }
        for kind in [Decimal, Integer, String] {
            let own = form(kind, "9007199254740993");
            assert_eq!(own.as_deref(), Some("9007199254740993"));
            assert_ne!(own, form(kind, "9007199254740992"));
        }
        assert_eq!(form(Integer, "1.0E16"), form(Integer, "10000000000000000"));
        assert_eq!(form(Decimal, "1.0E16"), form(Decimal, "10000000000000000"));
        let real =
            MatchRule::Typed(Number).form_of_column(&ColumnValue::Real(9_007_199_254_740_992.0));
        assert_eq!(real, None);
    }

    #[test]
    fn each_direction_looks_for_a_record_in_its_own_way() {
        use LookBefore::{BatchRead, Nowhere, Rows, Search};
        use NewRecords::{Both, FromHubspot, FromLocal, None};
        for is_unique in [false, true] {
            assert_eq!(look_before_create(Direction::Both, Both, is_unique), Rows);
            assert_eq!(
                look_before_create(Direction::Pull, Both, is_unique),
                Nowhere
            );
        }
        let check = |direction, new_records, is_unique, expected| {
            let looked = look_before_create(direction, new_records, is_unique);
            assert_eq!(looked, expected, "{direction:?} {new_records:?}");
        };
        for new_records in [Both, FromHubspot, FromLocal, None] {
            check(Direction::Push, new_records, true, BatchRead);
            check(Direction::Push, new_records, false, Search);
        }
        for new_records in [FromHubspot, FromLocal, None] {
            check(Direction::Both, new_records, true, BatchRead);
        }
        check(Direction::Both, FromHubspot, false, Rows);
        check(Direction::Both, FromLocal, false, Search);
        check(Direction::Both, None, false, Search);
    }
}
