#!/usr/bin/env python3
"""Three portals on one machine by the template unit, as docs/portals.md says: three simulators, three mapping files, three daemons
that the lines of `hubsyncd@.service` start, each with its own credential and state folder. None knows of the others: no record, no
token, no stop of one reaches another.

    tests/portals/run.py BINARY
"""

import json
import os
import pathlib
import re
import sqlite3
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from beside import free_port, is_open, until  # noqa: E402

UNIT = ROOT / "systemd" / "hubsyncd@.service"
PAGE = (ROOT / "docs" / "portals.md").read_text()
PORTALS = {"acme": 48150001, "globex": 48150002, "initech": 48150003}
RECORDS = {"acme": 20, "globex": 30, "initech": 40}


def setting(name):
    """The values of a line of the unit, in its order."""
    return [line.split("=", 1)[1] for line in UNIT.read_text().splitlines() if line.startswith(f"{name}=")]


class Instance:
    """What `systemctl start hubsyncd@NAME` makes of the unit."""

    def __init__(self, root, binary, name):
        self.root, self.binary, self.name = root, binary, name
        self.hubspot, self.http, self.process = free_port(), free_port(), None
        self.token = f"pat-na1-{name}-11111111-2222-4333-8444-555555555555"
        self.env = {**os.environ, "CREDENTIALS_DIRECTORY": str(root / "run" / "credentials" / name)}
        self.log = open(root / f"log.{name}", "w", encoding="utf-8")

    def in_root(self, text):
        """A path or line of the unit, for this instance, below the test's own root."""
        text = text.replace("%i", self.name)
        return re.sub(r"/(etc|var/lib)/hubsyncd", lambda found: f"{self.root}/{found.group(1)}/hubsyncd", text)

    def write_files(self):
        etc = pathlib.Path(self.in_root("/etc/hubsyncd/%i"))
        etc.mkdir(parents=True)
        (etc / "token").write_text(self.token)
        (condition,) = setting("ConditionPathExists")
        # The page's file, with what only a test has: a simulator's address, and ports that are free.
        (text,) = re.findall(r"```toml\n(# /etc/hubsyncd/acme/config.toml\n.*?)```", PAGE, re.S)
        for old, new in (("48150001", str(PORTALS[self.name])), ("/var/lib/hubsyncd/acme", self.in_root("/var/lib/hubsyncd/%i")),
                         ("127.0.0.1:9187", f"127.0.0.1:{self.http}"),
                         ("[portal]\n", f'[portal]\nbase_url = "http://127.0.0.1:{self.hubspot}"\n')):
            assert old in text, old
            text = text.replace(old, new)
        pathlib.Path(self.in_root(condition)).write_text(text)
        # LoadCredential=, StateDirectory= and StateDirectoryMode=.
        for line in setting("LoadCredential"):
            credential, path = line.split(":", 1)
            folder = pathlib.Path(self.env["CREDENTIALS_DIRECTORY"])
            folder.mkdir(parents=True, exist_ok=True)
            (folder / credential).write_text(pathlib.Path(self.in_root(path)).read_text())
        (state,) = setting("StateDirectory")
        self.state = pathlib.Path(self.in_root(f"/var/lib/{state}"))
        self.state.mkdir(parents=True)
        self.state.chmod(int(setting("StateDirectoryMode")[0], 8))

    def simulate(self):
        (self.root / f"faults.{self.name}").write_text(json.dumps({"settings": {"portal_id": PORTALS[self.name]}}))
        simulator = subprocess.Popen([self.binary, "simulate", "--listen", f"127.0.0.1:{self.hubspot}", "--token", self.token,
                                      "--records", str(RECORDS[self.name]), "--seed", str(PORTALS[self.name]),
                                      "--faults", str(self.root / f"faults.{self.name}")], stdout=self.log, stderr=self.log)
        until("a simulator", lambda: is_open(self.hubspot))
        return simulator

    def command(self):
        (line,) = setting("ExecStart")
        words = self.in_root(line).split()
        assert words[0] == "/usr/local/bin/hubsyncd", words
        return [self.binary, *words[1:]]

    def start(self):
        self.process = subprocess.Popen(self.command(), stdout=self.log, stderr=self.log, env=self.env,
                                        umask=int(setting("UMask")[0], 8))

    def number(self, sql):
        path = self.state / "crm.db"
        if not path.exists():
            return None
        try:
            connection = sqlite3.connect(path, timeout=20)
            with connection:
                return connection.execute(sql).fetchone()[0]
        except sqlite3.OperationalError:
            return None


def main():
    binary = str(pathlib.Path(sys.argv[1]).resolve())
    with tempfile.TemporaryDirectory(prefix="hubsyncd-portals-") as made:
        root = pathlib.Path(made)
        instances = [Instance(root, binary, name) for name in PORTALS]
        simulators = []
        try:
            for one in instances:
                one.write_files()
                simulators.append(one.simulate())
                one.start()
            for one in instances:
                until(f"{one.name} runs", lambda one=one: one.number("SELECT state = 'running' FROM sync_health") == 1, 60)
                assert one.number("SELECT portal_id FROM sync_health") == PORTALS[one.name], one.name
                assert one.number("SELECT count(*) FROM contacts") == RECORDS[one.name], one.name
                assert is_open(one.http), one.name
                assert (one.state / "crm.db").stat().st_mode & 0o777 == 0o660, oct((one.state / "crm.db").stat().st_mode)
            # Each has its own word.
            for one in instances:
                one.number(f"INSERT INTO contacts (email) VALUES ('only@{one.name}.example') RETURNING 1")
            for one in instances:
                until(f"{one.name} pushes", lambda one=one: one.number(
                    f"SELECT count(hs_id) FROM contacts WHERE email = 'only@{one.name}.example'") == 1, 60)
                assert one.number("SELECT count(*) FROM contacts WHERE email LIKE 'only@%'") == 1, one.name
            # The end of one is none of another's.
            first, *others = instances
            first.process.terminate()
            assert first.process.wait(20) == 0
            for one in others:
                assert one.process.poll() is None and one.number("SELECT state = 'running' FROM sync_health") == 1, one.name
            # Another portal's token in the place of its own ends the start with 78, and nothing was written.
            credential = pathlib.Path(first.env["CREDENTIALS_DIRECTORY"]) / "hubspot_token"
            own, before = credential.read_text(), first.number("SELECT count(*) FROM sync_history")
            text = pathlib.Path(first.in_root("/etc/hubsyncd/%i/config.toml"))
            whole = text.read_text()
            credential.write_text(others[0].token)
            text.write_text(whole.replace(str(first.hubspot), str(others[0].hubspot)))
            refused = subprocess.run(first.command(), env=first.env, check=False, capture_output=True, text=True)
            assert refused.returncode == 78 and f"the token is for portal {PORTALS[others[0].name]}" in refused.stderr, refused
            assert first.number("SELECT count(*) FROM sync_history") == before
            credential.write_text(own)
            text.write_text(whole)
            first.start()
            until("it is back", lambda: first.number("SELECT state = 'running' FROM sync_health") == 1, 60)
            # Two instances on one database: the second one ends with a sentence.
            second = subprocess.run(first.command(), env=first.env, check=False, capture_output=True, text=True)
            assert second.returncode == 1 and "[" in second.stderr, second
            for one in instances:
                status = subprocess.run([binary, "status", "--exit-code", "--config", one.in_root("/etc/hubsyncd/%i/config.toml")],
                                        env=one.env, check=False, capture_output=True, text=True)
                assert status.returncode == 0 and str(PORTALS[one.name]) in status.stdout, status
        except BaseException:
            for one in instances:
                one.log.flush()
                print(one.name, (root / f"log.{one.name}").read_text()[-2000:], file=sys.stderr)
            raise
        finally:
            for process in [one.process for one in instances] + simulators:
                if process is not None:
                    process.terminate()
            for process in [one.process for one in instances] + simulators:
                if process is not None:
                    process.wait(20)
    print("portals: three instances of the template unit, each with its own portal, token, database and end")


main()
