#!/usr/bin/env python3
"""The recipes of docs/webhooks.md for Caddy and nginx, run as they stand there: a delivery signed for the public URL gets
through TLS, proxy and signature check, a forged one and one that is too large do not."""

import base64
import hashlib
import hmac
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from beside import free_port, is_open, until  # noqa: E402

HOST = "sync.example.com"
URL = f"https://{HOST}/webhooks/hubspot"
SECRET = "a-secret-of-this-test"
TOKEN = "pat-na1-51111111-2222-4333-8444-555555555555"


def recipes():
    text = (ROOT / "docs" / "webhooks.md").read_text()
    blocks = re.findall(r"### Behind (\w+)\n\n```\n(.*?)```", text, re.S)
    found = dict(blocks)
    assert set(found) == {"Caddy", "nginx"}, found.keys()
    return found


def post(folder, port, body, headers):
    command = ["curl", "--silent", "--output", "/dev/null", "--write-out", "%{http_code}", "--max-time", "20",
               "--cacert", str(folder / "cert.pem"), "--resolve", f"{HOST}:{port}:127.0.0.1",
               "--header", "Content-Type: application/json", "--data-binary", "@-"]
    for name, value in headers.items():
        command += ["--header", f"{name}: {value}"]
    command.append(f"https://{HOST}:{port}/webhooks/hubspot?src=hs%3Aapp")
    done = subprocess.run(command, input=body, capture_output=True, check=False)
    return int(done.stdout or b"0")


def signed(body):
    now = str(int(time.time() * 1000))
    # HubSpot signs the URL that it calls, some escapes decoded.
    message = b"POST" + f"{URL}?src=hs:app".encode() + body + now.encode()
    digest = hmac.new(SECRET.encode(), message, hashlib.sha256).digest()
    return {"X-HubSpot-Signature-v3": base64.b64encode(digest).decode(), "X-HubSpot-Request-Timestamp": now}


def proxy_command(name, recipe, folder, port, daemon_port):
    recipe = recipe.replace("127.0.0.1:8787", f"127.0.0.1:{daemon_port}")
    cert, key = folder / "cert.pem", folder / "key.pem"
    if name == "Caddy":
        head = f"{{\n    admin off\n    http_port {free_port()}\n    https_port {port}\n    auto_https disable_redirects\n}}\n"
        site = recipe.replace(f"{HOST} {{", f"{HOST} {{\n    tls {cert} {key}", 1)
        (folder / "Caddyfile").write_text(head + site)
        return ["caddy", "run", "--adapter", "caddyfile", "--config", str(folder / "Caddyfile")]
    site = recipe.replace("listen 443 ssl", f"listen 127.0.0.1:{port} ssl")
    site = re.sub(r"/etc/ssl/\S+/fullchain.pem", str(cert), site)
    site = re.sub(r"/etc/ssl/\S+/privkey.pem", str(key), site)
    temp = "".join(f"{kind}_temp_path {folder}/{kind};\n" for kind in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"])
    (folder / "nginx.conf").write_text(
        f"daemon off;\nerror_log stderr;\npid {folder}/nginx.pid;\nevents {{}}\nhttp {{\naccess_log off;\n{temp}{site}}}\n")
    return ["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf")]


def check(name, recipe, binary, folder):
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                    "-keyout", "key.pem", "-out", "cert.pem", "-days", "2", "-subj", f"/CN={HOST}",
                    "-addext", f"subjectAltName=DNS:{HOST}"], cwd=folder, check=True, capture_output=True)
    daemon_port, port, hubspot_port = free_port(), free_port(), free_port()
    (folder / "token").write_text(TOKEN)
    (folder / "secret").write_text(SECRET)
    (folder / "config.toml").write_text(f"""
[portal]
base_url = "http://127.0.0.1:{hubspot_port}"
[auth]
access_token = {{ file = "token" }}
[database]
path = "crm.db"
[log]
format = "text"
[webhooks]
listen = "127.0.0.1:{daemon_port}"
public_url = "{URL}"
client_secret = {{ file = "secret" }}
[objects.contacts]
""")
    log = open(folder / "log", "w", encoding="utf-8")
    started = []

    def start(command):
        started.append(subprocess.Popen(command, cwd=folder, stdout=log, stderr=log))

    try:
        start([binary, "simulate", "--listen", f"127.0.0.1:{hubspot_port}", "--records", "4"])
        until("the simulator", lambda: is_open(hubspot_port))
        start([binary, "run", "--config", "config.toml"])
        start(proxy_command(name, recipe, folder, port, daemon_port))
        until("the daemon", lambda: is_open(daemon_port))
        until(name, lambda: is_open(port))
        event = {"eventId": 1, "subscriptionId": 7, "portalId": 48151623, "appId": 1, "occurredAt": int(time.time() * 1000),
                 "subscriptionType": "contact.creation", "attemptNumber": 0, "objectId": 424242}
        body = json.dumps([event]).encode()
        until("the portal is known", lambda: post(folder, port, body, signed(body)) == 204)
        forged = {**signed(body), "X-HubSpot-Signature-v3": "AAAA"}
        assert post(folder, port, body, forged) == 401
        large = b" " * (2 << 20)
        answer = post(folder, port, large, signed(large))
        assert answer == 413, answer
        print(f"{name}: signed 204, forged 401, too large 413")
    except BaseException:
        log.flush()
        print((folder / "log").read_text()[-3000:], file=sys.stderr)
        raise
    finally:
        for process in reversed(started):
            process.terminate()
        for process in started:
            process.wait(timeout=20)


def main():
    binary = str(pathlib.Path(sys.argv[1]).resolve())
    for name, recipe in recipes().items():
        with tempfile.TemporaryDirectory() as folder:
            check(name, recipe, binary, pathlib.Path(folder))


main()
