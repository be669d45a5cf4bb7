"""What the scripts of `tests/` that start programs share."""

import socket
import time


def free_port():
    """A port of 127.0.0.1 that nobody has at this moment."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def until(what, holds, seconds=30):
    """Waits until something holds, at most so many seconds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if holds():
            return
        time.sleep(0.05)
    raise SystemExit(f"this never came: {what}")


def is_open(port):
    """Whether somebody listens on a port of 127.0.0.1."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0
