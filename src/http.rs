//! What listens: health and readiness on `[http].listen`, HubSpot's deliveries on `[webhooks].listen`. Nothing here touches the database or asks HubSpot; the answers
//! come from a `watch` channel that the daemon feeds.

pub(crate) mod bearer;
pub mod callback;
pub mod health;
pub mod listener;
pub(crate) mod metrics;
pub(crate) mod page;
pub mod tls;
pub mod webhooks;
