#!/usr/bin/env python3
"""Runs the examples of docs/clients.md with the clients themselves, on a database of `hubsyncd demo`.

Usage: tests/clients/run.py path/to/hubsyncd [client ...]
The clients come from PyPI and npm into target/clients; those named are run, else all. The first failure ends the run.
"""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
HERE = ROOT / "tests" / "clients"
PLACE = ROOT / "target" / "clients"


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


def duck_home():
    """A home folder where DuckDB finds the extension of its package installed, so that INSTALL fetches nothing."""
    (shipped,) = PLACE.glob("venv/lib/python*/site-packages/duckdb_ext/extensions")
    home = PLACE / "home"
    shutil.copytree(shipped, home / ".duckdb" / "extensions", dirs_exist_ok=True)
    return home


def modules():
    """better-sqlite3; where no built one is to be had, built with node's own headers, which npm else fetches from a host of its own."""
    node = pathlib.Path(shutil.which("node") or "/usr/bin/node").resolve().parents[1]
    env = {**os.environ}
    if (node / "include" / "node").exists():
        env["npm_config_nodedir"] = str(node)
    if not (PLACE / "node_modules" / "better-sqlite3").exists():
        subprocess.run(["npm", "install", "--silent", "--prefix", PLACE, "better-sqlite3@12"], check=True, env=env)
    return PLACE / "node_modules"


def examples():
    """Client, language and text of each example."""
    page = (ROOT / "docs" / "clients.md").read_text()
    blocks = re.findall(r"^```(python|js|sh)\n(?:#|//) (?:python: |node: )?([\w-]+)\n(.*?)^```", page, re.S | re.M)
    return [(client, language, text) for language, client, text in blocks]


def datasette(binaries, folder):
    """Answers a page of each kind without a server."""
    shutil.copy(ROOT / "docs" / "datasette.json", folder)
    for path in ("/", "/crm", "/crm/sync_history", "/crm/contacts_labels.json?_size=2", "/crm/health.json", "/crm/sync_status"):
        command = [binaries / "datasette", "crm.db", "--metadata", "datasette.json", "--get", path]
        answer = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        if answer.returncode != 0:
            sys.exit(f"clients: datasette {path}: {answer.stdout[-2000:]}{answer.stderr[-2000:]}")
        if ".json" in path:
            assert json.loads(answer.stdout)["rows"], path


def main():
    hubsyncd, chosen = pathlib.Path(sys.argv[1]).resolve(), sys.argv[2:]
    binaries = environment()
    with tempfile.TemporaryDirectory() as folder:
        place = pathlib.Path(folder) / "demo"
        subprocess.run([hubsyncd, "demo", "--once", "--records", "50", "--dir", place], check=True, stdout=subprocess.DEVNULL)
        for client, language, text in examples():
            if chosen and client not in chosen:
                continue
            if language == "sh":
                datasette(binaries, place)
            else:
                command, env = [binaries / "python", "-c", text], None
                if client == "duckdb":
                    env = {"HOME": str(duck_home())}
                if language == "js":
                    command, env = ["node", "-e", text], {"NODE_PATH": str(modules()), "PATH": "/usr/bin:/bin:/usr/local/bin"}
                run = subprocess.run(command, cwd=place, env=env, capture_output=True, text=True, check=False)
                if run.returncode != 0:
                    sys.exit(f"clients: {client}: {run.stdout[-2000:]}{run.stderr[-2000:]}")
            print(f"clients: {client} does as the manual says")


main()
