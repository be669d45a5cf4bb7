#!/usr/bin/env python3
"""The table of docs/disturbances.md, row by row with the real daemon: what stands between it and HubSpot fails in that way, and
`sync_health` has the state, the code and the words of the row; what is written meanwhile waits, and once the disturbance is over it
goes on by itself and the state is `running`.

    tests/disturbances/run.py BINARY [ROW ...]

A row is named by the word in its first column. Needs openssl; without libfaketime (Debian's `faketime`) the rows of a clock that is
set are left out, and said to be.
"""

import concurrent.futures
import glob
import json
import os
import pathlib
import re
import signal
import socket
import sqlite3
import ssl
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "soak")]

from beside import free_port, is_open, until  # noqa: E402
from edits import PEOPLE, TOKEN, Hubspot  # noqa: E402

PAGE = (ROOT / "docs" / "disturbances.md").read_text()


def table():
    """Row's name → (state, code, words); a dash is nothing."""
    rows = {}
    for line in PAGE.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if line.startswith("| `") and len(cells) == 5:
            name, _, state, code, words = (cell.strip("` ") for cell in cells)
            rows[name] = (state, code, words)
    return rows


def answer(status, body="", kind="text/html", more=""):
    body = body.encode()
    return f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\n{more}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body


class Way:
    """A port that hands everything on to HubSpot, or does to each connection what it is told."""

    def __init__(self, hubspot):
        self.hubspot, self.disturbed = hubspot, None
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=100)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            caller, _ = self.listener.accept()
            threading.Thread(target=self.meet, args=(caller,), daemon=True).start()

    def meet(self, caller):
        try:
            disturbed = self.disturbed
            if callable(disturbed):
                disturbed(caller)
                return
            there = socket.create_connection(("127.0.0.1", self.hubspot))
            threading.Thread(target=self.carry, args=(there, caller), daemon=True).start()
            self.carry(caller, there)
        except OSError:
            caller.close()

    def carry(self, one, other):
        """Carries bytes until one side ends, or the disturbance begins."""
        one.settimeout(0.2)
        try:
            while self.disturbed is None:
                try:
                    data = one.recv(65536)
                except TimeoutError:
                    continue
                if not data:
                    break
                other.sendall(data)
        except OSError:
            pass
        for end in (one, other):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


def says(text):
    def meet(caller):
        caller.recv(65536)
        caller.sendall(text)
        caller.close()
    return meet


def hangs_up(caller):
    caller.recv(65536)
    caller.close()


def is_silent(caller):
    caller.recv(65536)
    time.sleep(120)


def odd_certificate(folder):
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "key.pem",
                    "-out", "cert.pem", "-days", "2", "-subj", "/CN=localhost"], cwd=folder, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return lambda caller: context.wrap_socket(caller, server_side=True)


MOVING = json.dumps({"status": "error", "category": "MIGRATION_IN_PROGRESS", "message": "This account is being moved."})
BODIES = {
    "maintenance": says(answer("503 Service Unavailable", "<html><title>Scheduled maintenance</title>Back soon.</html>")),
    "gateway": says(answer("502 Bad Gateway", "<html><center>cloudflare</center></html>")),
    "sign-in": says(answer("200 OK", "<!DOCTYPE html><title>Sign in to the network</title>")),
    "redirect": says(answer("302 Found", more="Location: https://login.example.com/\r\n")),
    "moving": says(answer("477 Migration", MOVING, "application/json", "Retry-After: 1\r\n")),
    "cut": hangs_up,
    "silence": is_silent,
}
# Rows where the address itself leads elsewhere: the file is another one while it lasts.
PROXIES = {"proxy-password": answer("407 Proxy Authentication Required"), "proxy-fails": answer("503 Service Unavailable")}
CLOCKS = ["clock-set-forward", "clock-set-back"]


class Case:
    def __init__(self, binary, name, folder, expected):
        self.binary, self.name, self.folder, self.expected = binary, name, folder, expected
        self.hubspot_port, self.daemon, self.env = free_port(), None, {}
        self.log = open(folder / "log", "w", encoding="utf-8")
        for variable, value in os.environ.items():
            if variable.lower() not in ("https_proxy", "http_proxy", "all_proxy", "no_proxy"):
                self.env[variable] = value
        settings = {"people_token": PEOPLE}
        if name == "clock-off":
            settings["clock_offset_ms"] = 180_000
        (folder / "faults.json").write_text(json.dumps({"settings": settings}))
        (folder / "token").write_text(TOKEN)
        (folder / "token").chmod(0o600)
        self.simulator = subprocess.Popen([binary, "simulate", "--listen", f"127.0.0.1:{self.hubspot_port}", "--records", "10",
                                           "--faults", str(folder / "faults.json")], stdout=self.log, stderr=self.log)
        until("a simulator", lambda: is_open(self.hubspot_port))
        self.way, self.hubspot = Way(self.hubspot_port), Hubspot(self.hubspot_port)
        self.configure(f"http://127.0.0.1:{self.way.port}")

    def configure(self, base):
        (self.folder / "config.toml").write_text(f"""
[portal]
base_url = "{base}"
allow_other_host = true
tier = "professional"
[auth]
access_token = {{ file = "token" }}
[database]
path = "crm.db"
[log]
format = "text"
[schedule]
poll = "1s"
poll_idle = "1s"
[objects.contacts]
""")

    def start(self, **more):
        self.daemon = subprocess.Popen([self.binary, "run", "--config", str(self.folder / "config.toml")], cwd=self.folder,
                                       stdout=self.log, stderr=self.log, env={**self.env, **more})

    def stop(self):
        self.daemon.terminate()
        assert self.daemon.wait(20) == 0, f"{self.name}: ended with {self.daemon.returncode}"

    def query(self, sql, *parameters):
        path = self.folder / "crm.db"
        if not path.exists():
            return (None, None, None)
        try:
            connection = sqlite3.connect(path, timeout=20)
            with connection:
                row = connection.execute(sql, parameters).fetchone()
            connection.close()
            return row
        except sqlite3.OperationalError:
            return (None, None, None)

    def health(self):
        return self.query("SELECT state, code, last_error FROM sync_health")

    def is_as_told(self):
        state, code, words = self.expected
        is_state, is_code, said = self.health()
        return is_state == state and (is_code or "–") == code and (words == "–" or words in (said or ""))

    def until_told(self):
        try:
            until(self.name, self.is_as_told, 150)
        except SystemExit as error:
            raise AssertionError(f"{self.name}: expected {self.expected}, found {self.health()}") from error

    def until_running(self):
        until(f"{self.name}: running", lambda: self.health()[0] == "running", 150)

    def load(self):
        self.start()
        until(f"{self.name}: the first load", lambda: self.query("SELECT count(*) FROM contacts WHERE hs_id IS NOT NULL")[0] == 10, 90)
        if self.name != "clock-off":
            self.until_running()

    def edit_both_sides(self):
        self.query("UPDATE contacts SET city = 'Written meanwhile' WHERE local_id = 1 RETURNING 1")
        one = self.query("SELECT hs_id FROM contacts WHERE local_id = 2")[0]
        self.hubspot.call("PATCH", self.hubspot.objects("contacts", f"/{one}"), {"properties": {"city": "Edited meanwhile"}})

    def until_caught_up(self):
        here = "SELECT count(*) FROM contacts WHERE local_id = 2 AND city = 'Edited meanwhile'"
        until(f"{self.name}: HubSpot's edit is here", lambda: self.query(here)[0] == 1, 150)

        def is_there():
            return "Written meanwhile" in [one["city"] for one in self.hubspot.all("contacts", ["city"]).values()]

        until(f"{self.name}: the local write is there", is_there, 150)

    def run(self):
        getattr(self, "row_" + self.name.replace("-", "_"), self.disturbed)()
        self.stop()

    def disturbed(self):
        """The way is disturbed under a running daemon, and mended again."""
        self.load()
        self.way.disturbed = BODIES[self.name]
        self.edit_both_sides()
        self.until_told()
        self.way.disturbed = None
        self.until_caught_up()
        self.until_running()

    def elsewhere(self, base, **more):
        """The address leads elsewhere at a start, and back again at the next one."""
        own = f"http://127.0.0.1:{self.way.port}"
        self.load()
        self.stop()
        self.edit_both_sides()
        self.configure(base)
        self.start(**more)
        self.until_told()
        self.stop()
        self.configure(own)
        self.start()
        self.until_caught_up()
        self.until_running()

    def row_nobody_listens(self):
        self.elsewhere(f"http://127.0.0.1:{free_port()}")

    def row_no_name(self):
        self.elsewhere("https://api.nowhere.invalid")

    def row_certificate(self):
        self.way.disturbed = None
        other = Way(self.hubspot_port)
        other.disturbed = odd_certificate(self.folder)
        self.elsewhere(f"https://localhost:{other.port}")

    def row_proxy_password(self):
        self.proxied()

    def row_proxy_fails(self):
        self.proxied()

    def proxied(self):
        proxy = Way(self.hubspot_port)
        proxy.disturbed = says(PROXIES[self.name])
        self.elsewhere("https://api.nowhere.invalid", HTTPS_PROXY=f"http://127.0.0.1:{proxy.port}")

    def row_proxy_gone(self):
        self.elsewhere("https://api.nowhere.invalid", HTTPS_PROXY=f"http://127.0.0.1:{free_port()}")

    def row_clock_off(self):
        self.load()
        self.until_told()
        self.edit_both_sides()
        self.until_caught_up()

    def row_suspended(self):
        """A machine that sleeps: the process does nothing for longer than its heartbeat is believed, and wakes up."""
        self.load()
        self.daemon.send_signal(signal.SIGSTOP)
        self.edit_both_sides()
        self.until_told()
        self.daemon.send_signal(signal.SIGCONT)
        self.until_caught_up()
        self.until_running()

    def row_clock_set_forward(self):
        self.clock_set("+26h")

    def row_clock_set_back(self):
        self.clock_set("-26h")

    def clock_set(self, to):
        """This machine's clock is set while the daemon runs; the steady clock is not."""
        (library,) = glob.glob("/usr/lib/*/faketime/libfaketimeMT.so.1")
        rc = self.folder / "faketimerc"
        rc.write_text("+0\n")
        faked = {"LD_PRELOAD": library, "FAKETIME_TIMESTAMP_FILE": str(rc), "FAKETIME_NO_CACHE": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
        self.start(**faked)
        until(f"{self.name}: the first load", lambda: self.query("SELECT count(*) FROM contacts WHERE hs_id IS NOT NULL")[0] == 10, 90)
        rc.write_text(f"{to}\n")
        # What people look at has the time of this test; `sync_health` goes by it as well.
        self.edit_both_sides()
        self.until_caught_up()
        until(self.name, lambda: self.clock_is_told(), 60)
        rc.write_text("+0\n")
        until(f"{self.name}: running", lambda: self.health()[0] == "running", 150)

    def clock_is_told(self):
        words = self.expected[2]
        return words in (self.health()[2] or "")

    def end(self):
        for process in (self.daemon, self.simulator):
            if process is not None and process.poll() is None:
                process.kill()
                process.wait()


def tried(binary, name, expected):
    with tempfile.TemporaryDirectory(prefix=f"hubsyncd-{name}-") as made:
        case = Case(binary, name, pathlib.Path(made), expected)
        try:
            case.run()
        except BaseException as error:
            case.log.flush()
            tail = (case.folder / "log").read_text(errors="replace")[-1500:]
            return f"{name}: {error}\n{tail}"
        finally:
            case.end()
    return None


def main():
    binary, chosen = str(pathlib.Path(sys.argv[1]).resolve()), sys.argv[2:]
    rows = table()
    assert len(rows) > 12, rows.keys()
    names = chosen or list(rows)
    if not glob.glob("/usr/lib/*/faketime/libfaketimeMT.so.1"):
        left_out = [name for name in names if name in CLOCKS]
        names = [name for name in names if name not in CLOCKS]
        if left_out:
            print(f"disturbances: left out without faketime: {', '.join(left_out)}")
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        failed = [said for said in pool.map(lambda name: tried(binary, name, rows[name]), names) if said]
    for said in failed:
        print(f"disturbances: {said}", file=sys.stderr)
    if failed:
        sys.exit(1)
    print(f"disturbances: {len(names)} rows of the table are so, and each goes on by itself afterwards")


if __name__ == "__main__":
    main()
