//! Objects that wait because HubSpot forbids something to the token: which, since which look, and what is said of them.
//!
//! What is forbidden is asked again with each read of the schema (every `reference`), not by each step: a missing scope
//! costs a request an hour and no line of the log a minute. The sentence stands in `sync_status.last_error` as long as
//! it holds (`contract-crm.md`, section 3).

use std::collections::BTreeMap;
use std::future::Future;

use parking_lot::Mutex;

use crate::decide::portal::scopes::ASK_THE_ACCOUNT;
pub(crate) use crate::decide::portal::scopes::Access;
pub(crate) use crate::decide::portal::scopes::remedy;
use crate::engine::{Engine, Progress, StepError};
use crate::hubspot::call::standing::Trouble;
use crate::model::name::ObjectType;
use crate::store::meta::{FORBIDDEN, MISSING_SCOPE, OBJECT_UNKNOWN};
use crate::store::{Lane, cursors};

/// What somebody can do about an object that the portal has not.
pub(crate) const LOOK_AT_THE_NAME: &str =
    "look at the name, or make the object in HubSpot: it then loads by itself";

/// What steps need that read records.
pub(crate) const TO_READ: &[Access] = &[Access::Read];

/// What a push needs: it reads before it writes.
pub(crate) const TO_PUSH: &[Access] = &[Access::Read, Access::Write];

/// Which refusals were met since the schema was last read, and what is written down of them.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    inner: Mutex<KnownRefusals>,
}

#[derive(Debug, Default)]
struct KnownRefusals {
    /// Counts the reads of the schema.
    look: u64,
    met_at: BTreeMap<(ObjectType, Access), u64>,
    written: BTreeMap<ObjectType, Vec<String>>,
    /// Objects that were kept back by the last read of the schema.
    kept_back: Vec<String>,
    /// Objects that the portal has not, each with a sentence.
    unknown: BTreeMap<ObjectType, String>,
}

/// What the log is told of an object's refusals.
#[derive(Debug, PartialEq, Eq)]
enum News {
    Forbidden,
    Over,
}

impl KnownRefusals {
    /// Remembers what was written down of an object. Several steps of it end at the same time: what one of them told is no
    /// news of another's.
    fn written(&mut self, object: &ObjectType, sentences: &[String]) -> Option<News> {
        let before = self.written.insert(object.clone(), sentences.to_vec());
        match (before.unwrap_or_default(), sentences) {
            (before, now) if before == now => None,
            (_, []) => Some(News::Over),
            (_, [_, ..]) => Some(News::Forbidden),
        }
    }
}

impl Refusals {
    fn known(&self) -> parking_lot::MutexGuard<'_, KnownRefusals> {
        self.inner.lock()
    }

    /// From here on everything is asked again once.
    pub(crate) fn look_again(&self) {
        self.known().look += 1;
    }

    /// Whether other objects are kept back than after the last read of the schema, or for another reason.
    pub(crate) fn is_news(&self, kept_back: Vec<String>) -> bool {
        let mut known = self.known();
        let is_news = known.kept_back != kept_back;
        known.kept_back = kept_back;
        is_news
    }

    /// Says which objects the portal has not: their steps rest until it has them.
    pub(crate) fn set_unknown(&self, unknown: BTreeMap<ObjectType, String>) {
        self.known().unknown = unknown;
    }

    fn unknown(&self, object: &ObjectType) -> Option<String> {
        self.known().unknown.get(object).cloned()
    }

    /// Whether an object was kept back.
    pub(crate) fn has_kept_back(&self) -> bool {
        !self.known().kept_back.is_empty()
    }
}

/// How HubSpot stands to the daemon, for its state.
#[derive(Debug, Clone, Default)]
pub struct AccessStanding {
    /// Whether HubSpot accepted the token.
    pub token_works: bool,
    /// That HubSpot moves the account, and until when nothing goes.
    pub moving: Option<String>,
    /// Why nothing comes of requests at present.
    pub trouble: Option<Trouble>,
    /// What is forbidden to the token, a sentence each.
    pub forbidden: Vec<String>,
    /// Whether at least one object can be read.
    pub goes_on: bool,
}

impl Engine {
    /// How HubSpot stands to the daemon.
    pub fn standing(&self) -> AccessStanding {
        AccessStanding {
            token_works: self.client.token_works(),
            moving: self.client.moving(),
            trouble: self.client.trouble(),
            forbidden: self.kept_from(),
            goes_on: self.mapping.objects.is_empty()
                || self
                    .mapping
                    .objects
                    .iter()
                    .any(|object| self.is_readable(&object.object)),
        }
    }

    /// What is forbidden to the token, and what the portal has not, a sentence each.
    fn kept_from(&self) -> Vec<String> {
        let mut sentences = self.client.forbidden();
        sentences.extend(self.refusals.known().unknown.values().cloned());
        sentences
    }

    /// What keeps mapped objects from syncing, in one line; `None` where the token may do all that is mapped, and the portal
    /// has it.
    pub fn forbidden(&self) -> Option<String> {
        let sentences = self.kept_from();
        (!sentences.is_empty()).then(|| sentences.join("; "))
    }

    /// What somebody can do about what is forbidden.
    pub(crate) fn remedies(&self) -> Option<String> {
        if self.client.forbidden().is_empty() {
            return self.forbidden().map(|_| LOOK_AT_THE_NAME.to_owned());
        }
        let objects = self.mapping.objects.iter();
        let waiting = |name: &str| !self.client.forbidden_of(name).is_empty();
        let (stuck, others): (Vec<&str>, Vec<&str>) = objects
            .map(|object| object.object.as_str())
            .partition(|name| waiting(name));
        match stuck[..] {
            [] => self.forbidden().map(|_| {
                match self.client.lacks_scopes_alone(None) {
                    true => "add the scope in HubSpot",
                    false => ASK_THE_ACCOUNT,
                }
                .to_owned()
            }),
            [only] => Some(remedy(
                only,
                &others,
                self.client.lacks_scopes_alone(Some(only)),
            )),
            [..] if !self.client.lacks_scopes_alone(None) => Some(format!(
                "{ASK_THE_ACCOUNT}, or take `{}` out of `[objects]`",
                stuck.join("`, `")
            )),
            [..] => Some(format!(
                "add the scopes in HubSpot, or take `{}` out of `[objects]`",
                stuck.join("`, `")
            )),
        }
    }

    /// Whether an object waits for its properties to be read.
    pub(crate) fn has_kept_back(&self) -> bool {
        self.refusals.has_kept_back()
    }

    fn is_readable(&self, object: &ObjectType) -> bool {
        self.object(object).is_some() && !self.client.is_forbidden(object.as_str(), Access::Read)
    }

    /// Whether a refusal was met that nobody has asked about again yet.
    fn waits(&self, object: &ObjectType, access: Access) -> bool {
        let known = self.refusals.known();
        known.met_at.get(&(object.clone(), access)) == Some(&known.look)
            && self.client.is_forbidden(object.as_str(), access)
    }
}

/// Carries out a step of an object, unless it waits for a scope. A step that meets a refusal makes the object wait, and
/// is no failure: the others go on.
///
/// # Errors
/// Those of the step, and of the database.
pub async fn within<F>(
    engine: &Engine,
    object: &ObjectType,
    needs: &[Access],
    step: F,
) -> Result<Progress, StepError>
where
    F: Future<Output = Result<Progress, StepError>>,
{
    if let Some(words) = engine.refusals.unknown(object) {
        write_down(engine, object, vec![words]).await?;
        return Ok(Progress::RING);
    }
    if needs.iter().any(|access| engine.waits(object, *access)) {
        return Ok(Progress::RING);
    }
    let look = engine.refusals.known().look;
    let done = step.await;
    let is_refused = matches!(&done, Err(StepError::Hubspot(error)) if error.is_forbidden());
    let sentences = engine.client.forbidden_of(object.as_str());
    if is_refused {
        let mut known = engine.refusals.known();
        for access in [Access::Definitions, Access::Read, Access::Write] {
            if engine.client.is_forbidden(object.as_str(), access) {
                known.met_at.insert((object.clone(), access), look);
            }
        }
    }
    let is_told = !sentences.is_empty();
    write_down(engine, object, sentences).await?;
    match done {
        Err(_) if is_refused && is_told => Ok(Progress::RING),
        done => done,
    }
}

/// Keeps the sentences where `sync_status` shows them, and tells the log of new ones.
async fn write_down(
    engine: &Engine,
    object: &ObjectType,
    sentences: Vec<String>,
) -> Result<(), StepError> {
    if engine.refusals.known().written.get(object) == Some(&sentences) {
        return Ok(());
    }
    let (name, words) = (object.clone(), sentences.join("; "));
    let is_unknown = engine.refusals.unknown(object).is_some();
    let code = match engine.client.lacks_scopes_alone(Some(object.as_str())) {
        _ if is_unknown => OBJECT_UNKNOWN,
        true => MISSING_SCOPE,
        false => FORBIDDEN,
    };
    let is_readable = !is_unknown && !engine.client.is_forbidden(object.as_str(), Access::Read);
    engine
        .store
        .write(Lane::Bulk, move |tx| {
            let words = Some(words.as_str()).filter(|words| !words.is_empty());
            let forbidden = words.map(|words| (words, code));
            cursors::set_forbidden(tx, &name, forbidden, is_readable)
        })
        .await?;
    let news = engine.refusals.known().written(object, &sentences);
    match news {
        Some(News::Forbidden) => {
            let (hint, words) = (engine.remedies(), sentences.join("; "));
            tracing::error!(object = %object, hint, "{words}");
        }
        Some(News::Over) => {
            tracing::info!(object = %object, "the token may do what it needs again");
        }
        None => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_told_once_and_its_end_only_after_one() {
        let mut known = KnownRefusals::default();
        let contacts = ObjectType::parse("contacts").expect("a name");
        let refused = ["the token may not read contacts".to_owned()];
        // Two steps that end at the same time, with nothing wrong before.
        assert_eq!(known.written(&contacts, &[]), None);
        assert_eq!(known.written(&contacts, &[]), None);
        assert_eq!(known.written(&contacts, &refused), Some(News::Forbidden));
        assert_eq!(known.written(&contacts, &refused), None);
        assert_eq!(known.written(&contacts, &[]), Some(News::Over));
        assert_eq!(known.written(&contacts, &[]), None);
    }
}
