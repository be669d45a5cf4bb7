#!/usr/bin/env python3
"""The recipe of docs/replicas.md with Litestream itself, and SeaweedFS as the object storage: the file, the script and the commands
are taken from the page. Replicate; follow on a reader's machine; lose the disk, restore and go on without a doubled record; erase a
person, and find nothing of the person in any state that can be restored.

    tests/replicas/run.py BINARY

Both programs come from PyPI into target/replicas. Needs python3 with venv, and sqlite3.
"""

import json
import os
import pathlib
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
HERE = ROOT / "tests" / "replicas"
PLACE = ROOT / "target" / "replicas"
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "soak")]

from beside import free_port, is_open, until  # noqa: E402
from edits import PEOPLE, TOKEN, Hubspot  # noqa: E402

PAGE = (ROOT / "docs" / "replicas.md").read_text()
SECRET = "a-secret-of-this-test"
PERSON = "zebulon.quick@person.example"
# In place of the page's day and a half: the same proportion.
SNAPSHOT_INTERVAL, SNAPSHOT_RETENTION = 6, 9


def environment():
    """A venv with what requirements.txt says, made anew when that changes."""
    stamp, wanted = PLACE / "installed.txt", (HERE / "requirements.txt").read_text()
    if not stamp.exists() or stamp.read_text() != wanted:
        shutil.rmtree(PLACE, ignore_errors=True)
        PLACE.mkdir(parents=True)
        subprocess.run([sys.executable, "-m", "venv", PLACE / "venv"], check=True)
        pip = [PLACE / "venv" / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "-r", HERE / "requirements.txt"], check=True)
        stamp.write_text(wanted)
    return PLACE / "venv" / "bin"


def block(language, holding):
    """The page's one block of a language that holds a text."""
    blocks = re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.S | re.M)
    (found,) = [text for text in blocks if holding in text]
    return found


def replaced(text, *pairs):
    for old, new in pairs:
        assert old in text, (old, text)
        text = text.replace(old, new)
    return text


class Site:
    """A machine with the daemon, its database and Litestream; the object storage and HubSpot are elsewhere."""

    def __init__(self, folder, binary, tools):
        self.folder, self.binary, self.tools = folder, binary, tools
        self.state = folder / "state"
        self.state.mkdir()
        self.database = self.state / "crm.db"
        self.hubspot_port, self.webhooks, self.s3 = free_port(), free_port(), free_port()
        self.endpoint = f"http://127.0.0.1:{self.s3}"
        self.hubspot = Hubspot(self.hubspot_port)
        self.log = open(folder / "log", "w", encoding="utf-8")
        self.running = {}
        # A bundle of certificates of this machine's own is one more thing than this S3 client can have.
        self.env = {name: value for name, value in os.environ.items() if name != "AWS_CA_BUNDLE"}
        self.env |= {"REPLICA_KEY": "any", "REPLICA_SECRET": "any", "AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "any",
                     "PATH": f"{folder / 'bin'}:{os.environ['PATH']}"}
        self.write_files()

    def write_files(self):
        page = block("toml", "checkpoint")
        database = replaced(page, ("/var/lib/hubsyncd/crm.db", str(self.database)))
        (self.folder / "token").write_text(TOKEN)
        (self.folder / "secret").write_text(SECRET)
        for name in ("token", "secret"):
            (self.folder / name).chmod(0o600)
        (self.folder / "config.toml").write_text(f"""
[portal]
base_url = "http://127.0.0.1:{self.hubspot_port}"
tier = "professional"
[auth]
access_token = {{ file = "token" }}
{database}
[log]
format = "text"
[schedule]
poll = "1s"
[webhooks]
listen = "127.0.0.1:{self.webhooks}"
public_url = "http://127.0.0.1:{self.webhooks}/webhooks/hubspot"
client_secret = {{ file = "secret" }}
[objects.contacts]
[objects.companies]
""")
        litestream = replaced(
            block("yaml", "snapshot:"), ("interval: 24h", f"interval: {SNAPSHOT_INTERVAL}s"),
            ("retention: 36h", f"retention: {SNAPSHOT_RETENTION}s"), ("/var/lib/hubsyncd/crm.db", str(self.database)),
            ("https://s3.example.com", self.endpoint))
        # The shorter steps in between, in the same proportion.
        litestream = "l0-retention: 3s\nl0-retention-check-interval: 1s\nlevels:\n  - interval: 2s\n" + litestream
        (self.folder / "litestream.yml").write_text(litestream)
        # `litestream` with the file in the place of /etc/litestream.yml, and a `systemctl` that knows one unit.
        (self.folder / "bin").mkdir()
        self.script("litestream", f"""verb=$1; shift
case "$verb $*" in *s3://*) ;; *) set -- -config {self.folder / 'litestream.yml'} "$@" ;; esac
exec {self.tools / 'litestream'} "$verb" "$@"
""")
        self.script("systemctl", f"echo \"$1\" > {self.folder / 'asked'}; while [ -s {self.folder / 'asked'} ]; do sleep 0.05; done\n")

    def script(self, name, text):
        path = self.folder / "bin" / name
        path.write_text(f"#!/bin/sh\n{text}")
        path.chmod(0o755)

    def start(self, name, *command):
        # The storage lets everybody in, unless its environment names keys.
        env = None if name == "storage" else self.env
        log = open(self.folder / "storage.log", "w", encoding="utf-8") if name == "storage" else self.log
        self.running[name] = subprocess.Popen(command, cwd=self.folder, stdout=log, stderr=log, env=env)

    def stop(self, name, with_signal=signal.SIGTERM):
        process = self.running.pop(name)
        process.send_signal(with_signal)
        process.wait(30)
        return process.returncode

    def start_elsewhere(self):
        """HubSpot, and the object storage with an empty bucket."""
        webhooks = {"url": f"http://127.0.0.1:{self.webhooks}/webhooks/hubspot", "secret": SECRET}
        (self.folder / "faults.json").write_text(json.dumps({"settings": {"people_token": PEOPLE, "webhooks": webhooks, "index_delay_max_ms": 500}}))
        self.start("simulator", self.binary, "simulate", "--listen", f"127.0.0.1:{self.hubspot_port}", "--records", "60",
                   "--faults", str(self.folder / "faults.json"))
        (self.folder / "objects").mkdir()
        ports = [f"-{name}={free_port()}" for name in
                 ("master.port", "volume.port", "filer.port", "master.port.grpc", "volume.port.grpc", "filer.port.grpc", "s3.port.grpc")]
        self.start("storage", str(self.tools / "weed"), "server", f"-dir={self.folder / 'objects'}", "-ip=127.0.0.1", "-filer", "-s3", "-s3.port.iceberg=0",
                   "-s3.port.lance=0", "-master.telemetry=false",
                   f"-s3.port={self.s3}", "-volume.max=5", "-master.volumeSizeLimitMB=64", *ports)
        until("the simulator", lambda: is_open(self.hubspot_port))
        until("a bucket", self.bucket, 90)

    def bucket(self):
        try:
            with urllib.request.urlopen(urllib.request.Request(f"{self.endpoint}/crm-replica", method="PUT"), timeout=5):
                return True
        except (OSError, urllib.error.URLError):
            return False

    def start_daemon(self):
        self.start("daemon", self.binary, "run", "--config", str(self.folder / "config.toml"))
        until("the daemon", lambda: self.number("SELECT state = 'running' AND heartbeat_at IS NOT NULL FROM sync_health") == 1, 60)

    def start_litestream(self):
        self.start("litestream", str(self.tools / "litestream"), "replicate", "-config", str(self.folder / "litestream.yml"))

    def execute(self, sql):
        connection = sqlite3.connect(self.database, timeout=20)
        with connection:
            connection.execute("PRAGMA wal_autocheckpoint = 0")
            connection.execute(sql)
        connection.close()

    def number(self, sql, path=None):
        path = path or self.database
        if not pathlib.Path(path).exists():
            return None
        try:
            connection = sqlite3.connect(f"file:{path}?mode=ro", timeout=20, uri=True)
            try:
                return connection.execute(sql).fetchone()[0]
            finally:
                connection.close()
        except sqlite3.DatabaseError:
            return None

    def shell(self, text):
        return subprocess.run(["sh", "-c", text], cwd=self.folder, env=self.env, check=False, capture_output=True, text=True)

    def restore(self, to, *options):
        """What the replica gives: a file, or `None` where it has no such state."""
        for name in (to, f"{to}-wal", f"{to}-shm"):
            pathlib.Path(name).unlink(missing_ok=True)
        command = [str(self.folder / "bin" / "litestream"), "restore", "-o", str(to), *options, str(self.database)]
        done = subprocess.run(command, env=self.env, check=False, capture_output=True, text=True)
        return to if done.returncode == 0 else None

    def replica_has(self, sql):
        restored = self.restore(self.folder / "look.db")
        return bool(restored and self.number(sql, restored))

    def in_hubspot(self, email):
        found = self.hubspot.all("contacts", ["email"]).values()
        return sum(one["email"] == email for one in found)

    def wait_pushed(self):
        until("all is pushed", lambda: self.number("SELECT count(*) FROM sync_outbox") == 0, 60)

    def end(self):
        for name in list(self.running)[::-1]:
            self.running[name].kill()
            self.running[name].wait()


def holds(path, text):
    path = pathlib.Path(path)
    files = [path] if path.is_file() else [one for one in path.rglob("*") if one.is_file()]
    return [str(file) for file in files if text.encode() in file.read_bytes()]


def replicated(site):
    """What was written a moment ago is in the replica, and neither the daemon nor a command makes a checkpoint."""
    site.start_elsewhere()
    site.start_daemon()
    site.start_litestream()
    site.execute("INSERT INTO contacts (email) VALUES ('first@replica.example')")
    site.wait_pushed()
    until("a replica", lambda: site.replica_has("SELECT count(hs_id) FROM contacts WHERE email = 'first@replica.example'"), 60)
    said = subprocess.run([site.binary, "status", "--config", str(site.folder / "config.toml")], check=False, capture_output=True)
    assert said.returncode == 0, said
    print("replicas: a commit is in the object storage")


def followed(site):
    """The page's command of a reader's machine, and its queries."""
    line = next(line for line in block("sh", "restore -f").splitlines() if "restore -f" in line)
    reader = site.folder / "reader" / "crm.db"
    reader.parent.mkdir()
    line = replaced(line, ("/srv/crm/crm.db", str(reader)), ("https://s3.example.com", site.endpoint))
    site.start("reader", "sh", "-c", f"exec {line}")
    until("a reader's copy", lambda: site.number("SELECT count(*) FROM contacts", reader), 60)
    site.execute("UPDATE contacts SET city = 'Followed' WHERE email = 'first@replica.example'")
    until("the copy follows", lambda: site.number("SELECT count(*) FROM contacts WHERE city = 'Followed'", reader), 60)
    for query in block("sql", "lag_seconds").split(";\n"):
        if query.strip():
            assert site.number(query, reader) is not None, query
    assert site.number("SELECT state = 'running' FROM sync_health", reader) == 1
    site.stop("reader", signal.SIGKILL)
    print("replicas: a reader's copy follows")


def lost(site):
    """The disk is lost in the worst moment: what the replica holds as a waiting create was made in HubSpot since, and a record was
    made of which the replica knows nothing."""
    site.execute("INSERT INTO sync_commands (command, argument) VALUES ('pause', 'push')")
    until("a pause", lambda: site.number("SELECT state = 'paused' FROM sync_health") == 1)
    site.execute("INSERT INTO contacts (email) VALUES ('waited@replica.example')")
    site.execute("UPDATE contacts SET city = 'Waited' WHERE email = 'first@replica.example'")
    until("a waiting create in the replica", lambda: site.replica_has(
        "SELECT count(*) = 1 FROM sync_outbox WHERE operation = 'create'"), 60)
    site.stop("litestream", signal.SIGKILL)
    site.execute("INSERT INTO sync_commands (command) VALUES ('resume')")
    site.execute("INSERT INTO contacts (email) VALUES ('unknown@replica.example')")
    until("both are made", lambda: site.in_hubspot("waited@replica.example") == 1 and site.in_hubspot("unknown@replica.example") == 1, 60)
    site.stop("daemon", signal.SIGKILL)
    shutil.rmtree(site.state)
    site.state.mkdir()
    done = site.shell(replaced(block("sh", "-integrity-check"), ("/var/lib/hubsyncd/crm.db", str(site.database))))
    assert done.returncode == 0, done
    assert site.number("PRAGMA integrity_check") == "ok"
    assert site.number("SELECT count(*) FROM sync_outbox WHERE operation = 'create'") == 1
    site.start_litestream()
    site.start("daemon", site.binary, "run", "--config", str(site.folder / "config.toml"))
    # The pause came back with the file.
    until("the daemon", lambda: site.number("SELECT state = 'paused' FROM sync_health") == 1, 60)
    site.execute("INSERT INTO sync_commands (command) VALUES ('resume')")
    until("the daemon", lambda: site.number("SELECT state = 'running' FROM sync_health") == 1, 60)
    site.wait_pushed()
    for name in ("first", "waited", "unknown"):
        until(f"the row of {name}", lambda name=name: site.number(
            f"SELECT count(hs_id) FROM contacts WHERE email = '{name}@replica.example'") == 1, 60)
        assert site.in_hubspot(f"{name}@replica.example") == 1, name
    site.execute("INSERT INTO contacts (email) VALUES ('after@replica.example')")
    site.wait_pushed()
    until("the replica goes on", lambda: site.replica_has("SELECT count(hs_id) FROM contacts WHERE email = 'after@replica.example'"), 90)
    states = "SELECT count(*) FROM sync_outbox WHERE state = 'dead'"
    assert site.number(states) == 0
    print("replicas: after a lost disk the daemon goes on, no record is doubled, and the replica goes on")


def restorable(site):
    """Every state that the replica can give back: for each transaction that it names, and for each that it might have had."""
    files = subprocess.run([str(site.folder / "bin" / "litestream"), "ltx", "-level", "all", "-json", str(site.database)], env=site.env,
                           check=True, capture_output=True, text=True).stdout
    numbers = [int(number, 16) for number in re.findall(r'"(?:min|max)_?txid":\s*"([0-9a-f]+)"', files, re.I)]
    assert numbers, files
    return range(min(numbers), max(numbers) + 1)


def erased(site):
    """A privacy deletion, the page's script, the retention: nothing is left, neither here nor in any state of the replica."""
    person = site.hubspot.call("POST", site.hubspot.objects("contacts"), {"properties": {"email": PERSON, "city": "Quickborn"}})[1]
    until("the person", lambda: site.number(f"SELECT count(*) FROM contacts WHERE email = '{PERSON}'") == 1, 60)
    until("the person in the replica", lambda: site.replica_has(f"SELECT count(*) FROM contacts WHERE email = '{PERSON}'"), 60)
    site.hubspot.call("POST", site.hubspot.objects("contacts", "/gdpr-delete"), {"objectId": person["id"]})
    until("the erasure", lambda: site.number(f"SELECT count(*) FROM contacts WHERE email = '{PERSON}'") == 0, 60)

    def named():
        site.log.flush()
        text = re.sub(r"\x1b\[[0-9;]*m", "", (site.folder / "log").read_text(errors="replace"))
        lines = [line for line in text.splitlines() if "a record was erased" in line]
        return any("erased" in line and f"hs_id={person['id']}" in line for line in lines)

    until("the log names the erasure", named)
    assert holds(site.state, PERSON), "the log holds the person until the script has run"
    script = replaced((ROOT / "packaging" / "forget-in-replica").read_text(), ("/var/lib/hubsyncd", str(site.state)))
    asked = site.folder / "asked"
    running = subprocess.Popen(["sh", "-c", script], cwd=site.folder, env=site.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def served():
        word = asked.read_text().strip() if asked.exists() else ""
        if word == "stop":
            site.stop("litestream")
        elif word == "start":
            site.start_litestream()
        if word:
            asked.write_text("")
        return running.poll() is not None

    until("the script", served, 60)
    said = running.stdout.read().decode()
    assert running.returncode == 0 and "litestream" in site.running, said
    begun = time.monotonic()
    until("nothing of the person is on this disk", lambda: not holds(site.state, PERSON), 30)
    again = site.shell(script)
    assert again.returncode == 0 and not asked.read_text(), "nothing to do the second time"
    # The stated time, and a few seconds for the steps of a machine that has other work.
    time.sleep(max(0.0, begun + SNAPSHOT_INTERVAL + SNAPSHOT_RETENTION + 6 - time.monotonic()))
    states = found = 0
    for number in restorable(site):
        copy = site.restore(site.folder / "state.db", "-txid", f"{number:016x}")
        if copy:
            states += 1
            found += bool(holds(copy, PERSON))
    assert states, "no state can be restored"
    assert not found, f"{found} of {states} states hold the person"
    assert site.replica_has("SELECT count(*) FROM contacts WHERE email = 'after@replica.example'")
    until("the daemon", lambda: site.number("SELECT state = 'running' FROM sync_health") == 1)
    print(f"replicas: {states} states can be restored, none of them holds the erased person")


def ended(site):
    """A clean end of the daemon leaves the log to Litestream."""
    site.execute("UPDATE contacts SET city = 'Last' WHERE email = 'after@replica.example'")
    site.wait_pushed()
    assert site.stop("daemon") == 0
    wal = pathlib.Path(f"{site.database}-wal")
    assert wal.exists() and wal.stat().st_size > 0, "the daemon made a checkpoint at its end"
    until("the last write is in the replica", lambda: site.replica_has("SELECT count(*) FROM contacts WHERE city = 'Last'"), 60)
    print("replicas: a clean end leaves the log to Litestream")


def main():
    binary = str(pathlib.Path(sys.argv[1]).resolve())
    tools = environment()
    with tempfile.TemporaryDirectory(prefix="hubsyncd-replicas-") as made:
        site = Site(pathlib.Path(made), binary, tools)
        try:
            for part in (replicated, followed, lost, erased, ended):
                part(site)
        except BaseException:
            site.log.flush()
            print((site.folder / "log").read_text(errors="replace")[-6000:], file=sys.stderr)
            raise
        finally:
            site.end()


if __name__ == "__main__":
    main()
