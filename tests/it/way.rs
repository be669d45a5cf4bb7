//! The way between the daemon and HubSpot's stand-in: a port of the test's own that hands each request on, answers in HubSpot's
//! place, or does to the connection what networks do.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::portal::Portal;

/// What a request meets on its way.
#[derive(Clone)]
pub(crate) enum Meets {
    /// These bytes, which nobody at HubSpot has said.
    Answer(String),
    /// The end of the connection.
    Cut,
    /// A connection that stands, and no word until the way is free again.
    Silence,
}

/// An answer with a body.
pub(crate) fn answer(status: &str, kind: &str, body: &str) -> Meets {
    let length = body.len();
    Meets::Answer(format!(
        "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    ))
}

/// A page for people.
pub(crate) fn page(status: &str, body: &str) -> Meets {
    answer(status, "text/html", body)
}

#[derive(Default)]
struct Obstacle {
    /// Which requests, by a part of their first line; and what they meet.
    what: Mutex<Option<(String, Meets)>>,
    gone: Condvar,
    /// How many requests met something so far.
    met: AtomicUsize,
}

impl Obstacle {
    fn look(&self) -> MutexGuard<'_, Option<(String, Meets)>> {
        self.what.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A port before the stand-in's.
pub(crate) struct Way {
    port: u16,
    obstacle: Arc<Obstacle>,
}

impl Way {
    /// A free way to a portal.
    pub(crate) fn to(portal: &Portal) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let obstacle = Arc::<Obstacle>::default();
        let (of_all, hubspot) = (Arc::clone(&obstacle), portal.url());
        let hubspot = hubspot.trim_start_matches("http://").to_owned();
        std::thread::spawn(move || {
            for caller in listener.incoming() {
                let (obstacle, hubspot) = (Arc::clone(&of_all), hubspot.clone());
                let Ok(caller) = caller else { return };
                // Whoever hangs up is carried no further.
                std::thread::spawn(move || carry(caller, &obstacle, &hubspot).ok());
            }
        });
        Self { port, obstacle }
    }

    /// Where it begins.
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// From here on requests whose first line contains this meet something.
    pub(crate) fn obstruct(&self, requests: &str, meets: Meets) {
        *self.obstacle.look() = Some((requests.to_owned(), meets));
    }

    /// How many requests have met something so far.
    pub(crate) fn met(&self) -> usize {
        self.obstacle.met.load(Ordering::SeqCst)
    }

    /// The way is free again.
    pub(crate) fn free(&self) {
        *self.obstacle.look() = None;
        self.obstacle.gone.notify_all();
    }
}

impl Drop for Way {
    fn drop(&mut self) {
        self.free();
    }
}

/// One request on its way; the connection ends with its answer.
fn carry(mut caller: TcpStream, obstacle: &Obstacle, hubspot: &str) -> std::io::Result<()> {
    let Some(request) = request_of(&mut caller)? else {
        return Ok(());
    };
    let first_line = request.lines().next().unwrap_or_default().to_owned();
    let met = obstacle.look().clone();
    let met = met.filter(|(requests, _)| first_line.contains(requests.as_str()));
    if met.is_some() {
        obstacle.met.fetch_add(1, Ordering::SeqCst);
    }
    match met.map(|(_, meets)| meets) {
        Some(Meets::Answer(bytes)) => caller.write_all(bytes.as_bytes())?,
        Some(Meets::Cut) => {}
        Some(Meets::Silence) => {
            let held = obstacle.look();
            let is_there = |what: &mut Option<_>| what.is_some();
            drop(obstacle.gone.wait_while(held, is_there));
        }
        None => {
            let mut there = TcpStream::connect(hubspot)?;
            let alone = request.replacen("\r\n", "\r\nconnection: close\r\n", 1);
            there.write_all(alone.as_bytes())?;
            std::io::copy(&mut there, &mut caller)?;
        }
    }
    caller.shutdown(Shutdown::Both)
}

/// A whole request; `None` where the caller hangs up before its end.
fn request_of(caller: &mut TcpStream) -> std::io::Result<Option<String>> {
    let (mut read, mut piece) = (Vec::new(), [0; 16_384]);
    loop {
        let length = caller.read(&mut piece)?;
        if length == 0 {
            return Ok(None);
        }
        read.extend_from_slice(&piece[..length]);
        let text = String::from_utf8_lossy(&read).into_owned();
        let Some((head, _)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let body = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            let is_length = name.eq_ignore_ascii_case("content-length");
            is_length.then(|| value.trim().parse::<usize>().ok())?
        });
        if read.len() >= head.len() + 4 + body.unwrap_or(0) {
            return Ok(Some(text));
        }
    }
}
