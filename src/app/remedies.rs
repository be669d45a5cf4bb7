//! What somebody can do about a state of `sync_health`: the same sentence in `status`, on the live screen and on the page.

use crate::store::commands::WhyStopped;

/// What somebody can do about a state that its name alone doesn't say. `stopped`: why, where that is the state.
pub(crate) fn remedy_of_state(state: &str, stopped: WhyStopped) -> Option<&'static str> {
    match state {
        "unauthorized" => Some(
            "copy the token again from HubSpot, it may be expired, revoked or cut off; for an app run `hubsyncd auth login`",
        ),
        "unreachable" => Some(
            "look at this machine's network, DNS and proxy, and at https://status.hubspot.com; it goes on by itself",
        ),
        "out_of_quota" => Some("wait for the reset, or find the app that uses the day up"),
        "stopped" => Some(match stopped {
            WhyStopped::Ended => "start `hubsyncd run`",
            WhyStopped::Unsaid => {
                "the daemon did not say that it ended: it was killed, its disk is full or can only be read, or another program keeps the database locked; look for one with an open transaction"
            }
            WhyStopped::ReadOnlyDisk => {
                "the disk of the database can only be read, and this is what it held last: mount it to be written; a daemon that runs goes on by itself then"
            }
        }),
        "stopping" => Some("wait some seconds: it ends"),
        "held" => Some("decide the holds below: the guard keeps a mass of changes back until then"),
        "paused" => {
            Some("when it is time, `INSERT INTO sync_commands (command) VALUES ('resume')`")
        }
        "degraded" => Some("all else goes on: look at each line below"),
        "backfilling" => Some("wait: the first read goes on, and local writes are taken meanwhile"),
        "starting" => Some("wait: it reads the portal's schema"),
        _ => None,
    }
}
