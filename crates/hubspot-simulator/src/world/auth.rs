//! Bearer tokens and scopes (`api-facts.md#2`).

use crate::api::problem::Problem;
use crate::api::request::Request;
use std::sync::LazyLock;

use crate::api::routes::{APP_SCOPE, OWNERS_SCOPE, Route};
use crate::catalogue::OBJECTS;
use crate::catalogue::objects::ObjectScopes;
use crate::portal::custom::CUSTOM_SCOPES;
use crate::world::limits::Daily;
use crate::world::oauth::{Grants, Standing};
use crate::world::settings::Settings;

/// Who makes a request.
#[derive(Debug)]
pub(crate) enum Caller {
    /// A private app's token or a service key: every scope of [`static_scopes`].
    Static,
    /// An OAuth app, with the scopes that a person has granted.
    OAuth(Vec<String>),
}

impl Caller {
    /// Whether the account's day applies (`api-facts.md#3`).
    pub(crate) fn daily(&self) -> Daily {
        match self {
            Self::Static => Daily::Counts,
            Self::OAuth(_) => Daily::Absent,
        }
    }

    fn has(&self, scope: &str, settings: &Settings) -> bool {
        let granted = match self {
            Self::Static => static_scopes().iter().any(|known| known == scope),
            Self::OAuth(scopes) => scopes.iter().any(|known| known == scope),
        };
        (granted || scope == APP_SCOPE) && !settings.denied_scopes.contains(scope)
    }
}

/// The scopes of static tokens: all that this portal's objects have, but nobody writes its users.
pub(crate) fn static_scopes() -> &'static [String] {
    static SCOPES: LazyLock<Vec<String>> = LazyLock::new(|| {
        let mut scopes: Vec<String> = Vec::new();
        let objects = OBJECTS.iter().map(|object| object.scopes);
        for scope in objects
            .chain([CUSTOM_SCOPES])
            .flat_map(ObjectScopes::granted)
            .chain([OWNERS_SCOPE.to_owned()])
        {
            if !scopes.contains(&scope) {
                scopes.push(scope);
            }
        }
        scopes
    });
    &SCOPES
}

fn bearer(request: &Request) -> Option<&str> {
    let header = request.header("authorization")?;
    header
        .split_once(' ')
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token)
}

/// Whether a request stands for what a person does in HubSpot's pages.
pub(crate) fn is_a_person(request: &Request, settings: &Settings) -> bool {
    let people = settings.people_token.as_deref();
    people.is_some_and(|people| bearer(request).is_some_and(|token| token.trim() == people))
}

/// Who it is; 401 unless the request carries a token that the portal knows.
pub(crate) fn authenticate(
    request: &Request,
    settings: &Settings,
    grants: &Grants,
    at_ms: i64,
) -> Result<Caller, Problem> {
    let token = bearer(request);
    if is_a_person(request, settings) {
        return Ok(Caller::Static);
    }
    if token.is_some_and(|token| settings.tokens.0.iter().any(|known| known == token.trim())) {
        return Ok(Caller::Static);
    }
    match grants.standing(token.unwrap_or_default().trim(), at_ms) {
        Standing::Good(scopes) => return Ok(Caller::OAuth(scopes.to_vec())),
        Standing::Dead(seconds) => {
            let words =
                format!("The OAuth token used to make this call expired {seconds} second(s) ago.");
            return Err(Problem::new(401, "EXPIRED_AUTHENTICATION", words));
        }
        Standing::Unknown => {}
    }
    Err(Problem::new(
        401,
        "INVALID_AUTHENTICATION",
        "Authentication credentials not found. This API supports OAuth 2.0 authentication and you can find more details \
         at https://developers.hubspot.com/docs/methods/auth/oauth-overview",
    ))
}

/// 403 if the caller has none of the scopes of which this call needs one.
pub(crate) fn authorize(
    route: &Route,
    (from, to): (ObjectScopes, ObjectScopes),
    caller: &Caller,
    settings: &Settings,
) -> Result<(), Problem> {
    let has_one = |scopes: &Vec<String>| scopes.iter().any(|scope| caller.has(scope, settings));
    match route
        .scopes(from, to)
        .into_iter()
        .find(|group| !has_one(group))
    {
        Some(missing) => Err(Problem::missing_scopes(missing)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::settings::DEFAULT_TOKEN;

    fn with_token(token: &str) -> Request {
        Request {
            headers: vec![("authorization".to_owned(), token.to_owned())],
            ..Request::default()
        }
    }

    fn checked(token: &str, settings: &Settings) -> Result<Caller, Problem> {
        authenticate(&with_token(token), settings, &Grants::default(), 0)
    }

    #[test]
    fn only_a_known_bearer_token_passes() {
        let mut settings = Settings::default();
        assert!(checked(&format!("Bearer {DEFAULT_TOKEN}"), &settings).is_ok());
        for token in ["Bearer pat-na1-other", DEFAULT_TOKEN, ""] {
            let problem = checked(token, &settings).expect_err("refused");
            assert_eq!(
                (problem.status, problem.category),
                (401, "INVALID_AUTHENTICATION")
            );
        }
        settings.revoke(DEFAULT_TOKEN);
        assert!(checked(&format!("Bearer {DEFAULT_TOKEN}"), &settings).is_err());
    }
}
