//! The codes of a login with an OAuth app that comes to nothing, or that no longer holds.

use std::io::Read as _;

use hubsyncd::simulator::oauth::OAuthApp;
use rustix::process::Signal;
use serde_json::json;

use super::{produces, says};
use crate::daemon::Site;
use crate::oauth::{OTHER_KEY, app, begin_login, get, login, portal_with, put_secret, site_of};
use crate::portal::Portal;
use crate::way::{Way, answer};

/// A login to its end, whatever becomes of it: what the command said.
fn tried(site: &Site) -> String {
    let (mut child, mut out, url) = begin_login(site);
    let (_, back) = get(&url);
    get(&back);
    let mut told = String::new();
    out.read_to_string(&mut told).expect("text");
    let mut errors = child.stderr.take().expect("a pipe");
    errors.read_to_string(&mut told).expect("text");
    assert_ne!(child.wait().expect("it ends").code(), Some(0), "{told}");
    told
}

fn told(site: &Site, arguments: &[&str]) -> String {
    let output = site.run(arguments);
    assert_ne!(output.status.code(), Some(0));
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

#[test]
fn a_login_that_comes_to_nothing_is_told_by_its_code() {
    let site = Site::new(&Portal::quick());
    let said = told(&site, &["auth", "login", "--no-browser"]);
    assert!(says(&said, produces("static-token")), "{said}");
    let denied = OAuthApp {
        denies: true,
        ..app(1_800)
    };
    let said = tried(&site_of(&portal_with(denied.clone()), &denied, ""));
    assert!(says(&said, produces("no-consent")), "{said}");
    let app = app(1_800);
    let portal = portal_with(app.clone());
    let site = site_of(&portal, &app, "");
    let said = told(&site, &["once"]);
    assert!(says(&said, produces("logged-out")), "{said}");
    put_secret(&site, "secret", "another-secret-altogether");
    let said = tried(&site);
    assert!(says(&said, produces("oauth-app-refused")), "{said}");
}

#[test]
fn a_grant_without_a_refresh_token_is_told_by_its_code() {
    let app = app(1_800);
    let portal = portal_with(app.clone());
    let (way, site) = (Way::to(&portal), site_of(&portal, &app, ""));
    let file = site.path("config.toml");
    let text = std::fs::read_to_string(&file).expect("the mapping file");
    let base = format!("base_url = \"{}\"", portal.url());
    std::fs::write(
        &file,
        text.replace(&base, &format!("base_url = \"{}\"", way.url())),
    )
    .expect("written");
    let accepted = "a-token".to_owned();
    portal.stand().settings_mut().tokens.0.push(accepted);
    let grant = json!({"access_token": "a-token", "expires_in": 1_800, "token_type": "bearer"});
    way.obstruct(
        "/token",
        answer("200 OK", "application/json", &grant.to_string()),
    );
    let said = tried(&site);
    assert!(says(&said, produces("no-refresh-token")), "{said}");
}

#[test]
fn a_login_that_holds_no_longer_is_told_by_its_code() {
    let app = app(3);
    let portal = portal_with(app.clone());
    portal.fill("contacts", 3);
    let mut site = site_of(&portal, &app, "");
    assert_eq!(login(&site).0, 0);
    site.start_and_load();
    // The daemon, which is there to renew it, does nothing.
    site.freeze();
    site.execute_as_daemon("UPDATE _sync_tokens SET expires_at = '2026-01-01T00:00:00.000Z'");
    let said = told(&site, &["plan", "--online"]);
    assert!(says(&said, produces("token-expired")), "{said}");
    site.signal(Signal::CONT);
    assert_eq!(site.stop(), 0);
    put_secret(&site, "key", OTHER_KEY);
    let said = told(&site, &["once"]);
    assert!(says(&said, produces("token-key")), "{said}");
}
