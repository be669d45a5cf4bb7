//! This machine: the way to HubSpot, the database's place, the ports.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use crate::app::doctor::ALL_OF_HUBSPOT;
use crate::config::Config;
use crate::decide::portal::doctor::{self, CheckLine};
use crate::http::tls::Tls;
use crate::hubspot::call::standing::with_causes;
use crate::hubspot::call::transport::{TransportSetupError, WayThere};
use crate::store::database::{damage, room};
use crate::store::{StoreError, tokens};

/// How long a name server may take.
const LOOKUP: Duration = Duration::from_secs(10);

/// What somebody can do where a host's name leads nowhere.
const NAME_SERVER: &str = "look at `/etc/resolv.conf` and at the name server that it names; behind a proxy set `HTTPS_PROXY`, which then looks the name up";

/// The lines of the way to HubSpot; nothing where it leads nowhere.
pub(super) async fn way(base_url: &str, lines: &mut Vec<CheckLine>) -> Option<WayThere> {
    let way = match WayThere::to(base_url) {
        Ok(way) => way,
        Err(error) => {
            lines.push(of_setup("dns", &error).leaving_out(ALL_OF_HUBSPOT));
            return None;
        }
    };
    let mut is_open = true;
    lines.push(match &way.authorities {
        None => CheckLine::green("certificates", "none needed: it is this machine itself"),
        Some(Ok(whose)) => CheckLine::green("certificates", whose),
        Some(Err(error)) => {
            is_open = false;
            let error = TransportSetupError::NoAuthorities(error.clone());
            of_setup("certificates", &error).leaving_out(ALL_OF_HUBSPOT)
        }
    });
    lines.push(match &way.proxy {
        Ok(None) => CheckLine::green("proxy", "none"),
        Ok(Some(variable)) => CheckLine::green("proxy", format!("the one that `{variable}` names")),
        Err(error) => {
            is_open = false;
            let error = TransportSetupError::BadProxy(error.clone());
            of_setup("proxy", &error).leaving_out(ALL_OF_HUBSPOT)
        }
    });
    let (host, port) = &way.host;
    if matches!(&way.proxy, Ok(Some(_))) {
        lines.push(CheckLine::green(
            "dns",
            format!("the proxy looks `{host}` up"),
        ));
        return is_open.then_some(way);
    }
    match look_up(host, *port).await {
        Ok(found) => lines.push(CheckLine::green("dns", format!("`{host}` is {found}"))),
        Err(why) => {
            is_open = false;
            let message = format!("`{host}` can't be looked up: {why}");
            let line = CheckLine::red("dns", "dns", message, NAME_SERVER);
            lines.push(line.leaving_out(ALL_OF_HUBSPOT));
        }
    }
    is_open.then_some(way)
}

/// An address of a host.
pub(super) async fn look_up(host: &str, port: u16) -> Result<String, String> {
    let found = tokio::time::timeout(LOOKUP, tokio::net::lookup_host((host, port))).await;
    match found {
        Ok(Ok(mut all)) => all
            .next()
            .map(|address| address.ip().to_string())
            .ok_or_else(|| "it has no address".to_owned()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_late) => Err("no name server answers".to_owned()),
    }
}

fn of_setup(name: &str, error: &TransportSetupError) -> CheckLine {
    let hint = error.hint().unwrap_or_default();
    CheckLine::red(name, error.code(), error.to_string(), hint)
}

/// The lines of the database's place and of the ports; `holder` is the daemon that has them.
pub(super) fn place(config: &Config, holder: Option<u32>) -> Vec<CheckLine> {
    let mut lines = vec![match holder {
        Some(pid) => in_use("database", pid),
        None => database(config),
    }];
    lines.extend(pages(&config.database));
    let webhooks = config.webhooks.as_ref().map(|webhooks| webhooks.listen);
    let http = config.http.as_ref().map(|http| http.listen);
    for (section, address) in [("http", http), ("webhooks", webhooks)] {
        let Some(address) = address else {
            continue;
        };
        let name = format!("listener {section}");
        let mut files = config.webhooks.iter().filter(|_| section == "webhooks");
        let files = files.find_map(|webhooks| webhooks.tls.as_ref());
        lines.push(match (files.map(|files| Tls::load(&files.cert, &files.key)), holder) {
            (Some(Err(error)), _) => {
                let hint = "name the certificate's and the key's file, as PEM, in `tls` of `[webhooks]`; the daemon does not start without them";
                CheckLine::red(&name, "bad-certificate", with_causes(&error), hint)
            }
            (Some(Ok(_)) | None, Some(pid)) => in_use(&name, pid),
            (Some(Ok(_)) | None, None) => listener(&name, section, address),
        });
    }
    lines
}

/// The line of what a running daemon has in use.
pub(super) fn in_use(name: &str, pid: u32) -> CheckLine {
    CheckLine::green(name, format!("in use by hubsyncd, pid {pid}"))
}

fn of_store(name: &str, error: &StoreError) -> CheckLine {
    let hint = error.hint().unwrap_or_default();
    CheckLine::red(name, error.code(), error.to_string(), hint)
}

fn database(config: &Config) -> CheckLine {
    let path = &config.database;
    let look = match room::look_at_folder(path) {
        Ok(look) => look,
        Err(error) => return of_store("database", &error),
    };
    // A newer program's, or something else under that name.
    if let Err(error) = tokens::look(path, |_| Ok(())) {
        return of_store("database", &error);
    }
    let what = format!(
        "`{}` belongs to user `{}`, group `{}`",
        look.path.display(),
        look.user,
        look.group
    );
    doctor::database(&what, look.space, look.keeps_group)
}

/// The line of the database's pages; none where there is no database yet, or the line above says why it can't be looked at.
fn pages(path: &Path) -> Option<CheckLine> {
    match damage::look_through(path) {
        Ok(()) if !path.exists() => None,
        Ok(()) => Some(CheckLine::green(
            "pages",
            "every page of the database is in order".to_owned(),
        )),
        Err(error @ StoreError::Corrupt(_)) => Some(of_store("pages", &error)),
        Err(_) => None,
    }
}

fn listener(name: &str, section: &str, address: SocketAddr) -> CheckLine {
    match std::net::TcpListener::bind(address) {
        Ok(_) => CheckLine::green(name, format!("{address} is free")),
        Err(error) => {
            let why = match error.kind() == io::ErrorKind::AddrInUse {
                true => "another program listens there".to_owned(),
                false => error.to_string(),
            };
            let hint =
                format!("give `[{section}].listen` an address of this machine whose port is free");
            CheckLine::red(name, "address-taken", format!("{address}: {why}"), &hint)
        }
    }
}
