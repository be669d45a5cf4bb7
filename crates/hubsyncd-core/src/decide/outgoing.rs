//! What goes out: which values of a row an attempt takes along, what its answer makes of the entry, and what becomes of a
//! request whose answer was lost.

pub mod acknowledge;
pub mod along;
pub mod archiving;
pub mod associate;
pub mod batch;
pub mod claim;
pub mod doubt;
pub mod gap;
pub mod looking;
pub mod needed;
pub mod plan;
pub mod present;
pub mod preview;
pub mod refusal;
pub mod settle;
pub mod taken;
