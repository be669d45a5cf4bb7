//! What the last answers say of HubSpot and the token: whether it is reached, and what it forbids. Learnt from every
//! request in one place, so that a step that had nothing to ask says nothing.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::decide::portal::scopes::{ASK_THE_ACCOUNT, Access, add_it, is_of_scope, says};
use crate::decide::quota::Pause;
use crate::hubspot::call::Request;
use crate::hubspot::call::error::HubspotError;
use crate::hubspot::call::limiter::LimiterError;
use crate::hubspot::endpoints::associations::Ends;
use crate::hubspot::endpoints::paths::Endpoint;
use crate::hubspot::{Answer, Client};
use crate::model::name::ObjectType;

/// Requests in a row that came to nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// Why the last of them did, with its causes.
    pub explanation: Arc<str>,
    /// The stable name of that.
    pub code: &'static str,
    /// What somebody can do about it.
    pub hint: Option<Cow<'static, str>>,
    /// How many.
    pub in_a_row: u32,
}

/// What was learnt.
#[derive(Debug, Default)]
pub(crate) struct Learnt {
    /// HubSpot was not reached, or failed.
    unanswered: Option<Trouble>,
    /// It answered with what can't be read.
    unreadable: Option<Trouble>,
    /// What it forbids, by whose it is.
    forbidden: BTreeMap<(String, Access), Forbidden>,
}

/// What HubSpot forbids.
#[derive(Debug)]
struct Forbidden {
    explanation: String,
    is_of_scope: bool,
}

fn again(trouble: &mut Option<Trouble>, error: &HubspotError) {
    let before = trouble.as_ref().map_or(0, |trouble| trouble.in_a_row);
    *trouble = Some(Trouble {
        explanation: with_causes(error).into(),
        code: error.code(),
        hint: error.hint(),
        in_a_row: before.saturating_add(1),
    });
}

impl Client {
    /// Why nothing comes of requests at present; `None` after one that HubSpot answered.
    pub(crate) fn trouble(&self) -> Option<Trouble> {
        let learnt = self.learnt();
        let both = learnt.unanswered.iter().chain(&learnt.unreadable);
        both.max_by_key(|trouble| trouble.in_a_row).cloned()
    }

    /// That nothing goes because HubSpot moves the account, in words, whoever met it.
    pub(crate) fn moving(&self) -> Option<String> {
        let until = self.inner.limiter.moving_until()?;
        let why = Pause::Everything;
        Some(LimiterError::Paused { why, until }.to_string())
    }

    /// What HubSpot forbids to the token, a sentence each; what it has let through since is left out.
    pub fn forbidden(&self) -> Vec<String> {
        let learnt = self.learnt();
        let all = learnt.forbidden.values();
        all.map(|forbidden| forbidden.explanation.clone()).collect()
    }

    /// The same of one object, or of a pair's associations (`of_links`).
    pub(crate) fn forbidden_of(&self, name: &str) -> Vec<String> {
        let learnt = self.learnt();
        let all = learnt.forbidden.iter();
        all.filter(|((own, _), _)| own == name)
            .map(|(_, forbidden)| forbidden.explanation.clone())
            .collect()
    }

    /// Whether all that HubSpot forbids is a matter of scopes.
    pub(crate) fn lacks_scopes_alone(&self) -> bool {
        let learnt = self.learnt();
        let mut all = learnt.forbidden.values();
        all.all(|forbidden| forbidden.is_of_scope)
    }

    /// Whether all that HubSpot forbids of an object, or of a pair's associations, is a matter of scopes.
    pub(crate) fn lacks_scopes_alone_of(&self, name: &str) -> bool {
        let learnt = self.learnt();
        let mut all = learnt.forbidden.iter();
        all.all(|((own, _), forbidden)| forbidden.is_of_scope || own != name)
    }

    /// Forgets what HubSpot forbids of objects and pairs (`of_links`) that nobody asks for any more.
    pub(crate) fn forget_forbidden(&self, gone: &[String]) {
        let names =
            |name: &str, gone: &str| name == gone || name.split(' ').any(|word| word == gone);
        let mut learnt = self.learnt();
        let forbidden = &mut learnt.forbidden;
        forbidden.retain(|(name, _), _| !gone.iter().any(|gone| names(name, gone)));
    }

    /// Whether HubSpot forbade this when it was last asked.
    pub(crate) fn is_forbidden(&self, name: &str, access: Access) -> bool {
        self.learnt()
            .forbidden
            .contains_key(&(name.to_owned(), access))
    }

    /// Learns from how a request ended.
    pub(crate) fn learn<T>(&self, request: &Request<'_>, ended: &Result<T, HubspotError>) {
        let mut learnt = self.learnt();
        match ended {
            Err(error) if error.is_own_answer() => {
                learnt.unanswered = None;
                if let HubspotError::Forbidden { why, .. } = error
                    && let Some(key) = whose(request)
                {
                    let forbidden = Forbidden {
                        explanation: why.clone(),
                        is_of_scope: error.is_of_scope(),
                    };
                    learnt.forbidden.insert(key, forbidden);
                }
            }
            Err(error) if error.came_to_nothing() => {
                again(&mut learnt.unanswered, error);
            }
            // It was not sent, or says nothing.
            Err(_) => {}
            Ok(_) => {
                learnt.unanswered = None;
                if let Some(key) = whose(request) {
                    learnt.forbidden.remove(&key);
                }
            }
        }
    }

    /// Learns whether a success could be read.
    pub(crate) fn learn_reading<T>(&self, read: &Result<T, HubspotError>) {
        let mut learnt = self.learnt();
        match read {
            Ok(_) => learnt.unreadable = None,
            Err(error) => again(&mut learnt.unreadable, error),
        }
    }

    /// What a 403 means, in a sentence that names the scope, or says HubSpot's own words. Those of a write may name what was
    /// to be written, and are left out: the sentence goes to the log.
    pub(crate) fn refusal(request: &Request<'_>, answer: &Answer) -> String {
        match (subject(request), request.endpoint.access()) {
            (Some((name, access)), _) => {
                let said = match access {
                    Access::Definitions | Access::Limits | Access::Read => {
                        one_line(answer.message.as_str())
                    }
                    Access::Write => String::new(),
                };
                let objects = [request.object, request.to];
                let objects = objects.into_iter().flatten().map(ObjectType::as_str);
                let own = match request.to {
                    Some(_) => objects.map(|object| access.scope(object)).collect(),
                    None => vec![access.scope(&name)],
                };
                access.refusal((&name, &own), &answer.scopes, &answer.category, &said)
            }
            (None, _) if answer.scopes.is_empty() => {
                let said = match request.endpoint.is_read() {
                    true => one_line(answer.message.as_str()),
                    false => String::new(),
                };
                let what = if request.endpoint == Endpoint::Account {
                    "look at the account"
                } else {
                    "do this"
                };
                let why = says(&answer.category, &said);
                format!("the token may not {what}: {why}")
            }
            (None, _) => format!("the token lacks scope `{}`", answer.scopes.join("`, `")),
        }
    }

    /// Where the missing scope is added, and what waits for it; of another refusal whom to ask.
    pub(crate) fn remedy(request: &Request<'_>, answer: &Answer) -> String {
        if !is_of_scope(&answer.scopes, &answer.category) {
            return ASK_THE_ACCOUNT.to_owned();
        }
        match subject(request) {
            Some((name, _)) => format!("{}; {name} wait until then", add_it()),
            None => add_it(),
        }
    }

    fn learnt(&self) -> parking_lot::MutexGuard<'_, Learnt> {
        self.inner.learnt.lock()
    }
}

/// The associations of a pair among the names of objects, in the order in which calls name its ends.
pub(crate) fn of_links(ends: Ends<'_>) -> String {
    format!("associations of {} with {}", ends.from, ends.to)
}

/// Whose access a request needs.
fn subject(request: &Request<'_>) -> Option<(String, Access)> {
    let access = request.endpoint.access()?;
    let object = request.object.map(|object| object.as_str().to_owned());
    let name = if let (Some(from), Some(to)) = (request.object, request.to) {
        of_links(Ends { from, to })
    } else if request.endpoint == Endpoint::Owners {
        "owners".to_owned()
    } else if request.endpoint == Endpoint::Pipelines {
        format!("pipelines of {}", object?)
    } else {
        object?
    };
    Some((name, access))
}

/// Whose access a request tells of. Without the account nothing begins.
fn whose(request: &Request<'_>) -> Option<(String, Access)> {
    if request.endpoint == Endpoint::Account {
        return Some((THE_ACCOUNT.to_owned(), Access::Read));
    }
    subject(request)
}

/// The account among the names of objects, which have no space.
const THE_ACCOUNT: &str = "the account";

/// The most of HubSpot's words that a sentence repeats.
const MOST_LETTERS: usize = 300;

/// Words as a part of a sentence.
fn one_line(explanation: &str) -> String {
    let explanation = explanation.split_whitespace().collect::<Vec<_>>().join(" ");
    let explanation = explanation.trim_end_matches('.');
    explanation.chars().take(MOST_LETTERS).collect()
}

/// An error and its causes in one line; transport errors quote no URL and no body. An error's own words never hold those of its
/// `source`: either it is transparent, or its words end with the cause's and it names none.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut explanation = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        explanation.push_str(": ");
        explanation.push_str(&error.to_string());
        cause = error.source();
    }
    explanation
}
