//! The database as a file: who writes, who reads, who holds it, and whether it is still the one that was opened.
//! Knows no table of the mirror.

pub(crate) mod access;
pub(crate) mod checkpoints;
pub(crate) mod damage;
pub(crate) mod descriptors;
pub(crate) mod head;
pub mod lease;
pub(crate) mod log_readers;
pub mod migrate;
pub mod program;
pub(crate) mod read_only;
pub(crate) mod readers;
pub(crate) mod room;
pub mod savepoint;
pub(crate) mod scratch;
pub(crate) mod text;
pub(crate) mod wal;
pub mod watch;
pub(crate) mod writer;
