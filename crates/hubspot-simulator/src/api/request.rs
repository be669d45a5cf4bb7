//! A request as it arrives and a reply as it leaves, with how the network carries the reply.
//!
//! Plain values: the server turns them into HTTP, a simulation hands them over directly.

/// One HTTP request, whole.
#[derive(Clone, Default)]
pub struct Request {
    /// Upper case, such as `POST`.
    pub method: String,
    /// The path without host and query, still percent-encoded.
    pub path: String,
    /// What follows the `?`, still percent-encoded; empty if there is none.
    pub query: String,
    /// Names in any case.
    pub headers: Vec<(String, String)>,
    /// The body; empty if there is none.
    pub body: Vec<u8>,
}

impl Request {
    /// The first header of that name, whatever its case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self
            .headers
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }
}

impl std::fmt::Debug for Request {
    /// Method and path only: headers hold the token, the query and the body hold personal data.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} {}", self.method, self.path)
    }
}

/// One HTTP answer and its fate.
#[derive(Clone)]
pub struct Reply {
    /// The HTTP status; 0 where HubSpot hasn't answered ([`Delivery::Never`], [`Delivery::Late`]).
    pub status: u16,
    /// All headers but those that frame the body.
    pub headers: Vec<(String, String)>,
    /// The body; empty for 204.
    pub body: Vec<u8>,
    /// What becomes of the answer on its way.
    pub delivery: Delivery,
}

impl Reply {
    /// The first header of that name, whatever its case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self
            .headers
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }
}

impl std::fmt::Debug for Reply {
    /// Status, size and delivery: the body holds personal data.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            formatter,
            "{} ({} bytes, {:?})",
            self.status,
            self.body.len(),
            self.delivery
        )
    }
}

/// What the network does with a request and its reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// The answer arrives whole after this time.
    Whole {
        /// Milliseconds between the request and its answer.
        latency_ms: u64,
    },
    /// The connection is cut and the request was not applied.
    Never,
    /// The request was applied; the connection is cut before any byte of the answer.
    AnswerLost,
    /// The request was applied; the connection is cut after this many bytes of the body.
    CutAfter(usize),
    /// The connection is cut at once, and the request is applied only after this time.
    Late {
        /// Milliseconds until the request lands.
        after_ms: u64,
    },
}
