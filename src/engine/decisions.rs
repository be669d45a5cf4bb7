//! What people decide by SQL or by a command: conflicts, discards, holds. Noticed here, carried out in one transaction each.

pub mod ahead;
pub mod approvals;
pub mod discards;
pub mod later;
mod linked;
pub mod resolve;
