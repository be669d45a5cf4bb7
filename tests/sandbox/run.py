#!/usr/bin/env python3
"""The service in the sandbox of its unit, without systemd: the unit's own system-call filter as a seccomp program, its read-only
file system, its empty capabilities and its namespaces by bubblewrap. The daemon loads, takes webhooks and local writes, and
pushes, in there.

    tests/sandbox/run.py BINARY
"""

import os
import pathlib
import re
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time

import seccomp

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from beside import deliver, free_port, is_open, until  # noqa: E402

UNIT = ROOT / "systemd" / "hubsyncd.service"
RECORDS = 3000
SECRET = "a-secret-of-this-test"
MOST_EXPOSED = 1.5


def settings(name):
    lines = UNIT.read_text().splitlines()
    return [line.split("=", 1)[1] for line in lines if line.startswith(f"{name}=")]


def calls_of(words):
    """The system calls that a line of SystemCallFilter= names, its groups by systemd's own list."""
    found = set()
    for word in words.split():
        if not word.startswith("@"):
            found.add(word)
            continue
        listed = subprocess.run(["systemd-analyze", "syscall-filter", word], check=True, capture_output=True, text=True)
        for line in listed.stdout.splitlines()[1:]:
            name = line.strip()
            if name and not name.startswith("#"):
                found |= calls_of(name) if name.startswith("@") else {name}
    return found


# What systemd's filter lets through beside the unit's words: how a program is started, and how it ends.
ALWAYS = {"execve", "exit", "exit_group", "rt_sigreturn", "sigreturn", "getrlimit", "time", "nanosleep", "clock_nanosleep",
          "restart_syscall", "arch_prctl"}


# A file's mode with the set-user-id or set-group-id bit, and memory that can be written and run.
SUID, WRITE, EXEC = 0o6000, 2, 4
# RestrictAddressFamilies=, RestrictSUIDSGID= and MemoryDenyWriteExecute=: calls that are allowed with some arguments.
CONDITIONS = {
    "socket": [[seccomp.Arg(0, seccomp.EQ, family)] for family in (socket.AF_UNIX, socket.AF_INET, socket.AF_INET6)],
    "chmod": [[seccomp.Arg(1, seccomp.MASKED_EQ, SUID, 0)]],
    "fchmod": [[seccomp.Arg(1, seccomp.MASKED_EQ, SUID, 0)]],
    "fchmodat": [[seccomp.Arg(2, seccomp.MASKED_EQ, SUID, 0)]],
    "mmap": [[seccomp.Arg(2, seccomp.MASKED_EQ, WRITE, 0)], [seccomp.Arg(2, seccomp.MASKED_EQ, EXEC, 0)]],
    "mprotect": [[seccomp.Arg(2, seccomp.MASKED_EQ, EXEC, 0)]],
}
SWITCHES = {"RestrictSUIDSGID": "yes", "MemoryDenyWriteExecute": "yes", "RestrictAddressFamilies": "AF_INET AF_INET6 AF_UNIX"}


def seccomp_program(folder):
    """The unit's filter, as systemd reads it: the first line is what is allowed, a later one with ~ takes away from it."""
    for name, value in SWITCHES.items():
        assert settings(name) == [value], name
    first, *rest = settings("SystemCallFilter")
    assert not first.startswith("~"), first
    allowed = calls_of(first)
    for line in rest:
        allowed = allowed - calls_of(line[1:]) if line.startswith("~") else allowed | calls_of(line)
    made = seccomp.SyscallFilter(seccomp.ERRNO(1))
    for name in sorted(allowed | ALWAYS):
        for arguments in CONDITIONS.get(name, [[]]):
            try:
                made.add_rule(seccomp.ALLOW, name, *arguments)
            except RuntimeError:
                pass  # A call of another architecture.
    path = folder / "filter.bpf"
    with open(path, "wb") as file:
        made.export_bpf(file)
    return path, len(allowed)


def exposure():
    """What systemd says of the unit; the last line ends with a figure and a word."""
    said = subprocess.run(["systemd-analyze", "security", "--offline=true", "--no-pager", str(UNIT)],
                          check=False, capture_output=True, text=True)
    line = said.stdout.strip().splitlines()[-1]
    return float(line.split(":", 1)[1].split()[0])


def verify(folder):
    """systemd has nothing to say against any unit, but that what they run is not installed here."""
    units = []
    for unit in sorted((ROOT / "systemd").glob("hubsyncd*.*")):
        if unit.suffix in (".service", ".socket", ".timer"):
            copy = folder / unit.name.replace("@.", "@acme.")
            copy.write_text(re.sub(r"=/usr/local/\S+", "=/bin/true", unit.read_text()))
            units.append(str(copy))
    assert len(units) >= 5, units
    said = subprocess.run(["systemd-analyze", "verify", "--man=no", *units], check=False, capture_output=True, text=True)
    about_ours = [line for line in (said.stdout + said.stderr).splitlines() if "hubsyncd" in line]
    assert not about_ours, about_ours


def main():
    binary = pathlib.Path(sys.argv[1]).resolve()
    exposed = exposure()
    assert exposed <= MOST_EXPOSED, exposed
    with tempfile.TemporaryDirectory() as made:
        folder = pathlib.Path(made)
        verify(folder)
        state, etc = folder / "state", folder / "etc"
        state.mkdir(mode=0o2770)
        os.chmod(state, 0o2770)
        etc.mkdir()
        hubspot, webhooks, health = free_port(), free_port(), free_port()
        url = "https://sync.example.com/webhooks/hubspot"
        (etc / "token").write_text("pat-na1-51111111-2222-4333-8444-555555555555")
        (etc / "secret").write_text(SECRET)
        (etc / "config.toml").write_text(f"""
[portal]
base_url = "http://127.0.0.1:{hubspot}"
tier = "professional"
[auth]
access_token = {{ credential = "token" }}
[database]
path = "{state}/crm.db"
[schedule]
poll = "1s"
[http]
listen = "127.0.0.1:{health}"
[webhooks]
listen = "127.0.0.1:{webhooks}"
public_url = "{url}"
client_secret = {{ credential = "secret" }}
[objects.contacts]
[objects.companies]
""")
        program, calls = seccomp_program(folder)
        log = open(folder / "log", "w", encoding="utf-8")
        started = []
        try:
            started.append(subprocess.Popen([binary, "simulate", "--listen", f"127.0.0.1:{hubspot}",
                                             "--records", str(RECORDS)], stdout=log, stderr=log))
            until("the simulator", lambda: is_open(hubspot))
            bpf = os.open(program, os.O_RDONLY)
            sandbox = ["bwrap", "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "--tmpfs", "/tmp", "--tmpfs", "/var/tmp",
                       "--tmpfs", "/home", "--ro-bind", str(binary), "/tmp/hubsyncd", "--ro-bind", str(etc), str(etc),
                       "--bind", str(state), str(state), "--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts",
                       "--cap-drop", "ALL", "--die-with-parent", "--setenv", "CREDENTIALS_DIRECTORY", str(etc),
                       "--seccomp", str(bpf)]
            # What the unit forbids is forbidden here too.
            for forbidden in ["import os; os.setpriority(os.PRIO_PROCESS, 0, 5)", "import socket; socket.socket(16, 3)",
                              f"import os; os.chmod('{state}', 0o2770)", f"open('{etc}/token', 'a')"]:
                tried = subprocess.run([*sandbox, "python3", "-c", forbidden], pass_fds=[bpf], check=False, capture_output=True)
                assert tried.returncode == 1 and b"Error: [Errno" in tried.stderr, (forbidden, tried.stderr)
                os.lseek(bpf, 0, os.SEEK_SET)
            sandbox += ["/tmp/hubsyncd", "run", "--config", str(etc / "config.toml")]
            daemon = subprocess.Popen(sandbox, stdout=log, stderr=log, pass_fds=[bpf], umask=0o007)
            started.append(daemon)
            database = state / "crm.db"

            def number(sql):
                if not database.exists():
                    return None
                try:
                    with sqlite3.connect(database, timeout=10) as connection:
                        return connection.execute(sql).fetchone()[0]
                except sqlite3.OperationalError:
                    return None

            until("the first load", lambda: number("SELECT min(backfill = 'done') FROM sync_status") == 1)
            assert number("SELECT count(*) FROM contacts") > 0
            one = number("SELECT min(hs_id) FROM contacts")
            with sqlite3.connect(database, timeout=10) as connection:
                connection.execute("UPDATE contacts SET city = 'Oslo'")
                connection.execute("INSERT INTO contacts (email) VALUES ('in.a.sandbox@example.com')")
            event = {"eventId": 1, "subscriptionId": 1, "portalId": number("SELECT portal_id FROM sync_health"), "appId": 1,
                     "occurredAt": int(time.time() * 1000), "subscriptionType": "contact.propertyChange", "attemptNumber": 0,
                     "objectId": one, "propertyName": "city", "propertyValue": "Oslo", "changeSource": "CRM"}
            assert deliver(webhooks, SECRET, url, [event]) == 204
            until("all is pushed", lambda: number("SELECT count(*) FROM sync_outbox") == 0, 120)
            until("the webhook is done", lambda: number("SELECT count(*) FROM sync_inbox WHERE state = 'pending'") == 0)
            state_now = number("SELECT state FROM sync_health")
            assert state_now == "running", state_now
            assert is_open(health)
            daemon.terminate()
            until("it ends", lambda: daemon.poll() is not None)
            assert number("PRAGMA quick_check") == "ok"
        except BaseException:
            sys.stderr.write((folder / "log").read_text()[-4000:])
            raise
        finally:
            for process in started:
                process.kill()
    print(f"the service works in its sandbox: exposure {exposed}, {calls} system calls allowed, {RECORDS} contacts loaded and pushed")


main()
