//! Standard output of a command that goes on printing: whoever reads it may stand still or go away, and a signal ends the command all
//! the same.

use std::io::{self, ErrorKind, Write};
use std::ops::ControlFlow;
use std::os::fd::AsFd as _;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::clock::Clock;

/// What a pipe with room takes without waiting (`PIPE_BUF`).
const PIECE: usize = 4_096;

/// Between two looks whether a pipe has room again.
const ROOM: Duration = Duration::from_millis(50);

/// SIGINT and SIGTERM, as whoever ends by them in order hears them.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Hears them from here on: the process does not end by them any more.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for either.
    pub(crate) async fn any(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Where a command prints until somebody ends it.
pub(crate) struct Outlet<'a> {
    out: &'a mut dyn Write,
    clock: &'a dyn Clock,
    /// `None`: a signal ends the process by itself.
    signals: Option<Signals>,
}

impl<'a> Outlet<'a> {
    /// Of a command that ends by a signal in order.
    pub(crate) fn followed(out: &'a mut dyn Write, clock: &'a dyn Clock) -> io::Result<Self> {
        Ok(Self {
            signals: Some(Signals::new()?),
            ..Self::listed(out, clock)
        })
    }

    /// Of a command that ends once everything is printed: one that a signal ends before that has failed.
    pub(crate) fn listed(out: &'a mut dyn Write, clock: &'a dyn Clock) -> Self {
        Self {
            out,
            clock,
            signals: None,
        }
    }

    /// Hands a text over at once. `Break`: the command is to end, by a signal or since nobody reads any more.
    pub(crate) async fn write(&mut self, text: &[u8]) -> io::Result<ControlFlow<()>> {
        for piece in text.chunks(PIECE) {
            if let Some(signals) = &mut self.signals {
                tokio::select! {
                    biased;
                    () = signals.any() => return Ok(ControlFlow::Break(())),
                    () = room(self.clock) => {}
                }
            }
            match self.out.write_all(piece).and_then(|()| self.out.flush()) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                    return Ok(ControlFlow::Break(()));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Waits before there may be more to print. `Break` as for [`Outlet::write`].
    pub(crate) async fn rest(&mut self, time: Duration) -> ControlFlow<()> {
        let rested = self.clock.sleep(time);
        match &mut self.signals {
            Some(signals) => tokio::select! {
                () = signals.any() => return ControlFlow::Break(()),
                () = rested => {}
            },
            None => rested.await,
        }
        match is_closed() {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    }
}

/// Waits until standard output takes something without waiting, or nobody reads it any more.
async fn room(clock: &dyn Clock) {
    while stands(PollFlags::OUT).is_empty() {
        clock.sleep(ROOM).await;
    }
}

/// Whether standard output is a pipe that nobody reads any more.
pub(crate) fn is_closed() -> bool {
    stands(PollFlags::empty()).contains(PollFlags::ERR)
}

/// How standard output stands; what can't be told is left to the write.
fn stands(asked: PollFlags) -> PollFlags {
    let stdout = io::stdout();
    let fd = stdout.as_fd();
    let mut polled = [PollFd::new(&fd, asked)];
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    match poll(&mut polled, Some(&now)) {
        Ok(_) => polled[0].revents(),
        Err(_unknown) => asked,
    }
}
