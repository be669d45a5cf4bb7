//! Associations in the file: the rows, the types that pairs have, which records' are to be read, which wait for a record that
//! is not in the mirror, and how far the pass over each pair is.

pub mod due;
pub(crate) mod missed;
pub(crate) mod noted;
pub mod pairs;
pub mod passes;
pub mod rows;
pub mod told;
pub mod types;
pub(crate) mod waiting;
