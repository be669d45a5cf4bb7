//! Objects, and pairs of them, that wait because HubSpot forbids something to the token: which, since which look, and what is
//! said of them. A pair waits alone: its objects go on, and so do their other pairs.
//!
//! What is forbidden is asked again with each read of the schema (every `reference`), not by each step: a missing scope
//! costs a request an hour and no line of the log a minute. The sentence stands in `sync_status.last_error` as long as
//! it holds (`contract-crm.md`, section 3).

use std::collections::BTreeSet;
use std::future::Future;

use crate::decide::portal::scopes::ASK_THE_ACCOUNT;
pub(crate) use crate::decide::portal::scopes::Access;
pub(crate) use crate::decide::portal::scopes::remedy;
use crate::engine::portal::refusals::News;
use crate::engine::{Engine, Progress, StepError};
use crate::hubspot::call::error::HubspotError;
use crate::hubspot::call::standing::{Trouble, of_links};
use crate::hubspot::endpoints::associations::Ends;
use crate::model::mapping::Mapping;
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
    /// The stable name of what is forbidden.
    pub forbidden_code: Option<&'static str>,
    /// Whether at least one object can be read.
    pub goes_on: bool,
}

impl Engine {
    /// How HubSpot stands to the daemon.
    pub fn standing(&self) -> AccessStanding {
        let mapping = self.mapping();
        AccessStanding {
            token_works: self.client.token_works(),
            moving: self.client.moving(),
            trouble: self.client.trouble(),
            forbidden: self.kept_from(),
            forbidden_code: self.forbidden_code(),
            goes_on: mapping.objects.is_empty()
                || mapping
                    .objects
                    .iter()
                    .any(|object| self.is_readable(&object.object)),
        }
    }

    /// What keeps the token, or the portal, from doing all that is mapped, in one word.
    pub(crate) fn forbidden_code(&self) -> Option<&'static str> {
        Some(match () {
            () if self.kept_from().is_empty() => return None,
            () if self.client.forbidden().is_empty() => "object-unknown",
            () if self.client.lacks_scopes_alone() => "missing-scope",
            () => "forbidden",
        })
    }

    /// What is forbidden to the token, and what the portal has not, a sentence each.
    fn kept_from(&self) -> Vec<String> {
        let mut sentences = self.client.forbidden();
        sentences.extend(self.memory.refusals.all_unknown());
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
        let mapping = self.mapping();
        let objects = mapping.objects.iter();
        let waiting = |name: &str| !self.client.forbidden_of(name).is_empty();
        let is_of_scopes = self.client.lacks_scopes_alone();
        let (stuck, others): (Vec<&str>, Vec<&str>) = objects
            .map(|object| object.object.as_str())
            .partition(|name| waiting(name));
        match stuck[..] {
            [] => self.forbidden().map(|_| {
                match is_of_scopes {
                    true => "add the scope in HubSpot",
                    false => ASK_THE_ACCOUNT,
                }
                .to_owned()
            }),
            [only] => Some(remedy(
                only,
                &others,
                self.client.lacks_scopes_alone_of(only),
            )),
            [..] if !is_of_scopes => Some(format!(
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
        self.memory.refusals.has_kept_back()
    }

    fn is_readable(&self, object: &ObjectType) -> bool {
        self.object(object).is_some() && !self.client.is_forbidden(object.as_str(), Access::Read)
    }

    /// Whether a refusal was met that nobody has asked about again yet.
    fn waits(&self, name: &str, access: Access) -> bool {
        self.memory.refusals.is_met(name, access) && self.client.is_forbidden(name, access)
    }

    /// What an object's sentences are of.
    fn names_of(&self, object: &ObjectType) -> Vec<String> {
        names_of(&self.mapping(), object)
    }

    /// Forgets what is forbidden of objects and pairs that a former mapping had and the one in force has not.
    pub(super) fn forget_unmapped(&self, former: &Mapping) {
        let names = |mapping: &Mapping| -> BTreeSet<String> {
            let objects = mapping.objects.iter();
            objects
                .flat_map(|object| names_of(mapping, &object.object))
                .collect()
        };
        let mapped = names(&self.mapping());
        let gone = names(former).into_iter();
        let gone: Vec<String> = gone.filter(|name| !mapped.contains(name)).collect();
        self.client.forget_forbidden(&gone);
    }
}

/// What an object's sentences are of: itself, and the associations of the pairs that start from it, both ways.
fn names_of(mapping: &Mapping, object: &ObjectType) -> Vec<String> {
    let own = mapping.pairs.iter().filter(|pair| pair.from == *object);
    let links = own.flat_map(|pair| {
        let (from, to) = (&pair.from, &pair.to);
        let mut ways = vec![of_links(Ends { from, to })];
        ways.extend((from != to).then(|| of_links(Ends { from: to, to: from })));
        ways
    });
    std::iter::once(object.as_str().to_owned())
        .chain(links)
        .collect()
}

/// Carries out a request about a pair's associations, unless the pair waits for a scope; `None` where it does, or where
/// HubSpot forbids it now. What is forbidden is told with the step of the object from which the pair starts.
///
/// # Errors
/// Those of the request, but a refusal.
pub(crate) async fn of_pair<T, F>(
    engine: &Engine,
    ends: Ends<'_>,
    access: Access,
    request: F,
) -> Result<Option<T>, HubspotError>
where
    F: Future<Output = Result<T, HubspotError>>,
{
    if pair_waits(engine, ends, access) {
        return Ok(None);
    }
    let look = engine.memory.refusals.look();
    match request.await {
        Err(error) if error.is_forbidden() => {
            meet_of_pair(engine, ends, access, look);
            Ok(None)
        }
        done => done.map(Some),
    }
}

/// Remembers a refusal of a pair's associations to what was asked after a read of the schema.
pub(crate) fn meet_of_pair(engine: &Engine, ends: Ends<'_>, access: Access, look: u64) {
    engine
        .memory
        .refusals
        .meet(&of_links(ends), std::iter::once(access), look);
}

/// The number of the last read of the schema.
pub(crate) fn look(engine: &Engine) -> u64 {
    engine.memory.refusals.look()
}

/// Whether this was refused of a pair's associations, and nobody has asked about it again yet.
pub(crate) fn pair_waits(engine: &Engine, ends: Ends<'_>, access: Access) -> bool {
    engine.waits(&of_links(ends), access)
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
    if let Some(explanation) = engine.memory.refusals.unknown(object) {
        write_down(engine, object, vec![explanation]).await?;
        return Ok(Progress::RING);
    }
    let waits = |access: &Access| engine.waits(object.as_str(), *access);
    if needs.iter().any(waits) {
        return Ok(Progress::RING);
    }
    let look = engine.memory.refusals.look();
    let done = step.await;
    let is_refused = matches!(&done, Err(StepError::Hubspot(error)) if error.is_forbidden());
    let names = engine.names_of(object);
    let sentences = names
        .iter()
        .flat_map(|name| engine.client.forbidden_of(name));
    let sentences: Vec<String> = sentences.collect();
    if is_refused {
        let all = [Access::Definitions, Access::Read, Access::Write];
        let refused = all
            .into_iter()
            .filter(|access| engine.client.is_forbidden(object.as_str(), *access));
        engine.memory.refusals.meet(object.as_str(), refused, look);
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
    if engine.memory.refusals.is_written(object, &sentences) {
        return Ok(());
    }
    let (name, explanation) = (object.clone(), sentences.join("; "));
    let is_unknown = engine.memory.refusals.unknown(object).is_some();
    let mut names = engine.names_of(object).into_iter();
    let code = match names.all(|name| engine.client.lacks_scopes_alone_of(&name)) {
        _ if is_unknown => OBJECT_UNKNOWN,
        true => MISSING_SCOPE,
        false => FORBIDDEN,
    };
    let is_readable = !is_unknown && !engine.client.is_forbidden(object.as_str(), Access::Read);
    engine
        .store
        .write(Lane::Bulk, move |tx| {
            let explanation =
                Some(explanation.as_str()).filter(|explanation| !explanation.is_empty());
            let forbidden = explanation.map(|explanation| (explanation, code));
            cursors::set_forbidden(tx, &name, forbidden, is_readable)
        })
        .await?;
    let news = engine.memory.refusals.write(object, &sentences);
    match news {
        Some(News::Forbidden) => {
            let (hint, explanation) = (engine.remedies(), sentences.join("; "));
            tracing::error!(object = %object, code, hint, "{explanation}");
        }
        Some(News::Over) => {
            tracing::info!(object = %object, "the token may do what it needs again");
        }
        None => {}
    }
    Ok(())
}
