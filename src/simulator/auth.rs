//! Bearer tokens and scopes (`api-facts.md#2`).

use super::oauth::{Grants, Standing};
use super::problem::{Detail, Problem};
use super::request::Request;
use super::routes::Route;
use super::settings::Settings;

/// 401 unless the request carries a token that the portal knows.
pub(super) fn authenticate(
    request: &Request,
    settings: &Settings,
    grants: &Grants,
    at_ms: i64,
) -> Result<(), Problem> {
    let header = request.header("authorization").unwrap_or_default();
    let token = header
        .split_once(' ')
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token);
    if token.is_some_and(|token| settings.tokens.0.iter().any(|known| known == token.trim())) {
        return Ok(());
    }
    match grants.standing(token.unwrap_or_default().trim(), at_ms) {
        Standing::Good => return Ok(()),
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

/// 403 if the portal says that the app lacks the scope of this call.
pub(super) fn authorize(route: &Route, settings: &Settings) -> Result<(), Problem> {
    let Some(scope) = route
        .scope()
        .filter(|scope| settings.denied_scopes.contains(scope))
    else {
        return Ok(());
    };
    let mut problem = Problem::new(
        403,
        "MISSING_SCOPES",
        "This app hasn't been granted all required scopes to make this call. Read more about required scopes here: \
         https://developers.hubspot.com/scopes.",
    );
    let message = "One or more of the following scopes are required.".to_owned();
    problem.details.push(Detail::scopes(message, scope));
    Err(problem)
}

#[cfg(test)]
mod tests {
    use super::super::settings::DEFAULT_TOKEN;
    use super::*;

    fn with_token(token: &str) -> Request {
        Request {
            headers: vec![("authorization".to_owned(), token.to_owned())],
            ..Request::default()
        }
    }

    fn checked(token: &str, settings: &Settings) -> Result<(), Problem> {
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
