//! `hubsyncd demo`: everything on this machine, with no account: a HubSpot simulator, the daemon, edits on both sides,
//! a conflict, a wrong UPDATE that is turned back, and what to look at with `sqlite3`.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio_util::sync::CancellationToken;

use crate::cli::args::DemoArgs;
use crate::cli::demo::daemon::DemoDaemon;
use crate::cli::format::counted;
use crate::cli::progress::{Lines, Screen};
use crate::cli::run::watch_signals;
use crate::cli::{ExitStatus, Unusable, backfills};
use crate::clock::{Clock, SystemClock};
use crate::config::{self, Config};
use crate::daemon::once;
use crate::simulator::portal::Portal;
use crate::simulator::server;
use crate::simulator::settings::{DEFAULT_TOKEN, Settings};
use crate::simulator::webhooks::{DEFAULT_SECRET, Webhooks};
use crate::store::database::program::Program;

mod daemon;
mod links;
mod mistake;

/// How long a part of the tour may take before the demo gives up.
const PATIENCE: Duration = Duration::from_mins(2);

/// How many rows the first reads have brought.
const ROWS_READ: &str = "SELECT coalesce(sum(backfill_rows), 0) FROM _sync_cursors";

/// How often the tour looks whether something has happened.
const LOOK: Duration = Duration::from_millis(20);

/// For the user and the group, with the group handed on to what is made inside.
const FOLDER_MODE: u32 = 0o2770;

/// The mapping file in the folder.
const CONFIG: &str = "config.toml";

struct Tour {
    portal: Arc<Mutex<Portal>>,
    program: Program,
    clock: Arc<dyn Clock>,
    told: Vec<String>,
}

/// Runs the demo.
pub async fn demo(args: DemoArgs, out: &mut dyn Write) -> anyhow::Result<ExitStatus> {
    let clock: Arc<dyn Clock> = SystemClock::new();
    let folder = folder(&args, clock.as_ref())?;
    let stop = CancellationToken::new();
    watch_signals(stop.clone()).context("signals can't be watched")?;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .context("no port on 127.0.0.1 is free")?;
    let address = listener.local_addr()?;
    let (health, door) = (free_port()?, free_port()?);
    let config = write_config(&folder, &format!("http://{address}"), health, door)?;
    say(
        out,
        args.json,
        &format!(
            "demo in {} (kept), HubSpot simulator on http://{address}",
            folder.display()
        ),
    )?;
    let screen = Screen::stderr();
    crate::telemetry::init(&config.log, screen.clone())?;
    let portal = Arc::new(Mutex::new(filled_portal(&args, clock.as_ref())));
    tell_of_changes(&portal, door);
    let portal_stop = CancellationToken::new();
    let served = tokio::spawn(server::serve(
        Arc::clone(&portal),
        listener,
        portal_stop.clone(),
    ));
    let mut daemon = DemoDaemon::begin(&config, &clock).await?;
    let shown = tokio::spawn(backfills::show(
        daemon.engine().store().clone(),
        Arc::clone(&clock),
        screen,
        Lines::Plain,
    ));
    let toured = tokio::select! {
        toured = tour(&mut daemon, &config, &portal, &args, out) => Some(toured),
        () = stop.cancelled() => None,
    };
    shown.abort();
    let (interrupted, toured) = (toured.is_none(), toured.unwrap_or(Ok(())));
    if interrupted {
        let line = format!(
            "\nended in the middle of the tour; {} is kept",
            folder.display()
        );
        say(out, args.json, &line)?;
    }
    let told = toured.is_ok() && !interrupted;
    if told && args.json {
        let report = once::report_of_all(daemon.engine()).await?;
        writeln!(out, "{}", serde_json::to_string(&report)?)?;
    }
    if told && !args.once {
        say(
            out,
            args.json,
            "\nIt goes on: change rows with sqlite3 and look again. Ctrl-C ends it.",
        )?;
        stop.cancelled().await;
    }
    let ended = daemon.stop().await;
    portal_stop.cancel();
    served
        .await
        .context("the simulator's task was lost")?
        .context("the simulator")?;
    toured?;
    ended?;
    // Ctrl-C is how the demo ends, but not how `--once` shows that all went well.
    Ok(if interrupted && args.once {
        ExitStatus::Failed
    } else {
        ExitStatus::Done
    })
}

fn say(out: &mut dyn Write, json: bool, line: &str) -> io::Result<()> {
    if json {
        writeln!(io::stderr(), "{line}")
    } else {
        writeln!(out, "{line}").and_then(|()| out.flush())
    }
}

/// A folder of the demo's own; one that is given must not hold a database yet.
fn folder(args: &DemoArgs, clock: &dyn Clock) -> anyhow::Result<PathBuf> {
    let folder = match &args.dir {
        Some(folder) => folder.clone(),
        None => std::env::temp_dir().join(format!(
            "hubsyncd-demo-{}-{}",
            std::process::id(),
            clock.now().millis()
        )),
    };
    let unusable = |what: &str, error: &io::Error| Unusable {
        explanation: format!("{what} the folder `{}`: {error}", folder.display()),
        code: None,
        hint: "give `--dir` a folder that you may write to, or leave it out",
    };
    if !folder.exists() {
        fs::create_dir_all(&folder).map_err(|error| unusable("can't make", &error))?;
        // As under systemd: what a program of the group makes there stays in the group.
        fs::set_permissions(&folder, fs::Permissions::from_mode(FOLDER_MODE))
            .map_err(|error| unusable("can't open", &error))?;
    }
    if folder.join("crm.db").exists() {
        bail!(
            "`{}` holds a database already; give an empty folder with --dir, or none",
            folder.display()
        );
    }
    Ok(fs::canonicalize(&folder).map_err(|error| unusable("can't open", &error))?)
}

fn free_port() -> anyhow::Result<u16> {
    let listener =
        std::net::TcpListener::bind("127.0.0.1:0").context("no port on 127.0.0.1 is free")?;
    Ok(listener.local_addr()?.port())
}

fn filled_portal(args: &DemoArgs, clock: &dyn Clock) -> Portal {
    let now = clock.now().millis();
    let mut portal = Portal::new(Settings::default(), args.seed, now);
    for (object, records) in [
        ("contacts", args.records),
        ("companies", args.records / 2),
        ("deals", args.records / 3),
        ("tickets", args.records / 4),
    ] {
        portal.fill(object, records, now - 86_400_000);
    }
    for (from, to) in [
        ("contacts", "companies"),
        ("deals", "companies"),
        ("deals", "contacts"),
    ] {
        portal.fill_links(from, to);
    }
    portal
}

/// The portal sends webhooks, as late as HubSpot's soonest.
fn tell_of_changes(portal: &Arc<Mutex<Portal>>, door: u16) {
    let mut portal = portal.lock().unwrap_or_else(PoisonError::into_inner);
    portal.settings_mut().webhooks = Some(Webhooks {
        url: format!("http://127.0.0.1:{door}/webhooks/hubspot"),
        delay_min_ms: 200,
        delay_max_ms: 800,
        ..Webhooks::default()
    });
}

/// A file that nobody else reads.
fn write_file(path: &Path, text: &str) -> anyhow::Result<()> {
    let open = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path);
    open.and_then(|mut file| file.write_all(text.as_bytes()))
        .with_context(|| format!("can't write `{}`", path.display()))
}

fn write_config(folder: &Path, base_url: &str, health: u16, door: u16) -> anyhow::Result<Config> {
    write_file(&folder.join("token"), DEFAULT_TOKEN)?;
    write_file(&folder.join("secret"), DEFAULT_SECRET)?;
    let path = folder.join(CONFIG);
    write_file(
        &path,
        &format!(
            r#"[portal]
base_url = "{base_url}"
tier = "professional"

[auth]
access_token = {{ file = "token" }}

[database]
path = "crm.db"

[schedule]
poll = "2s"

[webhooks]
listen = "127.0.0.1:{door}"
public_url = "http://127.0.0.1:{door}/webhooks/hubspot"
client_secret = {{ file = "secret" }}

[http]
listen = "127.0.0.1:{health}"

[log]
level = "warn"
format = "text"

[objects.contacts.properties]
email = "email"
firstname = "first_name"
lastname = "last_name"
phone = "phone"
company = "company"
jobtitle = {{ column = "job_title", conflict = "manual" }}
lifecyclestage = {{ column = "stage", conflict = "remote" }}
hs_lead_status = "lead_status"
city = "city"
country = "country"

[objects.companies]

[objects.deals]

[objects.tickets]

[associations]
contacts_companies = {{ from = "contacts", to = "companies" }}
deals_companies = {{ from = "deals", to = "companies" }}
deals_contacts = {{ from = "deals", to = "contacts" }}
"#
        ),
    )?;
    Ok(config::load(&path)?)
}

async fn tour(
    daemon: &mut DemoDaemon,
    config: &Config,
    portal: &Arc<Mutex<Portal>>,
    args: &DemoArgs,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let path = &config.database;
    let mut tour = Tour {
        portal: Arc::clone(portal),
        program: Program::open(path)?,
        clock: Arc::clone(daemon.engine().clock()),
        told: Vec::new(),
    };
    tour.wait(
        "the first full read",
        "SELECT coalesce(min(backfill = 'done'), 0) FROM _sync_cursors",
    )
    .await?;
    tour.tell_rows()?;
    tour.remote_edit().await?;
    tour.local_edits().await?;
    tour.links().await?;
    tour.merge().await?;
    tour.conflict().await?;
    tour.mistake(daemon, &path.with_file_name(CONFIG)).await?;
    tour.show(path, config, args, out)
}

impl Tour {
    fn portal(&self) -> std::sync::MutexGuard<'_, Portal> {
        self.portal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now_ms(&self) -> i64 {
        self.clock.now().millis()
    }

    /// Waits until a query answers with a number that is not 0; tells how long it took.
    async fn wait(&self, what: &str, sql: &str) -> anyhow::Result<Duration> {
        let started = self.clock.monotonic();
        let (mut read, mut moved) = (0, started);
        loop {
            // The mirror tables come with the portal's schema: until then the query may fail.
            if self.program.number(sql).unwrap_or(0) != 0 {
                return Ok(self.clock.monotonic().saturating_sub(started));
            }
            let now = self.clock.monotonic();
            // Many records take as long as they take, while more of them come.
            let rows = self.program.number(ROWS_READ).unwrap_or(0);
            if rows != read {
                (read, moved) = (rows, now);
            }
            let waited = now.saturating_sub(moved);
            if waited > PATIENCE {
                bail!("{what} did not come to an end in {} s", waited.as_secs());
            }
            self.clock.sleep(LOOK).await;
        }
    }

    fn tell_rows(&mut self) -> anyhow::Result<()> {
        let rows = self.program.rows("SELECT object, rows FROM sync_status")?;
        let counts: Vec<String> = rows.iter().map(|row| row.join(" ")).collect();
        let requests = self.portal().request_log().len();
        self.told.push(format!(
            "HubSpot -> SQLite   first full read: {} in {}",
            counts.join(", "),
            counted(requests as i64, "request", "requests")
        ));
        Ok(())
    }

    async fn remote_edit(&mut self) -> anyhow::Result<()> {
        let id = self
            .program
            .number("SELECT hs_id FROM contacts ORDER BY local_id LIMIT 1")?;
        let now = self.now_ms();
        self.portal()
            .edit("contacts", id.unsigned_abs(), &[("city", "Reykjavik")], now);
        let sql = format!("SELECT city = 'Reykjavik' FROM contacts WHERE hs_id = {id}");
        let took = self.wait("an edit in HubSpot", &sql).await?;
        self.told.push(format!(
            "HubSpot -> SQLite   somebody set record {id}'s city to Reykjavik; in the table after {:.1} s, by webhook",
            took.as_secs_f64()
        ));
        Ok(())
    }

    async fn local_edits(&mut self) -> anyhow::Result<()> {
        self.program.execute(
            "INSERT INTO contacts (email, first_name, last_name, city) VALUES (?1, ?2, ?3, ?4)",
            &["grace.hopper@example.com", "Grace", "Hopper", "Arlington"],
        )?;
        let took = self
            .wait(
                "a create",
                "SELECT count(hs_id) FROM contacts WHERE email = 'grace.hopper@example.com'",
            )
            .await?;
        let id = self
            .program
            .number("SELECT hs_id FROM contacts WHERE email = 'grace.hopper@example.com'")?;
        self.told.push(format!(
            "SQLite -> HubSpot   INSERT INTO contacts … became record {id} after {} ms",
            took.as_millis()
        ));
        let updated = self.program.execute("UPDATE contacts SET city = 'Oslo' WHERE local_id IN (SELECT local_id FROM contacts ORDER BY local_id LIMIT 100)", &[])?;
        let before = self.portal().request_log().len();
        let took = self
            .wait("updates", "SELECT count(*) = 0 FROM sync_outbox")
            .await?;
        let requests = self.portal().request_log().len() - before;
        self.told.push(format!(
            "SQLite -> HubSpot   UPDATE of {} was acknowledged after {} ms, in at most {}",
            counted(updated as i64, "row", "rows"),
            took.as_millis(),
            counted(requests as i64, "request", "requests")
        ));
        self.program.execute(
            "DELETE FROM contacts WHERE email = 'grace.hopper@example.com'",
            &[],
        )?;
        self.wait("an archive", "SELECT count(*) = 0 FROM sync_outbox")
            .await?;
        let gone = self
            .portal()
            .record("contacts", id.unsigned_abs())
            .is_none_or(|record| record.is_archived());
        anyhow::ensure!(gone, "record {id} was not archived");
        self.told
            .push(format!("SQLite -> HubSpot   DELETE archived record {id}"));
        Ok(())
    }

    async fn conflict(&mut self) -> anyhow::Result<()> {
        let id = self
            .program
            .number("SELECT hs_id FROM contacts ORDER BY local_id LIMIT 1 OFFSET (SELECT count(*) / 2 FROM contacts)")?;
        let now = self.now_ms();
        self.portal().edit(
            "contacts",
            id.unsigned_abs(),
            &[("jobtitle", "Head of Sales")],
            now,
        );
        self.program.execute(
            &format!("UPDATE contacts SET job_title = 'Chief of Staff' WHERE hs_id = {id}"),
            &[],
        )?;
        self.wait(
            "a conflict",
            "SELECT count(*) FROM sync_conflicts WHERE resolved_at IS NULL",
        )
        .await?;
        self.told.push(format!(
            "both sides          record {id}'s job title was changed on both sides; both values wait in sync_conflicts"
        ));
        Ok(())
    }

    fn show(
        &self,
        path: &Path,
        config: &Config,
        args: &DemoArgs,
        out: &mut dyn Write,
    ) -> anyhow::Result<()> {
        let files = Files {
            database: for_shell(path),
            config: for_shell(&path.with_file_name(CONFIG)),
            health: config.http.as_ref().map(|http| http.listen.to_string()),
        };
        let lines = format!(
            "\n{}\n\n{}",
            self.told.join("\n"),
            to_try(&files, args.once)
        );
        say(out, args.json, &lines)?;
        Ok(())
    }
}

/// What the commands to try are about, each a word for a shell.
struct Files {
    database: String,
    config: String,
    health: Option<String>,
}

/// What to look at; after the end of the demo only what the database alone answers.
fn to_try(files: &Files, has_ended: bool) -> String {
    let file = &files.database;
    let select = |sql: &str| format!("sqlite3 -box {file} '{sql}'");
    let mut lines = vec![
        select("SELECT object, rows, in_sync, waiting, failing, lag_seconds FROM sync_status"),
        select("SELECT state, portal_id, daily_used, outbox_depth FROM sync_health"),
        select(
            "SELECT id, property, base_value, local_value, remote_value FROM sync_conflicts WHERE resolved_at IS NULL",
        ),
    ];
    if !has_ended {
        lines.push(format!("sqlite3 {file} \"UPDATE sync_conflicts SET resolution = 'local' WHERE resolved_at IS NULL\""));
        lines.push(format!(
            "sqlite3 {file} \"UPDATE contacts SET city = 'Lima' WHERE local_id = 1\""
        ));
    }
    lines.push(select("SELECT at, property, old_value, new_value, origin FROM sync_history ORDER BY id DESC LIMIT 5"));
    lines.push(format!("{} status --config {}", own_name(), files.config));
    if !has_ended {
        lines.extend(
            files
                .health
                .as_ref()
                .map(|address| format!("curl http://{address}/readyz")),
        );
    }
    let head = match has_ended {
        true => "The database stays; look at it:",
        false => "Try (in another terminal):",
    };
    format!("{head}\n  {}", lines.join("\n  "))
}

/// A path as a shell takes it for one word.
fn for_shell(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "/._-+,@%:=".contains(letter);
    if !text.is_empty() && text.chars().all(is_plain) {
        return text;
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// How a shell starts this program: by its name where the `PATH` leads to it, else by its path.
fn own_name() -> String {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    match std::env::current_exe() {
        Ok(own) => name_of(&own, std::env::split_paths(&folders)),
        Err(_) => "hubsyncd".to_owned(),
    }
}

fn name_of(own: &Path, folders: impl Iterator<Item = PathBuf>) -> String {
    let real = |path: &Path| path.canonicalize().ok();
    // The first of that name is the one that a shell starts.
    let mut found = folders
        .map(|folder| folder.join("hubsyncd"))
        .filter(|path| path.is_file());
    let is_found = found
        .next()
        .is_some_and(|path| real(&path).is_some() && real(&path) == real(own));
    if is_found {
        "hubsyncd".to_owned()
    } else {
        for_shell(own)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_the_end_nothing_is_shown_that_no_longer_works() {
        let files = Files {
            database: "/tmp/crm.db".to_owned(),
            config: "/tmp/config.toml".to_owned(),
            health: Some("127.0.0.1:9187".to_owned()),
        };
        let (during, after) = (to_try(&files, false), to_try(&files, true));
        for word in ["UPDATE ", "curl ", "another terminal"] {
            assert!(during.contains(word) && !after.contains(word), "{after}");
        }
        assert!(
            after.contains("sync_conflicts") && after.contains(" status --config "),
            "{after}"
        );
    }

    #[test]
    fn a_path_is_one_word_for_a_shell() {
        for (path, word) in [
            ("/tmp/demo-1/crm.db", "/tmp/demo-1/crm.db"),
            ("/tmp/my demo/crm.db", "'/tmp/my demo/crm.db'"),
            ("/tmp/it's/crm.db", "'/tmp/it'\\''s/crm.db'"),
            ("/tmp/$HOME", "'/tmp/$HOME'"),
        ] {
            assert_eq!(for_shell(Path::new(path)), word);
        }
    }

    #[test]
    fn the_program_is_called_by_its_path_where_no_shell_finds_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let (own, other) = (folder.path().join("own"), folder.path().join("other"));
        for folder in [&own, &other] {
            fs::create_dir(folder).expect("made");
            fs::write(folder.join("hubsyncd"), "").expect("written");
        }
        let program = own.join("hubsyncd");
        let name = |folders: &[&PathBuf]| name_of(&program, folders.iter().copied().cloned());
        assert_eq!(name(&[&own, &other]), "hubsyncd");
        for folders in [&[][..], &[&other, &own]] {
            assert_eq!(name(folders), for_shell(&program));
        }
    }

    #[test]
    fn a_file_that_cannot_be_written_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        // A folder of that name stands in the way, whoever runs this.
        let path = folder.path().join("token");
        fs::create_dir(&path).expect("made");
        let error = write_file(&path, "x").expect_err("no file");
        let explanation = format!("{error:#}");
        assert!(
            explanation.starts_with(&format!("can't write `{}`: ", path.display())),
            "{explanation}"
        );
    }
}
