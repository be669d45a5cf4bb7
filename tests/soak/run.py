#!/usr/bin/env python3
"""A long run under everything at once: programs write by SQL, people edit in HubSpot's stand-in, requests and answers get lost,
the daemon is killed (-9) and its mapping file changed again and again. Then quiet, and both sides must be equal: every mapped
property of every record, or the record is listed as dead or in conflict; associations too. Nothing is made twice, the last word
stands, and memory and file descriptors of the daemon are flat.

    tests/soak/run.py BINARY [--minutes N] [--seed N] [--keep] [--break row|hubspot|association|descriptors]

Half of the time the daemon is killed every few seconds, in the other half it lives. `--break` spoils something at the end, so
that the run must fail: a row altered with triggers off, a record altered in HubSpot while no daemon runs, an association taken
away with triggers off, a process that opens ever more files in the daemon's place. The simulator keeps its records in memory,
an hour's too.
"""

import argparse
import json
import multiprocessing
import os
import pathlib
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import edits  # noqa: E402
import judge  # noqa: E402
from beside import free_port, is_open  # noqa: E402
from way import Way  # noqa: E402

RECORDS = 240
# How long the quiet may take until both sides are equal: a lost create is looked for, and repeated a minute after its loss.
QUIET_SECONDS = 240

HEAD = """
[portal]
base_url = "http://127.0.0.1:{way}"
tier = "professional"
[auth]
access_token = {{ file = "token" }}
[database]
path = "crm.db"
[log]
format = "text"
level = "info,hubsyncd::hubspot=debug"
[schedule]
poll = "{poll}"
again = ["20s", "50s"]
reference = "{reference}"
reconcile = "{reconcile}"
[webhooks]
listen = "127.0.0.1:{webhooks}"
public_url = "http://127.0.0.1:{webhooks}/webhooks/hubspot"
client_secret = {{ file = "secret" }}
[http]
listen = "127.0.0.1:{http}"
[guard]
max_archives = 1000000
max_share = 1.0
max_cleared = 1.0
[conflicts]
policy = "newest"
"""

CONTACTS = """
[objects.contacts]
[objects.contacts.properties]
email = "email"
firstname = "first_name"
lastname = { column = "last_name", conflict = "manual" }
city = "city"
address = "address"
company = "company"
phone = { column = "phone", write = "if_empty" }
birthday = "birthday"
vip = "vip"
"""

COMPANIES = """
[objects.companies]
on_remote_delete = "mark"
[objects.companies.properties]
name = "name"
domain = "domain"
city = "city"
annualrevenue = { column = "revenue", type = "number" }
"""

DEALS = """
[objects.deals]
on_remote_delete = "recreate"
conflict = "remote"
[objects.deals.properties]
dealname = "dealname"
amount = "amount"
pipeline = "pipeline"
dealstage = "dealstage"
"""

PAIRS = '[associations]\ncontacts_companies = { from = "contacts", to = "companies" }\n'


class Soak:
    def __init__(self, binary, folder, seed):
        self.binary, self.folder, self.seed = binary, folder, seed
        self.rng = random.Random(seed)
        self.database = folder / "crm.db"
        self.ports = {"http": free_port(), "webhooks": free_port()}
        self.hubspot_port = free_port()
        self.simulator = self.daemon = self.way = None
        self.valid, self.warm = True, 20.0
        self.began_at, self.lives, self.reloads = 0.0, 0, 0
        self.samples, self.problems = [], []
        self.log = open(folder / "log", "w", encoding="utf-8")

    def write(self, name, text):
        path = self.folder / name
        path.write_text(text)
        path.chmod(0o600)

    def start_simulator(self):
        webhooks = {"url": f"http://127.0.0.1:{self.ports['webhooks']}/webhooks/hubspot", "duplicates": 0.1, "losses": 0.03,
                    "delay_max_ms": 1500, "secret": "a-secret-of-this-test"}
        settings = {"burst_limit": 2000, "daily_limit": 100000000, "search_limit": 20, "index_delay_max_ms": 4000,
                    "people_token": edits.PEOPLE, "webhooks": webhooks}
        self.write("faults.json", json.dumps({"settings": settings}))
        command = [self.binary, "simulate", "--listen", f"127.0.0.1:{self.hubspot_port}", "--records", str(RECORDS),
                   "--seed", str(self.seed), "--faults", str(self.folder / "faults.json")]
        self.simulator = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=self.log)
        self.until("the simulator", lambda: is_open(self.hubspot_port), 30)
        self.way = Way(self.hubspot_port, self.seed)

    def configure(self, full=True):
        """The whole mapping, or one of its variants."""
        self.write("token", edits.TOKEN)
        self.write("secret", "a-secret-of-this-test")
        draw = (lambda *_: 0) if full else (lambda most: self.rng.randrange(most))
        head = HEAD.format(way=self.way.port, poll=["1s", "2s", "5s"][draw(3)], reference=["30s", "5s"][draw(2)],
                           reconcile=["1h", "20s"][draw(2)], **self.ports)
        contacts = CONTACTS
        if draw(2) == 0:
            contacts += 'jobtitle = "job_title"\n'
        if draw(3) == 1:
            contacts = contacts.replace('company = "company"\n', "")
        if draw(4) == 1:
            contacts = contacts.replace('"last_name", conflict = "manual"', '"last_name"')
        parts = [head, contacts, COMPANIES]
        if draw(3) < 2:
            parts.append(DEALS)
        parts.append(PAIRS)
        # A daemon that has not read the file yet would refuse it and end.
        self.valid = full or time.monotonic() - self.began_at < 5 or draw(6) != 0
        if not self.valid:
            parts.append('[objects.contacts]\nnonsense = "twice"\n')
        self.write("config.next", "".join(parts))
        os.replace(self.folder / "config.next", self.folder / "config.toml")

    def start(self):
        # A daemon that runs goes on with the old file; one that starts would refuse it.
        if not self.valid:
            self.configure()
        self.daemon = subprocess.Popen([self.binary, "run", "--config", str(self.folder / "config.toml")], cwd=self.folder,
                                       stdout=self.log, stderr=self.log)
        self.began_at, self.samples = time.monotonic(), []
        self.lives += 1

    def kill(self):
        self.look()
        self.daemon.kill()
        self.daemon.wait()

    def reload(self, full=False):
        self.configure(full)
        # A signal before the daemon listens to signals ends it, as it ends any program.
        if time.monotonic() - self.began_at > 1.5:
            self.daemon.send_signal(signal.SIGHUP)
        self.reloads += 1

    def look(self):
        """The daemon lives, and how large it is."""
        if self.daemon.poll() is not None:
            self.problems.append(f"the daemon ended by itself with {self.daemon.returncode}")
            self.start()
            return
        # What a daemon takes while it starts and fills its caches is no growth.
        if time.monotonic() - self.began_at > self.warm:
            self.samples.append(figures(self.daemon.pid))

    def query(self, sql, *parameters):
        with edits.connect(self.database) as connection:
            rows = connection.execute(sql, parameters).fetchall()
        connection.close()
        return rows

    def number(self, sql):
        try:
            return self.query(sql)[0][0]
        except (sqlite3.DatabaseError, IndexError):
            return None

    def until(self, what, holds, seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if holds():
                return True
            if self.daemon is not None:
                self.look()
            time.sleep(0.25)
        self.problems.append(f"this never came: {what}")
        return False

    def soak(self, seconds):
        """Everything at once; the daemon is killed in the first half."""
        self.way.faulty = True
        self.warm = max(20.0, min(60.0, seconds / 8))
        stop, errors = multiprocessing.Event(), multiprocessing.Queue()
        notes = [self.folder / f"notes.{name}" for name in ("a", "b", "c", "people")]
        started = [multiprocessing.Process(target=edits.program, args=(self.database, notes[index].suffix[1:], self.seed * 10 + index, stop,
                                                                      errors, notes[index], 3.0)) for index in range(3)]
        started.append(multiprocessing.Process(target=edits.people, args=(self.hubspot_port, self.seed, stop, errors, notes[3], 5.0)))
        for process in started:
            process.start()
        begun = time.monotonic()
        kill_at, reload_at = begun + 4, begun + 6
        pace = max(1.0, seconds / 600)
        while time.monotonic() < begun + seconds:
            now = time.monotonic()
            if now > kill_at and now < begun + seconds / 2:
                self.kill()
                self.start()
                kill_at = now + self.rng.uniform(2, 9) * pace
            if now > reload_at:
                self.reload()
                reload_at = now + self.rng.uniform(3, 9) * pace
            # What gets lost in the last seconds only makes the quiet longer.
            self.way.faulty = now < begun + seconds - 5
            self.look()
            time.sleep(0.5)
        self.way.faulty = False
        stop.set()
        for process in started:
            process.join(60)
            if process.is_alive():
                self.problems.append("a program hangs")
                process.kill()
        while not errors.empty():
            self.problems.append(errors.get())
        return notes

    def quiet(self):
        """Nothing is written any more, nothing goes wrong any more: both sides come to rest, and are compared in full."""
        self.reload(full=True)
        self.until("the whole mapping is in force", lambda: self.number(
            "SELECT count(*) FROM sync_status WHERE object = 'deals' AND backfill = 'done'") == 1 and self.number(
                "SELECT count(*) FROM sync_fields WHERE property IN ('jobtitle', 'company') AND object = 'contacts' AND state = 'active'") == 2,
            QUIET_SECONDS)
        waits = "SELECT count(*) FROM sync_outbox WHERE state <> 'dead'"
        self.until("all is pushed", lambda: self.number(waits) == 0, QUIET_SECONDS)
        self.until("events are taken in", lambda: self.number("SELECT count(*) FROM sync_inbox WHERE state = 'pending'") == 0, QUIET_SECONDS)
        with edits.connect(self.database) as connection:
            for name in ("contacts", "companies", "deals"):
                connection.execute("INSERT INTO sync_commands (command, object) VALUES ('reconcile', ?)", (name,))
        connection.close()
        self.until("the comparisons", lambda: self.number(
            "SELECT count(*) FROM sync_commands WHERE state IN ('waiting', 'running')") == 0, QUIET_SECONDS)
        self.until("all is pushed", lambda: self.number(waits) == 0, QUIET_SECONDS)

    def compare(self, seconds):
        hubspot, end = edits.Hubspot(self.hubspot_port), time.monotonic() + seconds
        while True:
            with edits.connect(self.database) as connection:
                differing, records, links = judge.compare(connection, hubspot)
            connection.close()
            if not differing or time.monotonic() > end:
                return differing, records, links
            time.sleep(1)

    def spoil(self, what):
        """Breaks a promise, so that the judge has something to find."""
        if what == "row":
            sql = ".dbconfig enable_trigger off\nUPDATE contacts SET city = 'past the triggers' WHERE local_id = (SELECT max(local_id) FROM contacts WHERE hs_id IS NOT NULL);"
            subprocess.run(["sqlite3", self.database], input=sql, text=True, check=True, stdout=subprocess.DEVNULL)
        elif what == "association":
            sql = ".dbconfig enable_trigger off\nDELETE FROM associations WHERE id = (SELECT min(id) FROM associations);"
            subprocess.run(["sqlite3", self.database], input=sql, text=True, check=True, stdout=subprocess.DEVNULL)
        elif what == "hubspot":
            self.daemon.terminate()
            self.daemon.wait(20)
            hubspot = edits.Hubspot(self.hubspot_port)
            one = min(hubspot.all("contacts", ["city"]))
            hubspot.call("PATCH", hubspot.objects("contacts", f"/{one}"), {"properties": {"city": "nobody looks"}})
        elif what == "descriptors":
            leak = "import time\nheld = []\nwhile True:\n    held += [open('/dev/null') for _ in range(4)]\n    time.sleep(0.05)"
            leaking = subprocess.Popen([sys.executable, "-c", leak])
            self.samples = []
            for _ in range(60):
                self.samples.append(figures(leaking.pid))
                time.sleep(0.05)
            leaking.kill()
            leaking.wait()

    def end(self):
        for process in (self.daemon, self.simulator):
            if process is not None and process.poll() is None:
                process.terminate()
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    process.kill()
                    self.problems.append("a process does not end when it is told to")


def figures(pid):
    """Resident memory in MiB, and open file descriptors: -1 where this user may not count them, since the daemon makes no dumps."""
    try:
        status = pathlib.Path(f"/proc/{pid}/status").read_text()
        resident = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:")) / 1024
    except (OSError, StopIteration):
        return 0.0, 0
    try:
        return resident, len(os.listdir(f"/proc/{pid}/fd"))
    except PermissionError:
        return resident, -1
    except OSError:
        return resident, 0


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary", type=pathlib.Path)
    parser.add_argument("--minutes", type=float, default=60.0, help="of edits; the quiet comes on top")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--keep", action="store_true", help="leave the folder where it is")
    parser.add_argument("--break", dest="spoiled", choices=["row", "hubspot", "association", "descriptors"])
    return parser.parse_args()


def main():
    asked = arguments()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="hubsyncd-soak-"))
    print(f"soak: seed {asked.seed}, {asked.minutes:g} minutes of edits, in {folder}", flush=True)
    soak = Soak(str(asked.binary.resolve()), folder, asked.seed)
    differing, wrong, twice = [], [], []
    records = links = judged = 0
    try:
        soak.start_simulator()
        soak.configure()
        soak.start()
        if soak.until("the first load", lambda: soak.number("SELECT min(backfill = 'done') FROM sync_status") == 1, 120):
            notes = soak.soak(asked.minutes * 60)
            soak.quiet()
            if asked.spoiled:
                # What can't be noticed any more must not be noticed by the next comparison of the daemon's own.
                soak.compare(30)
                soak.spoil(asked.spoiled)
            memory, files = zip(*(soak.samples or [figures(soak.daemon.pid)]))
            differing, records, links = soak.compare(0 if asked.spoiled else 60)
            with edits.connect(soak.database) as connection:
                wrong, judged = judge.last_words(connection, notes)
            connection.close()
            twice = judge.doubles(edits.Hubspot(soak.hubspot_port))
            for what, risen in (("memory (MiB)", judge.growth(memory)), ("file descriptors", judge.growth(files, 1.1, 4.0))):
                if risen:
                    soak.problems.append(f"{what} {risen}")
            dead = soak.query("SELECT code, count(*) FROM sync_outbox WHERE state = 'dead' GROUP BY code")
            opened = soak.number("SELECT count(*) FROM sync_conflicts WHERE resolved_at IS NULL")
            print(f"soak: {soak.lives} lives, {soak.reloads} reloads, faults {soak.way.met}")
            print(f"soak: {records} records and {links} associations compared, {judged} last words, dead {dict(dead)}, {opened} open conflicts,"
                  f" the last life: {len(memory)} looks, {memory[0]:.0f} to {memory[-1]:.0f} MiB, {files[0]} to {files[-1]} descriptors")
    finally:
        soak.end()
    if any(count == -1 for _, count in soak.samples):
        print("soak: file descriptors were not counted: only root may look at those of a process that makes no dumps")
    soak.log.flush()
    text = (folder / "log").read_text(errors="replace")
    soak.problems += [line for line in text.splitlines() if "panicked" in line]
    for title, found in (("", soak.problems), ("differs: ", differing), ("last word: ", wrong), ("made twice: ", twice)):
        for line in found[:20]:
            print(f"soak: {title}{line}")
        if len(found) > 20:
            print(f"soak: and {len(found) - 20} more")
    failed = bool(soak.problems or differing or wrong or twice)
    if failed or asked.keep:
        print(f"soak: database, log and notes are in {folder}")
    else:
        shutil.rmtree(folder)
    print("soak: failed" if failed else "soak: both sides are equal, nothing was made twice, the last word stands, the daemon is as small as before")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
