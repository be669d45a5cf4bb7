//! What people decide by SQL or by a command: conflicts, discards, holds, commands by SQL. Noticed here, carried out in one transaction each.

pub mod ahead;
pub mod approvals;
pub mod discards;
pub mod later;
mod linked;
pub mod orders;
pub(crate) mod paused;
pub mod resolve;
mod unmapped;
