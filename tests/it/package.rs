//! What `make package` puts beside the binary: pages, completions and units are made from the binary under test, and the scripts
//! of the Debian package run in a folder that stands for the root. `tests/package/run.py` installs the finished package.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

const BINARY: &str = env!("CARGO_BIN_EXE_hubsyncd");

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn run(command: &mut Command) -> Output {
    let output = command.output().expect("it starts");
    assert!(
        output.status.success(),
        "{command:?}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// The pages, completions and units, as `make package` makes them.
fn prepared() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let script = root().join("packaging/prepare.sh");
    run(Command::new("sh")
        .arg(script)
        .arg(BINARY)
        .arg(folder.path()));
    folder
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    names.sort();
    names
}

#[test]
fn each_file_of_the_package_is_there() {
    let made = prepared();
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("the manifest");
    let manifest: toml::Table = manifest.parse().expect("TOML");
    let deb = &manifest["package"]["metadata"]["deb"];
    let assets = deb["assets"].as_array().expect("assets");
    assert!(assets.len() > 10, "{assets:?}");
    for asset in assets {
        let from = asset[0].as_str().expect("a path");
        let path = match from.strip_prefix("target/package/") {
            Some(rest) => made.path().join(rest),
            None if from == "target/release/hubsyncd" => PathBuf::from(BINARY),
            None => root().join(from),
        };
        let name = path.file_name().expect("a name").to_string_lossy();
        let found = match name.split_once('*') {
            Some((_, end)) => names(path.parent().expect("a folder"))
                .iter()
                .any(|name| name.ends_with(end)),
            None => path.is_file(),
        };
        assert!(found, "nothing at {from}");
    }
    let scripts = root().join(deb["maintainer-scripts"].as_str().expect("a folder"));
    assert_eq!(
        names(&scripts),
        ["postinst", "postrm", "prerm", "templates"]
    );
}

#[test]
fn pages_completions_and_units_are_those_of_the_binary() {
    let made = prepared();
    let pages = names(&made.path().join("man"));
    let help = run(Command::new(BINARY).arg("--help"));
    let help = String::from_utf8_lossy(&help.stdout).into_owned();
    let commands: Vec<&str> = help
        .lines()
        .skip_while(|line| !line.starts_with("Commands:"))
        .skip(1)
        .take_while(|line| line.starts_with("  "))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|command| *command != "help")
        .collect();
    assert!(commands.contains(&"explain"), "{commands:?}");
    for command in commands {
        let page = format!("hubsyncd-{command}.1");
        assert!(pages.contains(&page), "{page} is not in {pages:?}");
    }
    let undo = fs::read_to_string(made.path().join("man/hubsyncd-undo.1")).expect("a page");
    assert!(undo.contains("\\-\\-dry\\-run"), "{undo}");

    let script = made.path().join("completions/hubsyncd.bash");
    let completed = run(Command::new("bash").arg("-c").arg(format!(
        "source {}; COMP_WORDS=(hubsyncd outbox di); COMP_CWORD=2; _hubsyncd hubsyncd di outbox; echo \"${{COMPREPLY[*]}}\"",
        script.display()
    )));
    assert_eq!(String::from_utf8_lossy(&completed.stdout).trim(), "discard");

    let units = made.path().join("systemd");
    for unit in ["hubsyncd.service", "hubsyncd@.service"] {
        let text = fs::read_to_string(units.join(unit)).expect("a unit");
        assert!(text.contains("ExecStart=/usr/bin/hubsyncd run"), "{text}");
        assert!(!text.contains("/usr/local"), "{text}");
        assert!(text.contains("\nConditionPathExists=/etc/hubsyncd/"));
    }
    // The replica's timer runs what the package has.
    let text = fs::read_to_string(units.join("hubsyncd-forget.service")).expect("a unit");
    let runs = "ExecStart=/usr/lib/hubsyncd/forget-in-replica\n";
    assert!(
        text.contains(runs) && !text.contains("/usr/local"),
        "{text}"
    );
    assert!(units.join("hubsyncd-forget.timer").is_file());
}

/// A folder in the place of the root, with commands that write down how they were called.
struct Root {
    folder: TempDir,
}

impl Root {
    /// `commands` are the ones that this machine has beside those of every machine; those named in `failing` fail.
    fn new(commands: &[&str], failing: &[&str]) -> Self {
        let root = Self {
            folder: tempfile::tempdir().expect("a folder"),
        };
        fs::create_dir(root.path("bin")).expect("a folder");
        for command in ["useradd", "install", "getent", "systemctl"]
            .iter()
            .chain(commands)
        {
            let end = if failing.contains(command) || *command == "getent" {
                "exit 1"
            } else {
                "exit 0"
            };
            root.write(
                &format!("bin/{command}"),
                &format!("#!/bin/sh\necho \"{command} $*\" >>\"$DPKG_ROOT/calls\"\n{end}\n"),
            );
        }
        root
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(&path, text).expect("a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a mode");
    }

    /// What the script said, after it ended with 0.
    fn script(&self, name: &str, arguments: &[&str]) -> String {
        let script = root().join("packaging/debian").join(name);
        // Of what lies around, the scripts may call what every Debian has in /bin.
        let search = format!("{}:/bin", self.path("bin").display());
        let output = run(Command::new("/bin/sh")
            .arg(script)
            .args(arguments)
            .env("DPKG_ROOT", self.folder.path())
            .env("PATH", search));
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    /// The commands that were called since the last time.
    fn calls(&self) -> String {
        let calls = fs::read_to_string(self.path("calls")).unwrap_or_default();
        if self.path("calls").exists() {
            fs::remove_file(self.path("calls")).expect("it goes");
        }
        calls.replace(&self.folder.path().display().to_string(), "")
    }

    fn fill(&self) {
        self.write("var/lib/hubsyncd/crm.db", "rows");
        self.write("etc/hubsyncd/config.toml", "[database]");
    }

    fn is_filled(&self) -> bool {
        self.path("var/lib/hubsyncd/crm.db").exists()
            && self.path("etc/hubsyncd/config.toml").exists()
    }

    /// A debconf whose answer to the purge's question is this one.
    fn answers(&self, answer: &str) {
        self.write(
            "usr/share/debconf/confmodule",
            &format!(
                "db_input() {{ echo \"asked $*\" >>\"$DPKG_ROOT/calls\"; }}\ndb_go() {{ :; }}\n\
                 db_get() {{ RET={answer}; }}\ndb_purge() {{ :; }}\n"
            ),
        );
    }
}

#[test]
fn user_and_folders_are_made_with_systemd_and_without() {
    let with = Root::new(&["systemd-sysusers", "systemd-tmpfiles"], &[]);
    let told = with.script("postinst", &["configure", ""]);
    assert_eq!(
        with.calls(),
        "systemd-sysusers hubsyncd.conf\nsystemd-tmpfiles --create hubsyncd.conf\n"
    );
    assert!(told.contains("systemctl enable --now hubsyncd"), "{told}");

    // Neither is to be relied on in a container: each has its other way.
    let both = ["systemd-sysusers", "systemd-tmpfiles"];
    let without = Root::new(&both, &both);
    without.script("postinst", &["configure", ""]);
    let calls = without.calls();
    for expected in [
        "useradd --system --user-group --home-dir /var/lib/hubsyncd ",
        "install -d -m 2770 -o hubsyncd -g hubsyncd /var/lib/hubsyncd\n",
        "install -d -m 0750 -o root -g hubsyncd /etc/hubsyncd\n",
    ] {
        assert!(calls.contains(expected), "{calls}");
    }
}

#[test]
fn an_upgrade_restarts_what_runs_and_a_removal_ends_it() {
    let root = Root::new(&["systemd-sysusers", "systemd-tmpfiles"], &[]);
    root.fill();
    root.script("prerm", &["upgrade", "0.2.0"]);
    root.script("postinst", &["configure", "0.1.0"]);
    assert!(!root.calls().contains("systemctl"), "systemd does not run");
    root.write("run/systemd/system/here", "");
    root.script("prerm", &["upgrade", "0.2.0"]);
    assert_eq!(root.calls(), "", "it runs on until the new files are there");
    let told = root.script("postinst", &["configure", "0.1.0"]);
    let calls = root.calls();
    let restart =
        "systemctl daemon-reload\nsystemctl try-restart hubsyncd.service hubsyncd@*.service\n";
    assert!(calls.ends_with(restart), "{calls}");
    assert_eq!(told, "");
    let wants = root.path("etc/systemd/system/multi-user.target.wants");
    fs::create_dir_all(&wants).expect("a folder");
    let unit = "/usr/lib/systemd/system/hubsyncd@.service";
    std::os::unix::fs::symlink(unit, wants.join("hubsyncd@acme.service")).expect("a link");
    root.script("prerm", &["remove"]);
    root.script("postrm", &["remove"]);
    assert_eq!(
        root.calls(),
        "systemctl disable --now hubsyncd.socket hubsyncd.service hubsyncd-forget.timer\nsystemctl stop hubsyncd@*.service\n\
         systemctl disable hubsyncd@acme.service\nsystemctl daemon-reload\n"
    );
    assert!(root.is_filled());
}

#[test]
fn a_purge_asks_and_without_an_answer_the_database_stays() {
    let root = Root::new(&[], &[]);
    root.fill();
    let told = root.script("postrm", &["purge"]);
    assert!(root.is_filled(), "nobody could be asked");
    assert!(told.contains("/var/lib/hubsyncd stays"), "{told}");
    root.answers("false");
    root.script("postrm", &["purge"]);
    assert!(root.is_filled(), "the answer was no");
    assert_eq!(root.calls(), "asked high hubsyncd/remove-data\n");
    root.answers("true");
    let told = root.script("postrm", &["purge"]);
    assert_eq!(told, "");
    assert!(!root.path("var/lib/hubsyncd").exists());
    assert!(!root.path("etc/hubsyncd").exists());
    // A folder that is empty anyway needs no question.
    let empty = Root::new(&[], &[]);
    fs::create_dir_all(empty.path("etc/hubsyncd")).expect("a folder");
    assert_eq!(empty.script("postrm", &["purge"]), "");
    assert!(!empty.path("etc/hubsyncd").exists());
}
