//! `simulate`: HubSpot's API on this machine, filled with sample data, for people's own tests.

use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use anyhow::{Context as _, bail};
use clap::Args;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::cli::Unusable;
use crate::clock::{Clock as _, SystemClock};
use crate::daemon::tasks::with_causes;
use crate::simulator::faults::Scenario;
use crate::simulator::portal::Portal;
use crate::simulator::server::serve;
use crate::simulator::settings::DEFAULT_TOKEN;

/// A scenario file is a page of JSON; this bounds a mistake.
const MOST_SCENARIO_BYTES: u64 = 1 << 20;

/// Serve HubSpot's API from memory, without an account.
#[derive(Args, Debug)]
pub struct SimulateArgs {
    /// Address and port to listen on; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:0", value_name = "ADDR")]
    pub listen: SocketAddr,
    /// Contacts to begin with; half as many companies, a third deals, a quarter tickets
    #[arg(long, default_value_t = 1_000, value_name = "N")]
    pub records: usize,
    /// Seed of the sample data and of all chance
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub seed: u64,
    /// JSON file with faults and settings
    #[arg(long, value_name = "FILE")]
    pub faults: Option<PathBuf>,
    /// Bearer token to accept
    #[arg(long, default_value = DEFAULT_TOKEN, value_name = "T", hide_default_value = true)]
    pub token: String,
}

/// Serves until Ctrl-C or SIGTERM. The first line on `out` is `listening on http://ADDRESS`.
///
/// # Errors
///
/// If the scenario can't be read, the address can't be bound, or `out` is closed.
pub async fn simulate(args: SimulateArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    let portal = portal_of(&args)?;
    let listener = TcpListener::bind(args.listen)
        .await
        .map_err(|error| Unusable {
            explanation: format!("can't listen on `{}`: {error}", args.listen),
            code: None,
            hint: "give `--listen` an address of this machine whose port is free, or port 0",
        })?;
    writeln!(out, "listening on http://{}", listener.local_addr()?)?;
    writeln!(out, "token {}", args.token)?;
    out.flush()?;
    let stop = CancellationToken::new();
    let serving = serve(Arc::new(Mutex::new(portal)), listener, stop.clone());
    tokio::pin!(serving);
    tokio::select! {
        served = &mut serving => return served.context("serving"),
        stopped = stopped() => stopped?,
    }
    stop.cancel();
    serving.await.context("serving")
}

fn portal_of(args: &SimulateArgs) -> anyhow::Result<Portal> {
    let mut scenario = args
        .faults
        .as_deref()
        .map_or_else(|| Ok(Scenario::default()), read_scenario)?;
    scenario.settings.tokens.0 = vec![args.token.clone()];
    let now_ms = SystemClock::new().now().millis();
    let mut portal = Portal::new(scenario.settings, args.seed, now_ms);
    let shares = [
        ("contacts", 1),
        ("companies", 2),
        ("deals", 3),
        ("tickets", 4),
    ];
    let missing = &portal.settings().missing_objects;
    let there = shares.map(|(object, part)| (object, part, !missing.contains(object)));
    for (object, part, _) in there.into_iter().filter(|(.., is_there)| *is_there) {
        portal.fill(object, args.records / part, now_ms);
    }
    *portal.faults_mut() = scenario.faults;
    Ok(portal)
}

fn read_scenario(path: &Path) -> anyhow::Result<Scenario> {
    let unusable = |why: &dyn std::fmt::Display| Unusable {
        explanation: format!("can't use the scenario `{}`: {why}", path.display()),
        code: None,
        hint: "give `--faults` a readable JSON file of faults and settings as in `docs/simulator.md`",
    };
    let size = std::fs::metadata(path).map_err(|error| unusable(&error))?;
    if size.len() > MOST_SCENARIO_BYTES {
        bail!(unusable(&"it is larger than 1 MiB"));
    }
    let text = std::fs::read_to_string(path).map_err(|error| unusable(&error))?;
    Ok(Scenario::from_json(&text).map_err(|error| unusable(&with_causes(&error)))?)
}

/// Waits for Ctrl-C or SIGTERM.
async fn stopped() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted,
        _ = terminate.recv() => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(faults: Option<PathBuf>) -> SimulateArgs {
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        SimulateArgs {
            listen,
            records: 12,
            seed: 1,
            faults,
            token: "pat-test".to_owned(),
        }
    }

    #[test]
    fn an_object_that_the_portal_has_not_is_not_filled() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("faults.json");
        let scenario = r#"{"settings": {"missing_objects": ["companies", "tickets"]}}"#;
        std::fs::write(&path, scenario).expect("written");
        let portal = portal_of(&args(Some(path))).expect("a portal");
        let counts = ["contacts", "deals"].map(|object| portal.count(object));
        assert_eq!(counts, [12, 4]);
    }

    #[test]
    fn a_portal_is_filled_and_takes_the_given_token_alone() {
        let portal = portal_of(&args(None)).expect("a portal");
        let counts =
            ["contacts", "companies", "deals", "tickets"].map(|object| portal.count(object));
        assert_eq!(counts, [12, 6, 4, 3]);
        assert_eq!(portal.settings().tokens.0, ["pat-test"]);
    }

    #[test]
    fn a_scenario_that_is_not_there_is_named_with_what_to_do() {
        let error = read_scenario(Path::new("nowhere/nope.json")).expect_err("no file");
        let mut told = Vec::new();
        crate::cli::report_failure(&error, &mut told).expect("a buffer takes everything");
        let told = String::from_utf8(told).expect("text");
        assert!(
            told.starts_with(
                "hubsyncd: can't use the scenario `nowhere/nope.json`: No such file or directory"
            ) && told.contains("\nhint: give `--faults` a readable JSON file"),
            "{told}"
        );
    }

    #[test]
    fn a_scenario_file_sets_faults_and_settings_and_names_its_mistakes() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("scenario.json");
        std::fs::write(&path, r#"{"settings": {"burst_limit": 5}}"#).expect("written");
        let portal = portal_of(&args(Some(path.clone()))).expect("a portal");
        assert_eq!(portal.settings().burst_limit, 5);
        std::fs::write(&path, r#"{"settings": {"burst": 5}}"#).expect("written");
        let error = format!(
            "{:#}",
            portal_of(&args(Some(path))).expect_err("an unknown key")
        );
        assert!(error.contains("unknown field `burst`"), "{error}");
    }
}
