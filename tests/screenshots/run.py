#!/usr/bin/env python3
"""The pictures of the page on `[http]` in the manual: a daemon with something to show, and Chromium at a desk and on a telephone, light
and dark. Each stays under 100 KB, and each shows the page: where it is not drawn, the picture would be of one colour.

    tests/screenshots/run.py BINARY [FOLDER]

Into docs/images, or a folder. Needs chromium (Debian's) and python3.
"""

import json
import os
import pathlib
import sqlite3
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "soak")]

from beside import free_port, is_open, until  # noqa: E402
from edits import PEOPLE, TOKEN, Hubspot  # noqa: E402

# Name, width and height in the page's own pixels.
SIZES = [("desk", 1000, 760), ("telephone", 390, 844)]
# Blink's names of what the person prefers.
SCHEMES = [("dark", 0), ("light", 1)]
MOST_BYTES = 100_000

CONFIG = """
[portal]
base_url = "http://127.0.0.1:{hubspot}"
tier = "professional"
[auth]
access_token = {{ file = "token" }}
[database]
path = "crm.db"
[schedule]
poll = "1s"
poll_idle = "1s"
[conflicts]
policy = "manual"
[http]
listen = "127.0.0.1:{page}"
[objects.contacts]
[objects.companies]
[objects.deals]
"""


class Site:
    """A daemon whose day has something of each kind in it."""

    def __init__(self, binary, folder):
        self.folder, self.started = folder, []
        self.hubspot_port, self.page = free_port(), free_port()
        (folder / "faults.json").write_text(json.dumps({"settings": {"people_token": PEOPLE}}))
        (folder / "token").write_text(TOKEN)
        (folder / "token").chmod(0o600)
        (folder / "config.toml").write_text(CONFIG.format(hubspot=self.hubspot_port, page=self.page))
        self.log = open(folder / "log", "w", encoding="utf-8")
        self.start(binary, "simulate", "--listen", f"127.0.0.1:{self.hubspot_port}", "--records", "2400",
                   "--faults", str(folder / "faults.json"))
        until("the simulator", lambda: is_open(self.hubspot_port))
        self.start(binary, "run", "--config", str(folder / "config.toml"))
        until("the first load", lambda: self.number("SELECT min(backfill = 'done') FROM sync_status") == 1, 120)

    def start(self, *command):
        self.started.append(subprocess.Popen(command, cwd=self.folder, stdout=self.log, stderr=self.log))

    def number(self, sql):
        if not (self.folder / "crm.db").exists():
            return None
        try:
            with sqlite3.connect(self.folder / "crm.db", timeout=20) as connection:
                row = connection.execute(sql).fetchone()
            return row and row[0]
        except sqlite3.OperationalError:
            return None

    def live(self):
        """Edits on both sides, one conflict, one entry that HubSpot refuses."""
        hubspot = Hubspot(self.hubspot_port)
        ids = [self.number(f"SELECT hs_id FROM contacts WHERE local_id = {row}") for row in range(1, 9)]
        for number, city in enumerate(["Lima", "Oslo", "Kiel", "Rome"]):
            self.number(f"UPDATE contacts SET city = '{city}' WHERE local_id = {number + 10} RETURNING 1")
            hubspot.call("PATCH", hubspot.objects("contacts", f"/{ids[number]}"), {"properties": {"city": city}})
        until("what was written is in HubSpot", lambda: self.number("SELECT count(*) FROM sync_outbox") == 0, 60)
        self.number("INSERT INTO sync_commands (command, argument) VALUES ('pause', 'pull') RETURNING 1")
        until("the pause", lambda: self.number("SELECT count(*) FROM sync_commands WHERE state = 'done'") == 1)
        hubspot.call("PATCH", hubspot.objects("contacts", f"/{ids[7]}"), {"properties": {"jobtitle": "Engineer"}})
        self.number("UPDATE contacts SET jobtitle = 'Director' WHERE local_id = 8 RETURNING 1")
        until("the conflict", lambda: self.number("SELECT count(*) FROM sync_conflicts") == 1, 60)
        self.number("INSERT INTO contacts (email) VALUES ('no address') RETURNING 1")
        until("the refusal", lambda: self.number("SELECT count(*) FROM sync_outbox WHERE state = 'dead'") == 1, 60)
        self.number("INSERT INTO sync_commands (command) VALUES ('resume') RETURNING 1")
        until("it runs", lambda: self.number("SELECT state = 'running' FROM sync_health") == 1, 60)

    def end(self):
        for process in reversed(self.started):
            process.terminate()
            process.wait(30)


def picture(page, path, size, scheme):
    _, width, height = size
    with tempfile.TemporaryDirectory(prefix="hubsyncd-chromium-") as profile:
        subprocess.run(["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--user-data-dir={profile}",
                        f"--window-size={width},{height}", f"--blink-settings=preferredColorScheme={scheme[1]}",
                        "--virtual-time-budget=8000", f"--screenshot={path}", f"http://127.0.0.1:{page}/"],
                       check=True, capture_output=True, timeout=120)
    size_bytes = path.stat().st_size
    assert 5_000 < size_bytes < MOST_BYTES, f"{path.name}: {size_bytes} bytes"


def main():
    binary = str(pathlib.Path(sys.argv[1]).resolve())
    folder = pathlib.Path(sys.argv[2] if len(sys.argv) > 2 else ROOT / "docs" / "images")
    folder.mkdir(parents=True, exist_ok=True)
    os.environ.pop("HUBSPOT_ACCESS_TOKEN", None)
    with tempfile.TemporaryDirectory(prefix="hubsyncd-page-") as made:
        site = Site(binary, pathlib.Path(made))
        try:
            site.live()
            for size in SIZES:
                for scheme in SCHEMES:
                    picture(site.page, folder / f"page-{size[0]}-{scheme[0]}.png", size, scheme)
        finally:
            site.end()
    print(f"screenshots: {len(SIZES) * len(SCHEMES)} pictures of the page in {folder}")


if __name__ == "__main__":
    main()
