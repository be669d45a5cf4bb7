//! The server's clock: the only place of this crate that asks the system for the time. The portal is told it.

use std::time::Duration;

/// Epoch milliseconds of this machine.
pub(crate) fn now_ms() -> i64 {
    #[expect(clippy::disallowed_methods, reason = "this is the door")]
    let now = chrono::Utc::now();
    now.timestamp_millis()
}

/// Waits in real time: what is served to other processes goes by theirs.
pub(crate) async fn sleep(duration: Duration) {
    tokio::time::sleep(duration).await;
}
