#!/usr/bin/env python3
"""The packages of `make package`, installed where nothing of a compiler is: the .deb by dpkg in a small Debian of its own, the
binary in a root that holds the C library and libgcc_s alone, the wheel by pip.

    tests/package/run.py DIST
"""

import pathlib
import shutil
import subprocess
import sys
import tempfile

# What the binary may need of a machine (contract: glibc 2.34 and libgcc_s).
LIBRARIES = {"libc.so.6", "libm.so.6", "libgcc_s.so.1", "ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1"}
NEWEST_GLIBC = (2, 34)
KEPT = "var/lib/hubsyncd/crm.db"


def run(*command, **options):
    done = subprocess.run(command, capture_output=True, text=True, **options)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(map(str, command))} ended with {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done.stdout + done.stderr


def only(dist, pattern):
    found = sorted(dist.glob(pattern))
    if len(found) != 1:
        raise SystemExit(f"one {pattern} was expected in {dist}, found {found}")
    return found[0]


def demo(*before):
    """The tour of the binary, started by these words, ends well."""
    told = run(*before, "demo", "--once")
    if "undo" not in told:
        raise SystemExit(f"that is no tour:\n{told}")


def needs_little(binary):
    """The binary in a root of its own, with the C library and libgcc_s and nothing else."""
    linked = {}
    for line in run("ldd", binary).splitlines():
        words = line.split()
        path = next((word for word in words if word.startswith("/")), None)
        if path:
            linked[pathlib.Path(words[0]).name] = path
    if set(linked) - LIBRARIES:
        raise SystemExit(f"it needs more than the C library: {sorted(set(linked) - LIBRARIES)}")
    versions = {
        tuple(int(part) for part in word.split("GLIBC_")[1].rstrip(")").split("."))
        for word in run("objdump", "-T", binary).split()
        if "GLIBC_2" in word
    }
    if max(versions) > NEWEST_GLIBC:
        raise SystemExit(f"it needs glibc {max(versions)}")
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        for name in ("tmp", "proc", "dev"):
            (root / name).mkdir()
        for name, path in linked.items():
            # The loader is found by the path that the binary names, the others in /lib.
            place = root / (path.lstrip("/") if name.startswith("ld-") else f"lib/{name}")
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, place)
        shutil.copy(binary, root / "hubsyncd")
        demo("bwrap", "--unshare-all", "--bind", folder, "/", "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "/hubsyncd")
    print("the binary runs with glibc", ".".join(map(str, max(versions))), "and", ", ".join(sorted(linked)))


def installs(package, root):
    """The package in a Debian without a compiler: installed, upgraded, removed, purged."""
    run("mmdebstrap", "--variant=minbase", "bookworm", root)
    inside = ("chroot", root)
    shutil.copy(package, root / "tmp/hubsyncd.deb")
    dpkg = (*inside, "env", "DEBIAN_FRONTEND=noninteractive", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "dpkg")
    run(*dpkg, "--install", "/tmp/hubsyncd.deb")
    if subprocess.run([*inside, "sh", "-c", "command -v cc"], capture_output=True).returncode == 0:
        raise SystemExit("there is a compiler")
    for folder, expected in (("/var/lib/hubsyncd", "2770 hubsyncd hubsyncd"), ("/etc/hubsyncd", "750 root hubsyncd")):
        seen = run(*inside, "stat", "-c", "%a %U %G", folder).strip()
        if seen != expected:
            raise SystemExit(f"{folder} is {seen}, not {expected}")
    # The tour starts the program that it is by /proc.
    demo("bwrap", "--bind", root, "/", "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "hubsyncd")
    example = "/usr/share/doc/hubsyncd/examples/config.example.toml"
    run(*inside, "hubsyncd", "check", "--config", example)
    (root / KEPT).write_text("rows")
    told = run(*dpkg, "--install", "/tmp/hubsyncd.deb")
    print("installed and installed over:", told.strip().splitlines()[-1])
    run(*dpkg, "--remove", "hubsyncd")
    told = run(*dpkg, "--purge", "hubsyncd")
    if not (root / KEPT).exists() or "/var/lib/hubsyncd stays" not in told:
        raise SystemExit(f"the database is gone, or nobody says where it is:\n{told}")
    run(*dpkg, "--install", "/tmp/hubsyncd.deb")
    answer = "hubsyncd hubsyncd/remove-data boolean true"
    run(*inside, "sh", "-c", f"echo {answer} | debconf-set-selections")
    run(*dpkg, "--purge", "hubsyncd")
    if (root / "var/lib/hubsyncd").exists():
        raise SystemExit("the answer was yes, and the database is there")
    print("the .deb: installed, upgraded, removed, purged without an answer and with one")


def wheel(package):
    """The wheel by pip, in an environment of its own."""
    with tempfile.TemporaryDirectory() as folder:
        run(sys.executable, "-m", "venv", folder)
        run(f"{folder}/bin/pip", "install", "--no-index", "--quiet", package)
        demo(f"{folder}/bin/hubsyncd")
    print("the wheel: installed by pip, and the tour runs")


def main():
    dist = pathlib.Path(sys.argv[1]).resolve()
    package = only(dist, "hubsyncd_*.deb")
    with tempfile.TemporaryDirectory() as folder:
        run("dpkg-deb", "--extract", package, folder)
        needs_little(pathlib.Path(folder) / "usr/bin/hubsyncd")
    # A folder for a root that other users can walk through.
    with tempfile.TemporaryDirectory() as folder:
        pathlib.Path(folder).chmod(0o755)
        installs(package, pathlib.Path(folder) / "root")
    wheel(only(dist, "hubsyncd-*-py3-none-manylinux_2_34_*.whl"))


if __name__ == "__main__":
    main()
