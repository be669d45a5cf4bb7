//! What systemd is told: READY, STATUS, WATCHDOG and STOPPING (`Type=notify`), and the socket that it hands over. Without
//! systemd nothing happens.

use std::io;
use std::net::TcpListener;
use std::time::Duration;

use listenfd::ListenFd;
use sd_notify::NotifyState;

/// The listening socket that systemd opened for this process (`hubsyncd.socket`), the first time it is asked for; the caller
/// owns it. `None`: systemd handed none over.
///
/// # Errors
/// What was handed over is no listening TCP socket.
pub(crate) fn handed_over() -> io::Result<Option<TcpListener>> {
    ListenFd::from_env().take_tcp_listener(0)
}

/// The service manager, if there is one; by default there is none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Systemd {
    present: bool,
    watchdog_interval: Option<Duration>,
}

impl Systemd {
    /// Looks for the service manager in `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID`.
    pub(crate) fn from_env() -> Self {
        let present = std::env::var_os("NOTIFY_SOCKET").is_some_and(|socket| !socket.is_empty());
        let limit = sd_notify::watchdog_enabled().filter(|limit| present && !limit.is_zero());
        Self {
            present,
            watchdog_interval: limit.map(|limit| limit / 2),
        }
    }

    /// Whether somebody listens.
    pub(crate) fn is_present(&self) -> bool {
        self.present
    }

    /// The daemon is up: units that come after it may start.
    pub fn ready(&self) {
        self.tell(&[NotifyState::Ready]);
    }

    /// The mapping file is being read again; [`Systemd::ready`] ends that.
    pub(crate) fn reloading(&self) {
        // What came after the call of `systemctl reload` is told by its time (`sd_notify(3)`).
        match NotifyState::monotonic_usec_now() {
            Ok(now) => self.tell(&[NotifyState::Reloading, now]),
            Err(error) => tracing::debug!(error = %error, "the steady clock can't be read"),
        }
    }

    /// A line for `systemctl status`.
    pub fn status(&self, line: &str) {
        // A line's end would begin another assignment.
        let line = line.replace(['\n', '\r'], " ");
        self.tell(&[NotifyState::Status(&line)]);
    }

    /// The daemon is draining.
    pub(crate) fn stopping(&self) {
        self.tell(&[NotifyState::Stopping]);
    }

    /// How often [`Systemd::alive`] is expected: half of what the unit allows.
    pub(crate) fn watchdog_interval(&self) -> Option<Duration> {
        self.watchdog_interval
    }

    /// Says that the daemon lives; without it for `WatchdogSec=` systemd starts it anew.
    pub(crate) fn alive(&self) {
        if self.watchdog_interval.is_some() {
            self.tell(&[NotifyState::Watchdog]);
        }
    }

    fn tell(&self, state: &[NotifyState<'_>]) {
        if !self.present {
            return;
        }
        if let Err(error) = sd_notify::notify(state) {
            tracing::debug!(error = %error, "systemd could not be told");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;
    use std::process::{Command, Stdio};

    use super::*;

    /// Set for the process in which a test runs itself again, with the environment of a service.
    const AS_SERVICE: &str = "HUBSYNCD_TEST_AS_SERVICE";

    /// Runs the calling test again in a process of its own, and gives what that process told its service manager.
    fn told(test: &str, watchdog_usec: Option<&str>) -> Vec<String> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).expect("a socket");
        let (_crate, module) = module_path!().split_once("::").expect("a module");
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command
            .args(["--exact", &format!("{module}::{test}")])
            .env(AS_SERVICE, "1")
            .env("NOTIFY_SOCKET", &path);
        command
            .env_remove("WATCHDOG_PID")
            .env_remove("WATCHDOG_USEC");
        if let Some(limit) = watchdog_usec {
            command.env("WATCHDOG_USEC", limit);
        }
        let ended = command.stdout(Stdio::null()).status().expect("it runs");
        assert!(ended.success(), "{ended}");
        socket.set_nonblocking(true).expect("a socket");
        let mut buffer = [0_u8; 4096];
        let mut messages = Vec::new();
        while let Ok(length) = socket.recv(&mut buffer) {
            messages.push(
                String::from_utf8_lossy(&buffer[..length])
                    .trim_end()
                    .to_owned(),
            );
        }
        messages
    }

    fn is_service() -> bool {
        std::env::var_os(AS_SERVICE).is_some()
    }

    #[test]
    fn systemd_is_told_everything() {
        if is_service() {
            let systemd = Systemd::from_env();
            assert_eq!(systemd.watchdog_interval(), Some(Duration::from_secs(10)));
            systemd.ready();
            systemd.status("backfilling contacts\nREADY=1");
            systemd.alive();
            systemd.stopping();
            return;
        }
        let messages = told("systemd_is_told_everything", Some("20000000"));
        assert_eq!(
            messages,
            [
                "READY=1",
                "STATUS=backfilling contacts READY=1",
                "WATCHDOG=1",
                "STOPPING=1"
            ]
        );
    }

    #[test]
    fn a_unit_without_a_watchdog_gets_no_pings() {
        if is_service() {
            let systemd = Systemd::from_env();
            assert_eq!(systemd.watchdog_interval(), None);
            systemd.alive();
            systemd.ready();
            return;
        }
        let messages = told("a_unit_without_a_watchdog_gets_no_pings", None);
        assert_eq!(messages, ["READY=1"]);
    }

    #[test]
    fn without_systemd_nothing_happens() {
        let systemd = Systemd {
            present: false,
            watchdog_interval: None,
        };
        systemd.ready();
        systemd.alive();
        systemd.stopping();
        assert_eq!(systemd.watchdog_interval(), None);
    }
}
