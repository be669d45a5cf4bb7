//! The filters of a search: read once from JSON, then asked of many documents (`api-facts.md#6`).

use serde_json::Value;

use crate::api::problem::Problem;
use crate::portal::record::{Document, PropertyId};
use crate::portal::schema::Kind;
use crate::portal::table::{System, Table};
use crate::world::time;

/// A filter's operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operator {
    Eq,
    Neq,
    Lt,
    Lte,
    Gt,
    Gte,
    Between,
    In,
    NotIn,
    HasProperty,
    NotHasProperty,
    ContainsToken,
    NotContainsToken,
}

fn operator_of(name: &str) -> Option<Operator> {
    Some(match name {
        "EQ" => Operator::Eq,
        "NEQ" => Operator::Neq,
        "LT" => Operator::Lt,
        "LTE" => Operator::Lte,
        "GT" => Operator::Gt,
        "GTE" => Operator::Gte,
        "BETWEEN" => Operator::Between,
        "IN" => Operator::In,
        "NOT_IN" => Operator::NotIn,
        "HAS_PROPERTY" => Operator::HasProperty,
        "NOT_HAS_PROPERTY" => Operator::NotHasProperty,
        "CONTAINS_TOKEN" => Operator::ContainsToken,
        "NOT_CONTAINS_TOKEN" => Operator::NotContainsToken,
        _ => return None,
    })
}

/// A value in its order: numbers and times by size, text by letters.
#[derive(Clone, Debug, PartialEq, PartialOrd)]
pub(crate) enum Comparable {
    Number(f64),
    Text(String),
}

/// Where a document's value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Field {
    property: PropertyId,
    kind: Kind,
    system: Option<System>,
}

impl Field {
    pub(crate) fn named(table: &Table, name: &str) -> Option<Self> {
        let property = table.schema.live(name)?;
        Some(Self {
            property,
            kind: table.schema.property(property).kind,
            system: table.system(property),
        })
    }

    pub(crate) fn is(self, system: System) -> bool {
        self.system == Some(system)
    }

    /// A stored value wins over the computed one: a deal's `createdate` can be written.
    fn text(self, document: &Document) -> Option<&str> {
        document.values.get(self.property)
    }

    pub(crate) fn comparable(self, id: u64, document: &Document) -> Option<Comparable> {
        match (self.text(document), self.system) {
            (Some(text), _) => comparable(self.kind, text),
            (None, Some(System::ObjectId)) => Some(Comparable::Number(id as f64)),
            (None, Some(System::Created)) => Some(Comparable::Number(document.created_ms as f64)),
            (None, Some(System::Modified)) => Some(Comparable::Number(document.modified_ms as f64)),
            (None, None) => None,
        }
    }
}

/// Text compares without case; enumerations with.
fn comparable(kind: Kind, text: &str) -> Option<Comparable> {
    match kind {
        Kind::Number => text.trim().parse().ok().map(Comparable::Number),
        Kind::Date | Kind::Datetime => time::date_ms(text)
            .or_else(|| time::datetime_ms(text))
            .map(|ms| Comparable::Number(ms as f64)),
        Kind::Bool | Kind::Enumeration => Some(Comparable::Text(text.to_owned())),
        Kind::String | Kind::PhoneNumber | Kind::Json => {
            Some(Comparable::Text(text.to_lowercase()))
        }
    }
}

/// One condition.
#[derive(Clone, Debug)]
pub(crate) struct Filter {
    /// `None`: the property doesn't exist, so nothing matches and nobody complains.
    pub field: Option<Field>,
    pub operator: Operator,
    pub operands: Vec<Comparable>,
}

fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

impl Filter {
    pub(crate) fn parse(table: &Table, json: &Value) -> Result<Self, Problem> {
        let name = json.get("propertyName").and_then(Value::as_str);
        let name =
            name.ok_or_else(|| Problem::validation("Invalid input JSON: propertyName is missing"))?;
        let word = json
            .get("operator")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let operator = operator_of(word);
        let operator = operator
            .ok_or_else(|| Problem::validation(format!("Invalid input JSON: operator {word}")))?;
        let field = Field::named(table, name);
        let operands = operands_of(json, operator, name)?;
        let compares_a_list = matches!(operator, Operator::In | Operator::NotIn);
        let read = |text: &String| {
            let Some(field) = field else {
                return Ok(Comparable::Text(text.clone()));
            };
            let keeps_case =
                compares_a_list && matches!(field.kind, Kind::String | Kind::PhoneNumber);
            let read = if keeps_case {
                Some(Comparable::Text(text.clone()))
            } else {
                comparable(field.kind, text)
            };
            read.ok_or_else(|| {
                Problem::validation(format!("{text} is not a valid value for {name}"))
            })
        };
        let operands = operands.iter().map(read).collect::<Result<_, _>>()?;
        Ok(Self {
            field,
            operator,
            operands,
        })
    }

    pub(crate) fn matches(
        &self,
        id: u64,
        document: &Document,
        negative_matches_empty: bool,
    ) -> bool {
        let Some(field) = self.field else {
            return false;
        };
        let value = field.comparable(id, document);
        let Some(value) = value else {
            return match self.operator {
                Operator::NotHasProperty => true,
                Operator::Neq | Operator::NotIn | Operator::NotContainsToken => {
                    negative_matches_empty
                }
                Operator::Eq
                | Operator::Lt
                | Operator::Lte
                | Operator::Gt
                | Operator::Gte
                | Operator::Between
                | Operator::In
                | Operator::HasProperty
                | Operator::ContainsToken => false,
            };
        };
        self.holds(&value)
    }

    fn holds(&self, value: &Comparable) -> bool {
        let is_any = || self.operands.iter().any(|operand| operand == value);
        match self.operator {
            Operator::Eq | Operator::In => is_any(),
            Operator::Neq | Operator::NotIn => !is_any(),
            Operator::Lt => *value < self.operands[0],
            Operator::Lte => *value <= self.operands[0],
            Operator::Gt => *value > self.operands[0],
            Operator::Gte => *value >= self.operands[0],
            Operator::Between => *value >= self.operands[0] && *value <= self.operands[1],
            Operator::HasProperty => true,
            Operator::NotHasProperty => false,
            Operator::ContainsToken => contains_token(value, &self.operands[0]),
            Operator::NotContainsToken => !contains_token(value, &self.operands[0]),
        }
    }

    /// The whole numbers between which the field must lie, if that is what the filter says.
    pub(crate) fn bounds(&self, system: System) -> Option<(i64, i64)> {
        if !self.field.is_some_and(|field| field.is(system)) {
            return None;
        }
        let at = |position: usize| match self.operands.get(position) {
            Some(Comparable::Number(number)) => Some(*number as i64),
            Some(Comparable::Text(_)) | None => None,
        };
        match self.operator {
            Operator::Eq => Some((at(0)?, at(0)?)),
            Operator::Gt => Some((at(0)?.saturating_add(1), i64::MAX)),
            Operator::Gte => Some((at(0)?, i64::MAX)),
            Operator::Lt => Some((i64::MIN, at(0)?.saturating_sub(1))),
            Operator::Lte => Some((i64::MIN, at(0)?)),
            Operator::Between => Some((at(0)?, at(1)?)),
            Operator::Neq
            | Operator::In
            | Operator::NotIn
            | Operator::HasProperty
            | Operator::NotHasProperty
            | Operator::ContainsToken
            | Operator::NotContainsToken => None,
        }
    }
}

fn operands_of(json: &Value, operator: Operator, name: &str) -> Result<Vec<String>, Problem> {
    let missing =
        |what: &str| Problem::validation(format!("{what} is required for the filter on {name}"));
    let one = |key: &'static str| json.get(key).and_then(text_of).ok_or_else(|| missing(key));
    match operator {
        Operator::HasProperty | Operator::NotHasProperty => Ok(Vec::new()),
        Operator::Between => Ok(vec![one("value")?, one("highValue")?]),
        Operator::In | Operator::NotIn => {
            let values = json
                .get("values")
                .and_then(Value::as_array)
                .ok_or_else(|| missing("values"))?;
            let texts: Option<Vec<String>> = values.iter().map(text_of).collect();
            texts
                .filter(|texts| !texts.is_empty())
                .ok_or_else(|| missing("a list of texts as values"))
        }
        Operator::Eq
        | Operator::Neq
        | Operator::Lt
        | Operator::Lte
        | Operator::Gt
        | Operator::Gte
        | Operator::ContainsToken
        | Operator::NotContainsToken => Ok(vec![one("value")?]),
    }
}

/// Each word of the pattern is a word of the text; `*` stands for any letters.
fn contains_token(value: &Comparable, pattern: &Comparable) -> bool {
    let (Comparable::Text(text), Comparable::Text(pattern)) = (value, pattern) else {
        return value == pattern;
    };
    let text = text.to_lowercase();
    let words: Vec<&str> = text
        .split(|letter: char| !letter.is_alphanumeric())
        .collect();
    let pattern = pattern.to_lowercase();
    let mut parts = pattern.split_whitespace();
    parts.all(|part| glob(part, &text) || words.iter().any(|word| glob(part, word)))
}

/// Whether `text` is `pattern`, where `*` stands for any letters.
fn glob(pattern: &str, text: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(mut tail) = text.strip_prefix(head) else {
        return false;
    };
    let parts: Vec<&str> = rest.split('*').collect();
    let (last, middle) = parts.split_last().unwrap_or((&"", &[]));
    for part in middle {
        match tail.find(part) {
            Some(position) => tail = &tail[position + part.len()..],
            None => return false,
        }
    }
    tail.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_words_and_stars_are_any_letters() {
        let check = |pattern: &str, text: &str, expected: bool| {
            let as_text = |text: &str| Comparable::Text(text.to_owned());
            assert_eq!(
                contains_token(&as_text(text), &as_text(pattern)),
                expected,
                "{pattern} in {text}"
            );
        };
        check("ada", "Ada Lovelace", true);
        check("ad", "Ada Lovelace", false);
        check("*love*", "Ada Lovelace", true);
        check("*@example.com", "ada@example.com", true);
        check("ada love*", "Ada Lovelace", true);
        check("bob", "ada@example.com", false);
    }
}
