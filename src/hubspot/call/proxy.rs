//! Which proxy stands between this machine and HubSpot, by the environment's word: `HTTPS_PROXY`, else `ALL_PROXY`, in
//! capitals or not, and `NO_PROXY` for the hosts that are reached without one. Never for this machine itself.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::percent_decode_str;
use thiserror::Error;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// The variables that name a proxy, the first of them goes before.
const VARIABLES: [&str; 4] = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];

/// The variables that name what is reached without one.
const EXCEPT: [&str; 2] = ["NO_PROXY", "no_proxy"];

/// A proxy. It has no `Debug` form: its URL may hold a password.
pub(crate) struct Chosen {
    pub(crate) variable: &'static str,
    pub(crate) url: String,
    pub(crate) except: Option<String>,
}

/// What a variable says can be no proxy.
#[derive(Debug, Clone, Error, PartialEq, Eq)]
#[error("`{variable}` names no proxy that is reached by `http://`")]
pub struct BadProxy {
    /// The variable; what it holds may be a password.
    pub(crate) variable: &'static str,
}

/// The proxy that the environment names for HubSpot's port, said in the log.
pub(crate) fn choose(
    is_this_machine: bool,
    port: Option<u16>,
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
        Some(("http", rest)) if !rest.is_empty() => text,
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
        except: first(&EXCEPT).map(|(_, hosts)| without_ports(&hosts, port)),
    }))
}

/// The hosts of a list without their ports, which the HTTP client does not read: a host with another port than HubSpot's is
/// another place.
fn without_ports(hosts: &str, port: Option<u16>) -> String {
    let hosts = hosts.split(',').map(str::trim);
    let meant = hosts.filter_map(|host| match host.rsplit_once(':') {
        Some((name, number)) if !name.contains(':') || name.ends_with(']') => {
            let Ok(own) = number.parse::<u16>() else {
                return Some(host);
            };
            (Some(own) == port).then(|| name.trim_start_matches('[').trim_end_matches(']'))
        }
        Some(_) | None => Some(host),
    });
    meant.collect::<Vec<_>>().join(",")
}

/// How long a proxy may take to say why it opens no tunnel.
const PATIENCE: Duration = Duration::from_secs(5);

/// A proxy's tunnel to HubSpot, to ask for it once more and read the status, which the HTTP client doesn't tell. Its `Debug`
/// form shows no password.
pub(crate) struct Tunnel {
    proxy: String,
    host: String,
    authorization: Option<String>,
}

impl std::fmt::Debug for Tunnel {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Tunnel")
    }
}

impl Tunnel {
    /// The tunnel of a proxy to a host, both with their ports; user and password as the proxy's URL writes them.
    pub(crate) fn new(proxy: String, host: String, (user, password): (&str, &str)) -> Self {
        let plain = |text: &str| percent_decode_str(text).collect::<Vec<u8>>();
        let authorization = (!user.is_empty()).then(|| {
            let both = [plain(user), plain(password)].join(&b':');
            format!("Proxy-Authorization: Basic {}\r\n", STANDARD.encode(both))
        });
        Self {
            proxy,
            host,
            authorization,
        }
    }

    /// What the proxy answers to the wish for a tunnel; `None` where it answers nothing or opens one.
    pub(crate) async fn status(&self) -> Option<u16> {
        let answer = tokio::time::timeout(PATIENCE, self.first_bytes()).await;
        let answer = answer.ok()?.ok()?;
        let status = answer.strip_prefix(b"HTTP/1.")?.get(2..5)?;
        let status: u16 = std::str::from_utf8(status).ok()?.parse().ok()?;
        (!(200..300).contains(&status)).then_some(status)
    }

    async fn first_bytes(&self) -> std::io::Result<[u8; 12]> {
        let (host, authorization) = (&self.host, self.authorization.as_deref());
        let request = format!(
            "CONNECT {host} HTTP/1.1\r\nHost: {host}\r\n{}\r\n",
            authorization.unwrap_or_default()
        );
        let mut stream = TcpStream::connect(&self.proxy).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await?;
        Ok(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(own: bool, variables: &[(&str, &str)]) -> Result<Option<(String, String)>, BadProxy> {
        let variable = |wanted: &str| {
            let found = variables.iter().find(|(name, _)| *name == wanted);
            found.map(|(_, text)| (*text).to_owned())
        };
        let chosen = choose(own, Some(443), &variable)?;
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
        // Each entry may have a port, as Go reads it.
        let hosts = "api.hubapi.com:443, other:8080,[::1]:443,10.0.0.0/8,fe80::/10,.x.com";
        let ports = [("HTTPS_PROXY", "proxy:3128"), ("NO_PROXY", hosts)];
        assert_eq!(
            chosen(false, &ports),
            some(
                "http://proxy:3128",
                "api.hubapi.com,::1,10.0.0.0/8,fe80::/10,.x.com"
            )
        );
        assert_eq!(chosen(false, &[("HTTPS_PROXY", " ")]), Ok(None));
        let plain = [("HTTP_PROXY", "http://proxy:3128")];
        assert_eq!(
            chosen(false, &plain),
            Ok(None),
            "HubSpot is asked by https alone"
        );
        // TLS to the proxy itself is not spoken.
        for bad in ["socks5://user:hush@proxy:1", "https://user:hush@proxy:1"] {
            let refused = chosen(false, &[("ALL_PROXY", bad)]).expect_err("no such proxy");
            assert_eq!(
                refused.to_string(),
                "`ALL_PROXY` names no proxy that is reached by `http://`"
            );
        }
    }
}
