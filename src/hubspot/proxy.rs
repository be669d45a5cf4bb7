//! Which proxy stands between this machine and HubSpot, by the environment's word: `HTTPS_PROXY`, else `ALL_PROXY`, in
//! capitals or not, and `NO_PROXY` for the hosts that are reached without one. Never for this machine itself.

use thiserror::Error;

/// The variables that name a proxy, the first of them goes before.
const VARIABLES: [&str; 4] = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];

/// The variables that name what is reached without one.
const EXCEPT: [&str; 2] = ["NO_PROXY", "no_proxy"];

/// A proxy. It has no `Debug` form: its URL may hold a password.
pub(super) struct Chosen {
    pub(super) variable: &'static str,
    pub(super) url: String,
    pub(super) except: Option<String>,
}

/// What a variable says can be no proxy.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("`{variable}` names no HTTP proxy")]
pub struct BadProxy {
    /// The variable; what it holds may be a password.
    pub(super) variable: &'static str,
}

/// The proxy that the environment names, said in the log.
pub(super) fn choose(
    is_this_machine: bool,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<Option<Chosen>, BadProxy> {
    if is_this_machine {
        return Ok(None);
    }
    let first = |names: &[&'static str]| {
        names.iter().find_map(|name| {
            let text = variable(name)?.trim().to_owned();
            (!text.is_empty()).then_some((*name, text))
        })
    };
    let Some((name, text)) = first(&VARIABLES) else {
        return Ok(None);
    };
    let url = match text.split_once("://") {
        Some(("http" | "https", rest)) if !rest.is_empty() => text,
        Some(_) => return Err(BadProxy { variable: name }),
        None => format!("http://{text}"),
    };
    tracing::info!(
        name,
        "HubSpot is reached through a proxy, unless `NO_PROXY` names its host"
    );
    Ok(Some(Chosen {
        variable: name,
        url,
        except: first(&EXCEPT).map(|(_, hosts)| hosts),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(own: bool, variables: &[(&str, &str)]) -> Result<Option<(String, String)>, BadProxy> {
        let variable = |wanted: &str| {
            let found = variables.iter().find(|(name, _)| *name == wanted);
            found.map(|(_, text)| (*text).to_owned())
        };
        let chosen = choose(own, &variable)?;
        Ok(chosen.map(|chosen| (chosen.url, chosen.except.unwrap_or_default())))
    }

    #[test]
    fn the_environment_names_the_proxy_and_never_one_for_this_machine() {
        let some = |url: &str, except: &str| Ok(Some((url.to_owned(), except.to_owned())));
        let one = [
            ("HTTPS_PROXY", "http://proxy:3128"),
            ("ALL_PROXY", "http://other:1"),
        ];
        assert_eq!(chosen(false, &one), some("http://proxy:3128", ""));
        assert_eq!(chosen(true, &one), Ok(None));
        let low = [("https_proxy", "proxy:3128"), ("no_proxy", ".example.com")];
        assert_eq!(
            chosen(false, &low),
            some("http://proxy:3128", ".example.com")
        );
        assert_eq!(chosen(false, &[("HTTPS_PROXY", " ")]), Ok(None));
        let plain = [("HTTP_PROXY", "http://proxy:3128")];
        assert_eq!(
            chosen(false, &plain),
            Ok(None),
            "HubSpot is asked by https alone"
        );
        let bad = [("ALL_PROXY", "socks5://user:hush@proxy:1")];
        let refused = chosen(false, &bad).expect_err("no HTTP proxy");
        assert_eq!(refused.to_string(), "`ALL_PROXY` names no HTTP proxy");
    }
}
