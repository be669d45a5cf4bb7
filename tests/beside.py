"""What the scripts of `tests/` that start programs share."""

import base64
import hashlib
import hmac
import json
import random
import socket
import time
import urllib.error
import urllib.request


def free_port():
    """A port of 127.0.0.1 that nobody has, below those that the kernel gives to connections going out (from 32768 on)."""
    while True:
        port = random.randrange(10_000, 32_000)
        with socket.socket() as listener:
            if listener.connect_ex(("127.0.0.1", port)):
                return port


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


def deliver(port, secret, url, events, seconds=20):
    """Posts events to a webhook listener of 127.0.0.1, signed as HubSpot signs them for the URL that it calls; gives the answer's status."""
    body = json.dumps(events).encode()
    now = str(int(time.time() * 1000))
    digest = hmac.new(secret.encode(), b"POST" + url.encode() + body + now.encode(), hashlib.sha256).digest()
    headers = {"Content-Type": "application/json", "X-HubSpot-Request-Timestamp": now,
               "X-HubSpot-Signature-v3": base64.b64encode(digest).decode()}
    request = urllib.request.Request(f"http://127.0.0.1:{port}/webhooks/hubspot", body, headers, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=seconds) as answer:
            return answer.status
    except urllib.error.HTTPError as refused:
        return refused.code
