#!/usr/bin/env python3
"""System calls that fail. The real binary runs against HubSpot's stand-in under `strace`, which lets the n-th call of one kind fail
with one error; then it runs undisturbed, and both sides must be equal: nothing that a program had committed, that HubSpot had taken,
or that a webhook's 204 had promised is lost, nothing was made twice, and nothing panicked.

    tests/syscalls/run.py BINARY [--short] [--only CALL] [--seed N] [--keep]

`strace` counts the calls of each thread for itself, so that the n-th call of every thread fails, once each. The long form goes over
each n up to the number of calls that a run without a fault makes; `--short` takes one error and one n of each call. Without `strace`, or where it
may trace nobody, it says so and ends with 3.
"""

import argparse
import collections
import http.client
import json
import os
import pathlib
import random
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
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "soak")]

from beside import deliver, free_port  # noqa: E402
from edits import PEOPLE, TOKEN, Hubspot  # noqa: E402

LEFT_OUT = 3

# A trace of the stack would hide the words.
ENVIRONMENT = {**os.environ, "RUST_BACKTRACE": "0"}

# What fails, and how. What a kernel never says of a call is left out.
DISK = {
    "write": ["EIO", "ENOSPC", "EINTR"],
    "pwrite64": ["EIO", "ENOSPC", "EINTR"],
    "pread64": ["EIO", "EINTR"],
    "fsync": ["EIO", "ENOSPC"],
    "fdatasync": ["EIO", "ENOSPC"],
    "openat": ["EMFILE", "ENOMEM", "EIO", "EINTR"],
    "mmap": ["ENOMEM"],
    "ftruncate": ["EIO", "ENOSPC"],
    "fallocate": ["ENOSPC"],
    "unlink": ["EIO"],
    "rename": ["EIO", "ENOSPC"],
    "fcntl": ["EINTR", "ENOMEM"],
    "newfstatat": ["EIO", "ENOMEM"],
    "statx": ["EIO", "ENOMEM"],
    "getrandom": ["EINTR"],
}
SOCKETS = {
    "socket": ["EMFILE", "ENOMEM"],
    "connect": ["ENOMEM", "EINTR"],
    "sendto": ["EIO", "EINTR", "ENOMEM"],
    "writev": ["EIO", "EINTR"],
    "recvfrom": ["EIO", "EINTR", "ENOMEM"],
    "epoll_wait": ["EINTR"],
    "epoll_ctl": ["ENOMEM"],
}
# Of these only calls on the database and what stands beside it fail: no kernel says them of a pipe or an event of the process's own.
OF_FILES = {"write", "pwrite64", "pread64", "fsync", "fdatasync", "ftruncate", "fallocate"}
# Met by the daemon alone, which listens and goes on.
DAEMON = {
    "accept4": ["EMFILE", "ENOMEM", "EINTR"],
    "epoll_wait": ["EINTR"],
    "inotify_add_watch": ["ENOMEM"],
    "openat": ["EMFILE"],
    "recvfrom": ["EIO"],
    "pwrite64": ["EIO", "ENOSPC"],
    "fdatasync": ["EIO"],
}

# A run that hangs is a fault of its own: a lost create is looked for for a minute.
LONGEST_SECONDS = 150

MAPPING = """
[portal]
base_url = "http://127.0.0.1:{hubspot}"
tier = "professional"
[auth]
access_token = {{ file = "token" }}
[database]
path = "crm.db"
[log]
format = "text"
[schedule]
poll = "1s"
[http]
listen = "127.0.0.1:{http}"
[webhooks]
listen = "127.0.0.1:{webhooks}"
public_url = "{url}"
client_secret = {{ file = "secret" }}
[guard]
max_archives = 1000000
max_share = 1.0
max_cleared = 1.0
[conflicts]
policy = "remote"
[objects.contacts]
[objects.contacts.properties]
email = "email"
firstname = "first_name"
city = "city"
"""


# What HubSpot signs deliveries with, and for which URL.
SECRET, URL = "a-secret-of-this-test", "https://sync.example.com/webhooks/hubspot"


class Failure(Exception):
    """What must not be."""


def may_trace():
    """Whether strace is here and may let a call fail."""
    if not shutil.which("strace"):
        return False
    probe = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=openat", "-e", "inject=openat:error=EIO:when=1000", "true"]
    return subprocess.run(probe, capture_output=True).returncode == 0


class Scene:
    """A simulator, a database, and who edits on both sides."""

    def __init__(self, binary, folder, seed):
        self.binary, self.folder, self.rng = binary, folder, random.Random(seed)
        self.database, self.number = folder / "crm.db", 0
        self.hubspot_port, self.http, self.webhooks = free_port(), free_port(), free_port()
        # Events that were answered with 204, of this edit and so far.
        self.promised, self.promised_so_far, self.events = set(), 0, 0
        (folder / "faults.json").write_text(json.dumps({"settings": {"people_token": PEOPLE}}))
        simulate = [binary, "simulate", "--faults", str(folder / "faults.json"), "--listen", f"127.0.0.1:{self.hubspot_port}", "--records", "40", "--seed", str(seed)]
        self.simulator = subprocess.Popen(simulate, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.simulator.stdout.readline()
        self.hubspot = Hubspot(self.hubspot_port)
        (folder / "token").write_text(TOKEN)
        (folder / "secret").write_text(SECRET)
        for secret in ("token", "secret"):
            (folder / secret).chmod(0o600)
        (folder / "config.toml").write_text(MAPPING.format(hubspot=self.hubspot_port, http=self.http, webhooks=self.webhooks, url=URL))
        self.clean()
        program = sqlite3.connect(self.database)
        self.portal, = program.execute("SELECT portal_id FROM sync_health").fetchone()
        program.close()
        self.written = {}

    def end(self):
        self.simulator.kill()
        self.simulator.wait()

    def command(self, *arguments):
        return [self.binary, *arguments, "--config", str(self.folder / "config.toml")]

    def clean(self):
        """Runs undisturbed until nothing waits."""
        for _ in range(3):
            done = subprocess.run(self.command("once", "--reconcile", "--timeout", "140s"), capture_output=True, text=True,
                                  timeout=LONGEST_SECONDS)
            if done.returncode == 0:
                return
        raise Failure(f"a clean run ends with {done.returncode}: {done.stderr[-2000:]}")

    def edit(self, with_create):
        """Both sides write; what a program commits, and what HubSpot takes, is kept to be looked for."""
        self.number += 1
        self.promised = set()
        word = f"n{self.number}"
        with sqlite3.connect(self.database, timeout=20) as program:
            rows = [row for row, in program.execute("SELECT local_id FROM contacts WHERE hs_id IS NOT NULL ORDER BY local_id")]
            mine, theirs = self.rng.sample(rows, 2)
            program.execute("UPDATE contacts SET city = ? WHERE local_id = ?", (word, mine))
            hs_id, = program.execute("SELECT hs_id FROM contacts WHERE local_id = ?", (theirs,)).fetchone()
            if with_create:
                program.execute("INSERT INTO contacts (email, first_name) VALUES (?, ?)", (f"{word}@example.com", word))
        program.close()
        self.written = {"city": word, "row": mine, "email": f"{word}@example.com" if with_create else None, "record": hs_id}
        path = self.hubspot.objects("contacts", f"/{hs_id}")
        status, said = self.hubspot.call("PATCH", path, {"properties": {"firstname": f"h{word}"}})
        assert status == 200, (status, said)

    def look(self):
        """Both sides are equal, and hold what was written."""
        program = sqlite3.connect(self.database)
        try:
            check, = program.execute("PRAGMA quick_check").fetchone()
            if check != "ok":
                raise Failure(f"the database: {check}")
            differing = self.differing(program)
            city, = program.execute("SELECT city FROM contacts WHERE local_id = ?", (self.written["row"],)).fetchone()
            if city != self.written["city"]:
                differing.append(f"the program's {self.written['city']} is {city}")
            name, = program.execute("SELECT first_name FROM contacts WHERE hs_id = ?", (self.written["record"],)).fetchone()
            if name != f"h{self.written['city']}":
                differing.append(f"HubSpot's h{self.written['city']} is {name}")
            differing += self.broken_promises(program)
        finally:
            program.close()
        email = self.written["email"]
        people = self.hubspot.all("contacts", ["email"])
        if email and sum(person.get("email") == email for person in people.values()) != 1:
            differing.append(f"{email} is not one record")
        if differing:
            raise Failure("; ".join(differing[:5]))

    def broken_promises(self, program):
        """Events that were answered with 204 and are not in the inbox, or not dealt with there."""
        states = dict(program.execute("SELECT event_id, state FROM sync_inbox"))
        broken = {event: states.get(event) for event in self.promised if states.get(event) not in ("done", "ignored")}
        return [f"events answered with 204, and what became of them: {broken}"] if broken else []

    def differing(self, program):
        """Fields in which a row and its record differ, and rows without a record or the other way round."""
        people, found = self.hubspot.all("contacts", ["email", "firstname", "city"]), []
        for local_id, hs_id, *values in program.execute("SELECT local_id, hs_id, email, first_name, city FROM contacts"):
            person = people.pop(hs_id, None)
            if person is None:
                found.append(f"row {local_id} (record {hs_id}) is not in HubSpot")
                continue
            there = [person.get(name) or None for name in ("email", "firstname", "city")]
            if there != [value or None for value in values]:
                found.append(f"row {local_id}: here {values}, in HubSpot {there}")
        found += [f"record {hs_id} is not here" for hs_id in people]
        waiting, = program.execute("SELECT count(*) FROM sync_outbox").fetchone()
        return found + ([f"{waiting} entries are left"] if waiting else [])

    def strace(self, call, error, number, command):
        inject = f"inject={call}:error={error}:when={number}"
        traced = ["-e", f"trace={call}", "-e", inject, *(self.paths() if call in OF_FILES else [])]
        return ["strace", "-f", "--seccomp-bpf", "-qq", "-o", str(self.folder / "trace"), *traced, *command]

    def paths(self):
        return [word for suffix in ("", "-wal", "-shm", ".lock") for word in ("-P", f"{self.database}{suffix}")]

    def counts(self, calls):
        """How many calls of each kind the busiest thread of a run makes."""
        trace = self.folder / "trace"
        most = collections.Counter()
        for of, paths in ((calls & OF_FILES, self.paths()), (calls - OF_FILES, [])):
            self.edit(True)
            command = ["-e", f"trace={','.join(sorted(of))}", *paths, *self.command("once")]
            subprocess.run(["strace", "-f", "--seccomp-bpf", "-qq", "-o", str(trace), *command], capture_output=True,
                           timeout=LONGEST_SECONDS)
            counted = collections.Counter()
            for line in trace.read_text(errors="replace").splitlines():
                found = re.match(r"(\d+) +(\w+)\(", line)
                if found:
                    counted[found.groups()] += 1
            for (_, call), count in counted.items():
                most[call] = max(most[call], count)
            self.clean()
        return most

    def once(self, call, error, number):
        """One command with one fault."""
        done = subprocess.run(self.strace(call, error, number, self.command("once", "--timeout", "20s")), capture_output=True, text=True,
                              errors="replace", timeout=LONGEST_SECONDS, env=ENVIRONMENT)
        self.judge_end(done.returncode, done.stderr)

    def daemon(self, call, error, number):
        """The daemon with one fault, asked for its health and stopped."""
        command = self.strace(call, error, number, self.command("run"))
        with open(self.folder / "stderr", "w+", encoding="utf-8", errors="replace") as log:
            tracer = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=log, env=ENVIRONMENT)
            for _ in range(25):
                time.sleep(0.1)
                self.ask("/healthz")
                self.tell_webhook()
                if tracer.poll() is not None:
                    break
            children = pathlib.Path(f"/proc/{tracer.pid}/task/{tracer.pid}/children")
            for child in children.read_text().split() if tracer.poll() is None else []:
                subprocess.run(["kill", "-TERM", child], check=False)
            try:
                status = tracer.wait(30)
            except subprocess.TimeoutExpired as hung:
                tracer.kill()
                raise Failure("the daemon does not end") from hung
            log.seek(0)
            self.judge_end(status, log.read())

    def tell_webhook(self):
        """Delivers the event of HubSpot's edit once more, as a change of its own. What is answered with 204 is a promise."""
        self.events += 1
        event = {"eventId": self.events, "subscriptionId": 1, "portalId": self.portal, "appId": 1, "occurredAt": int(time.time() * 1000),
                 "subscriptionType": "contact.propertyChange", "attemptNumber": 0, "objectId": self.written["record"],
                 "propertyName": "firstname", "propertyValue": f"h{self.written['city']}", "changeSource": "CRM"}
        try:
            status = deliver(self.webhooks, SECRET, URL, [event], seconds=2)
        except (OSError, http.client.HTTPException):
            return
        if status == 204:
            self.promised.add(self.events)
            self.promised_so_far += 1

    def ask(self, path):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.http}{path}", timeout=2) as reply:
                reply.read()
        except (OSError, urllib.error.URLError):
            pass

    @staticmethod
    def judge_end(status, said):
        """An error may end it; a panic, a signal or silence may not."""
        # What memory that is refused does to any program of Rust, and a thread that is refused to any of tokio's; a start goes on.
        is_out_of_memory = "memory allocation of" in said or "OS can't spawn worker thread" in said
        if "panicked" in said and not is_out_of_memory:
            raise Failure(f"it panicked: {said[-2000:]}")
        is_by_signal = status < 0 or status > 128
        if is_by_signal and not is_out_of_memory:
            raise Failure(f"it ended by {status}: {said[-2000:]}")
        if status and not said.strip():
            raise Failure(f"it ended with {status} and said nothing")


def plan(scene, short, only):
    """(way, call, error, number), in the order in which they are tried."""
    counts = scene.counts({*DISK, *SOCKETS})
    for calls in (DISK, SOCKETS):
        for call, errors in calls.items():
            most = counts[call]
            if not most or (only and call != only):
                continue
            for error in [scene.rng.choice(errors)] if short else errors:
                numbers = range(1, most + 1)
                if short:
                    numbers = [scene.rng.randint(1, most)]
                for number in numbers:
                    yield scene.once, call, error, number
    for call, errors in DAEMON.items():
        if only and call != only:
            continue
        for error in [scene.rng.choice(errors)] if short else errors:
            numbers = [scene.rng.randint(1, 12)] if short else range(1, 40)
            for number in numbers:
                yield scene.daemon, call, error, number


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("binary")
    arguments.add_argument("--short", action="store_true", help="one error and one number of each call")
    arguments.add_argument("--only", help="one system call")
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--keep", action="store_true", help="keep the folder")
    given = arguments.parse_args()
    if not may_trace():
        print("strace is not here, or may trace nobody")
        return LEFT_OUT
    folder = pathlib.Path(tempfile.mkdtemp(prefix="hubsyncd-syscalls-"))
    scene = Scene(str(pathlib.Path(given.binary).resolve()), folder, given.seed)
    tried, failed, began = collections.Counter(), [], time.monotonic()
    try:
        for way, call, error, number in plan(scene, given.short, given.only):
            named = f"{way.__name__}: {call} {number} fails with {error}"
            try:
                # A create whose answer is lost is looked for for a minute: in the short form no socket loses one.
                scene.edit(with_create=not (given.short and call in SOCKETS))
                way(call, error, number)
                scene.clean()
                scene.look()
            except (Failure, subprocess.TimeoutExpired, sqlite3.Error) as wrong:
                failed.append(f"{named}: {wrong}")
                print(failed[-1], flush=True)
            tried[call] += 1
    finally:
        scene.end()
        if not given.keep and not failed:
            shutil.rmtree(folder, ignore_errors=True)
    if not given.only and not scene.promised_so_far:
        failed.append("no delivery was answered with 204")
        print(failed[-1])
    told = ", ".join(f"{count} {call}" for call, count in tried.items())
    print(f"{sum(tried.values())} faults in {time.monotonic() - began:.0f} s ({told}), {scene.promised_so_far} deliveries taken: {len(failed)} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    sys.exit(main())
