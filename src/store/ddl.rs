//! Mirror tables.

/// A name as SQL, safe whatever it holds.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
pub fn bring_up(_: &rusqlite::Transaction<'_>, _: &crate::model::mapping::Mapping, _: crate::model::time::Timestamp) -> Result<Vec<String>, crate::store::StoreError> { Ok(vec![]) }
pub fn repair(_: &rusqlite::Transaction<'_>, _: &crate::model::mapping::Mapping, _: crate::model::time::Timestamp) -> Result<Vec<String>, crate::store::StoreError> { Ok(vec![]) }
