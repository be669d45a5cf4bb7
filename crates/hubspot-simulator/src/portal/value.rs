//! One value on its way in: is it allowed, and how does HubSpot spell it (`api-facts.md#7`)?
//!
//! Pure functions of a definition and a text. References to owners, pipelines and other records are checked in `prepare`.

use crate::portal::schema::{Kind, Property};
use crate::world::time;

/// Longest text of one value, in characters.
const LONGEST: usize = 65_536;

/// Why a value was refused: HubSpot's code and words.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub code: &'static str,
    pub message: String,
}

fn refuse<T>(code: &'static str, message: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal {
        code,
        message: message.into(),
    })
}

/// The text that HubSpot keeps for `text`, which is not empty. `current` is the value so far: a checkbox value that
/// starts with `;` is added to it.
pub(crate) fn canonical(
    property: &Property,
    text: &str,
    current: Option<&str>,
    respell_numbers: bool,
) -> Result<String, Refusal> {
    if text.chars().count() > LONGEST {
        return refuse(
            "PROPERTY_VALUE_TOO_LONG",
            format!("{} is longer than {LONGEST} characters", property.name),
        );
    }
    match property.kind {
        Kind::String | Kind::PhoneNumber | Kind::Json => canonical_text(property, text),
        Kind::Number => canonical_number(text, respell_numbers),
        Kind::Bool => canonical_bool(text),
        Kind::Enumeration if property.is_set() => canonical_set(property, text, current),
        Kind::Enumeration => canonical_choice(property, text),
        Kind::Date => canonical_date(text),
        Kind::Datetime => canonical_datetime(text),
    }
}

fn canonical_text(property: &Property, text: &str) -> Result<String, Refusal> {
    match property.name.as_str() {
        "email" => canonical_email(text),
        "domain" => Ok(canonical_domain(text)),
        _ => Ok(text.replace("\r\n", "\n")),
    }
}

fn canonical_email(text: &str) -> Result<String, Refusal> {
    let email = text.trim().to_lowercase();
    if is_email(&email) {
        Ok(email)
    } else {
        refuse("INVALID_EMAIL", format!("Email address {email} is invalid"))
    }
}

fn is_email(email: &str) -> bool {
    let Some((local, domain)) = email.rsplit_once('@') else {
        return false;
    };
    let Some((name, top)) = domain.rsplit_once('.') else {
        return false;
    };
    let plain = |letter: char| !letter.is_whitespace() && !"@,;<>()\"".contains(letter);
    !local.is_empty()
        && local.chars().all(plain)
        && !name.is_empty()
        && !domain.contains("..")
        && domain
            .chars()
            .all(|letter| letter.is_alphanumeric() || letter == '-' || letter == '.')
        && top.chars().count() >= 2
        && top
            .chars()
            .all(|letter| letter.is_alphabetic() || letter == '-')
}

/// Without scheme, user, `www.`, port and path, in lower case.
fn canonical_domain(text: &str) -> String {
    let lower = text.trim().to_lowercase();
    let before_path = |text: &str| text.find(['?', '#']).unwrap_or(text.len());
    let (address, is_url) = match lower.find("//") {
        Some(at) if at == 0 || (lower[..at].ends_with(':') && at < before_path(&lower)) => {
            (&lower[at + 2..], true)
        }
        _ => (lower.as_str(), false),
    };
    let host = address.split(['/', '?', '#']).next().unwrap_or_default();
    let host = if is_url {
        host.rsplit('@').next().unwrap_or_default()
    } else {
        host
    };
    let host = host.split(':').next().unwrap_or_default();
    host.strip_prefix("www.").unwrap_or(host).to_owned()
}

fn canonical_number(text: &str, respell: bool) -> Result<String, Refusal> {
    let text = text.trim();
    let number: f64 = match text.parse() {
        Ok(number)
            if f64::is_finite(number) && !text.contains(|letter: char| "iInN".contains(letter)) =>
        {
            number
        }
        _ => return refuse("INVALID_NUMBER", format!("{text} was not a valid number.")),
    };
    if !respell {
        return Ok(text.to_owned());
    }
    if text.contains(['e', 'E']) {
        return Ok(number.to_string());
    }
    Ok(respelled(text))
}

/// Without a plus sign, leading zeros and zeros at the end of the fraction; digits are kept beyond a double's.
fn respelled(text: &str) -> String {
    let (sign, digits) = text
        .strip_prefix('-')
        .map_or(("", text.trim_start_matches('+')), |rest| ("-", rest));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let whole = whole.trim_start_matches('0');
    let whole = if whole.is_empty() { "0" } else { whole };
    let fraction = fraction.trim_end_matches('0');
    let point = if fraction.is_empty() { "" } else { "." };
    let sign = if whole == "0" && fraction.is_empty() {
        ""
    } else {
        sign
    };
    format!("{sign}{whole}{point}{fraction}")
}

fn canonical_bool(text: &str) -> Result<String, Refusal> {
    match text {
        "true" | "false" => Ok(text.to_owned()),
        _ => refuse(
            "INVALID_BOOLEAN",
            format!("{text} was not one of the allowed boolean values: true, false"),
        ),
    }
}

fn canonical_choice(property: &Property, text: &str) -> Result<String, Refusal> {
    if property.external_options || property.choices.iter().any(|choice| choice.value == text) {
        return Ok(text.to_owned());
    }
    let allowed: Vec<_> = property
        .choices
        .iter()
        .map(|choice| choice.value.as_str())
        .collect();
    refuse(
        "INVALID_OPTION",
        format!(
            "{text} was not one of the allowed options: [{}]",
            allowed.join(", ")
        ),
    )
}

/// A leading `;` adds to what is there; the answer's order is that of the options, not of the request.
fn canonical_set(
    property: &Property,
    text: &str,
    current: Option<&str>,
) -> Result<String, Refusal> {
    let kept = if text.starts_with(';') {
        current.unwrap_or_default()
    } else {
        ""
    };
    let added: Vec<&str> = text.split(';').filter(|part| !part.is_empty()).collect();
    for part in &added {
        canonical_choice(property, part)?;
    }
    let wanted: Vec<&str> = kept
        .split(';')
        .chain(added)
        .filter(|part| !part.is_empty())
        .collect();
    let known = property
        .choices
        .iter()
        .map(|choice| choice.value.as_str())
        .filter(|value| wanted.contains(value));
    let gone = kept
        .split(';')
        .filter(|part| !part.is_empty() && !property.choices.iter().any(|c| c.value == *part));
    Ok(known.chain(gone).collect::<Vec<_>>().join(";"))
}

fn canonical_date(text: &str) -> Result<String, Refusal> {
    if let Some(ms) = time::date_ms(text) {
        return Ok(time::date(ms));
    }
    match text.parse::<i64>() {
        Ok(ms) if ms.rem_euclid(time::DAY_MS) == 0 => Ok(time::date(ms)),
        Ok(ms) => refuse(
            "INVALID_DATE",
            format!("{ms} is at {} UTC, not midnight!", time::time_of_day(ms)),
        ),
        Err(_) => refuse("INVALID_DATE", format!("{text} was not a valid date.")),
    }
}

fn canonical_datetime(text: &str) -> Result<String, Refusal> {
    let ms = time::datetime_ms(text).or_else(|| time::date_ms(text));
    ms.map_or_else(
        || refuse("INVALID_DATE", format!("{text} was not a valid long.")),
        |ms| Ok(time::iso(ms)),
    )
}

/// How a unique value is compared: without case and outer spaces (`api-facts.md#7`).
pub(crate) fn unique_key(text: &str) -> String {
    text.trim().to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::portal::schema::Choice;

    fn property(name: &str, kind: Kind, field_type: &str) -> Property {
        let mut property = Property::new(name, kind, field_type, "g");
        let choice = |value: &str| Choice {
            value: value.to_owned(),
            label: value.to_owned(),
            hidden: false,
            description: String::new(),
        };
        property.choices = ["a", "b", "c"].map(choice).to_vec();
        property
    }

    fn check(property: &Property, text: &str, expected: Result<&str, &str>) {
        let found = canonical(property, text, Some("c"), true);
        let found = found.as_deref().map_err(|refusal| refusal.code);
        assert_eq!(found, expected, "{} {text}", property.name);
    }

    /// api-facts.md#7, "what HubSpot changes on its own".
    #[test]
    fn texts_are_spelled_as_hubspot_spells_them() {
        let email = property("email", Kind::String, "text");
        check(&email, "  Ada@Example.COM ", Ok("ada@example.com"));
        check(&email, "ada@example", Err("INVALID_EMAIL"));
        check(&email, "ada", Err("INVALID_EMAIL"));
        let domain = property("domain", Kind::String, "text");
        check(
            &domain,
            "https://www.Example.com/shop?x=1",
            Ok("example.com"),
        );
        check(&domain, "//me@Example.com:80/x", Ok("example.com"));
        check(&domain, "example.com/?to=https://x.com", Ok("example.com"));
        check(
            &property("firstname", Kind::String, "text"),
            " Ada\r\n",
            Ok(" Ada\n"),
        );
        check(
            &property("firstname", Kind::String, "text"),
            &"x".repeat(65_537),
            Err("PROPERTY_VALUE_TOO_LONG"),
        );
    }

    #[test]
    fn numbers_are_respelled_and_checked() {
        let amount = property("amount", Kind::Number, "number");
        for (text, expected) in [
            ("42.50", "42.5"),
            ("007", "7"),
            ("-0.0", "0"),
            ("+5", "5"),
            ("1.0E7", "10000000"),
        ] {
            check(&amount, text, Ok(expected));
        }
        check(&amount, "9007199254740993", Ok("9007199254740993"));
        for text in ["1,000", "abc", "NaN", "inf"] {
            check(&amount, text, Err("INVALID_NUMBER"));
        }
        assert_eq!(
            canonical(&amount, "42.50", None, false).as_deref(),
            Ok("42.50")
        );
    }

    #[test]
    fn dates_need_midnight_and_datetimes_a_time() {
        let date = property("birthday", Kind::Date, "date");
        check(&date, "2026-11-24", Ok("2026-11-24"));
        check(&date, "1764028800000", Ok("2025-11-25"));
        check(&date, "1606768561954", Err("INVALID_DATE"));
        check(&date, "24.11.2026", Err("INVALID_DATE"));
        let refusal = canonical(&date, "1606768561954", None, true).expect_err("no midnight");
        assert_eq!(
            refusal.message,
            "1606768561954 is at 20:36:1.954 UTC, not midnight!"
        );
        let datetime = property("closedate", Kind::Datetime, "date");
        check(
            &datetime,
            "2026-11-24T03:10:00+01:00",
            Ok("2026-11-24T02:10:00.000Z"),
        );
        check(&datetime, "1764028800123", Ok("2025-11-25T00:00:00.123Z"));
        check(&datetime, "soon", Err("INVALID_DATE"));
    }

    #[test]
    fn options_are_compared_with_case_and_checkboxes_are_sets() {
        check(&property("tier", Kind::Enumeration, "select"), "a", Ok("a"));
        check(
            &property("tier", Kind::Enumeration, "select"),
            "A",
            Err("INVALID_OPTION"),
        );
        let set = property("interests", Kind::Enumeration, "checkbox");
        check(&set, "b;a", Ok("a;b"));
        check(&set, ";a", Ok("a;c"));
        check(&set, "a;x", Err("INVALID_OPTION"));
        check(
            &property("vip", Kind::Bool, "booleancheckbox"),
            "yes",
            Err("INVALID_BOOLEAN"),
        );
    }
}
