//! The programs that write: one that keeps its connection from statement to statement, as most do, and one that opens the
//! file anew. To open it is to read the schema with all triggers, which takes many times as long as a statement.

use std::cell::RefCell;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdin, Command, Stdio};

use rusqlite::Connection;

use super::scene::Client;

/// What the system's `sqlite3` does not know, and therefore names on its standard error.
const MARK: &str = ".all_said";

/// A program that writes to one file.
pub(super) struct Program {
    client: Client,
    path: PathBuf,
    /// What it sets on each of its connections.
    settings: String,
    kept: RefCell<Option<Kept>>,
}

enum Kept {
    Connection(Connection),
    Shell(Shell),
}

impl Program {
    pub(super) fn of(client: Client, path: &Path, recursive_triggers: bool) -> Self {
        Self {
            client,
            path: path.to_owned(),
            settings: format!("PRAGMA recursive_triggers = {recursive_triggers};\n"),
            kept: RefCell::new(None),
        }
    }

    /// Runs statements up to the first that is refused: its sentence. One statement goes through the connection that is kept;
    /// several have one of their own, and so has what would leave a trace in it.
    pub(super) fn run(&self, sql: &str) -> Result<(), String> {
        if !is_alone(sql) {
            let sql = format!("{}{sql}", self.settings);
            return match self.client {
                Client::Own => run_here(&self.open(), &sql),
                Client::System => run_there(&self.path, &sql),
            };
        }
        let mut kept = self.kept.borrow_mut();
        match kept.get_or_insert_with(|| self.keep()) {
            Kept::Connection(connection) => run_here(connection, sql),
            Kept::Shell(shell) => shell.run(sql),
        }
    }

    fn open(&self) -> Connection {
        Connection::open(&self.path).expect("opens")
    }

    fn keep(&self) -> Kept {
        match self.client {
            Client::Own => {
                let connection = self.open();
                run_here(&connection, &self.settings).expect("sets");
                Kept::Connection(connection)
            }
            Client::System => {
                let mut shell = Shell::open(&self.path);
                shell.run(&self.settings).expect("sets");
                Kept::Shell(shell)
            }
        }
    }
}

/// Whether a text is one statement, which leaves neither a setting nor a transaction nor a table of the connection's own.
fn is_alone(sql: &str) -> bool {
    let sql = sql.trim().trim_end_matches(';');
    let leaves = ["PRAGMA", "TEMP", "BEGIN", "SAVEPOINT", "ATTACH"];
    !sql.contains(';') && !sql.starts_with('.') && !leaves.iter().any(|word| sql.contains(word))
}

fn run_here(connection: &Connection, sql: &str) -> Result<(), String> {
    connection
        .execute_batch(sql)
        .map_err(|error| error.to_string())
}

fn shell(path: &Path) -> Command {
    let mut command = Command::new("sqlite3");
    command
        .arg("-batch")
        .arg(path)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    command
}

fn spawn(mut command: Command) -> Child {
    command
        .spawn()
        .expect("install the package `sqlite3`: the suite runs it as a client")
}

/// Ends at the first error, like `run_here`; what it says around the sentence is left out.
fn run_there(path: &Path, sql: &str) -> Result<(), String> {
    let mut command = shell(path);
    command.arg("-bail");
    let mut child = spawn(command);
    let mut stdin = child.stdin.take().expect("is piped");
    // It may have ended at an error before it read everything.
    drop(stdin.write_all(sql.as_bytes()));
    drop(stdin);
    let output = child.wait_with_output().expect("ends");
    let said = String::from_utf8(output.stderr).expect("is text");
    if output.status.success() && said.is_empty() {
        return Ok(());
    }
    Err(sentence_of(&said))
}

/// A `sqlite3` that goes on behind an error.
struct Shell {
    child: Child,
    stdin: ChildStdin,
    stderr: BufReader<ChildStderr>,
}

impl Shell {
    fn open(path: &Path) -> Self {
        let mut child = spawn(shell(path));
        let stdin = child.stdin.take().expect("is piped");
        let stderr = BufReader::new(child.stderr.take().expect("is piped"));
        Self {
            child,
            stdin,
            stderr,
        }
    }

    /// Runs one statement.
    fn run(&mut self, sql: &str) -> Result<(), String> {
        let sql = sql.trim().trim_end_matches(';');
        writeln!(self.stdin, "{sql};\n{MARK}").expect("it listens");
        let mut said = String::new();
        while !said.contains(MARK.trim_start_matches('.')) {
            let length = self.stderr.read_line(&mut said).expect("is text");
            assert!(length > 0, "{sql}: it ended: {said}");
        }
        match said.lines().count() {
            1 => Ok(()),
            _ => Err(sentence_of(&said)),
        }
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// `Runtime error near line 2: SENTENCE (19)` is `SENTENCE`.
fn sentence_of(said: &str) -> String {
    let first = said.lines().next().unwrap_or_default();
    let sentence = first.split_once(": ").map_or(first, |(_, rest)| rest);
    match sentence.rsplit_once(" (") {
        Some((sentence, code)) if code.trim_end_matches(')').parse::<u32>().is_ok() => {
            sentence.to_owned()
        }
        Some(_) | None => sentence.to_owned(),
    }
}
