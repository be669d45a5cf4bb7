//! The TOML as written: a tree of entries with their places, nothing interpreted.

use std::ops::Range;

use toml::de::{DeTable, DeValue};

/// A key and its value.
#[derive(Clone)]
pub(crate) struct KeyAndValue<'t> {
    /// The key alone.
    pub(crate) name: &'t str,
    /// The dotted path.
    pub(crate) path: String,
    /// The key's place.
    pub(crate) key_span: Range<usize>,
    /// The value's place; a table's is its header.
    pub(crate) span: Range<usize>,
    /// The value.
    pub(crate) value: &'t DeValue<'t>,
}

impl KeyAndValue<'_> {
    /// The same entry for a problem with its key.
    pub(crate) fn at_key(&self) -> Self {
        Self {
            span: self.key_span.clone(),
            ..self.clone()
        }
    }

    /// What kind of value it has, for messages.
    pub(crate) fn type_name(&self) -> &'static str {
        match self.value {
            DeValue::String(_) => "text",
            DeValue::Integer(_) => "a whole number",
            DeValue::Float(_) => "a number with a point",
            DeValue::Boolean(_) => "`true` or `false`",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        }
    }
}

/// A table, or the absence of one that could be written.
pub(crate) struct TomlTable<'t> {
    /// The dotted path; empty for the whole file.
    pub(crate) path: String,
    /// In the file's order.
    pub(crate) entries: Vec<KeyAndValue<'t>>,
}

impl<'t> TomlTable<'t> {
    /// The entry of a key.
    pub(crate) fn get(&self, name: &str) -> Option<&KeyAndValue<'t>> {
        self.entries.iter().find(|entry| entry.name == name)
    }

    /// A table of TOML's, sorted by place.
    pub(crate) fn from_toml(path: String, table: &'t DeTable<'t>) -> Self {
        let mut entries: Vec<_> = table
            .iter()
            .map(|(key, value)| KeyAndValue {
                name: key.get_ref(),
                path: join(&path, key.get_ref()),
                key_span: key.span(),
                span: value.span(),
                value: value.get_ref(),
            })
            .collect();
        entries.sort_by_key(|entry| entry.key_span.start);
        Self { path, entries }
    }
}

/// A dotted path with one more key, which is quoted where TOML wants it.
pub(crate) fn join(path: &str, key: &str) -> String {
    let bare = !key.is_empty()
        && key
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
    let key = if bare {
        key.to_owned()
    } else {
        format!("{key:?}")
    };
    if path.is_empty() {
        key
    } else {
        format!("{path}.{key}")
    }
}
