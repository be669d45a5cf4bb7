//! What is made from a mapping: mirror tables, triggers, views, their repair and protection. The only SQL that is built from
//! names.

pub(crate) mod alter;
pub(crate) mod aside;
pub(crate) mod associations;
pub(crate) mod bypassed;
pub mod ddl;
pub(crate) mod definition;
pub(crate) mod entries;
pub mod fit;
pub(crate) mod guards;
pub(crate) mod labels;
#[cfg(test)]
pub(crate) mod local_sql;
pub mod matching;
pub(crate) mod options;
pub mod referrers;
pub mod repair;
pub(crate) mod sequences;
pub(crate) mod triggers;
pub(crate) mod unique;
pub(crate) mod views;
