"""The way between the daemon and HubSpot, with the faults of a bad day: lost requests, lost and cut answers, errors, pages of
proxies, requests that land late. They can be switched off, which those of the simulator can't."""

import http.client
import http.server
import json
import random
import threading
import time

# Shares of requests. Together about one in eight.
FAULTS = {
    "never_arrived": 0.01,
    "answer_lost": 0.015,
    "lands_late": 0.0075,
    "cut_body": 0.0075,
    "half_the_json": 0.005,
    "internal_error": 0.015,
    "unavailable": 0.01,
    "locked": 0.0075,
    "throttled": 0.0075,
    "html_error": 0.0075,
    "html_page": 0.005,
    "slow": 0.015,
    "record_left_out": 0.0125,
}
# Bounds of the time until a late request lands, seconds.
LATE = (1.0, 15.0)
SLOW = (0.5, 3.0)

CLOUDFLARE = b"<html><head><title>502 Bad Gateway</title></head><body><center><h1>502 Bad Gateway</h1></center></body></html>"
PROXY = b"<html><body><h1>Scheduled maintenance</h1><p>We will be back soon.</p></body></html>"


def refusal(category, message):
    return json.dumps({"status": "error", "message": message, "correlationId": "c0ffee00-0000-4000-8000-000000000000",
                       "category": category}).encode()


class Way:
    """A server on a port of its own; `faulty` says whether anything goes wrong, `met` counts what did."""

    def __init__(self, hubspot_port, seed):
        self.hubspot_port, self.faulty, self.met = hubspot_port, False, {}
        self.rng, self.lock = random.Random(seed), threading.Lock()
        way = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def handle_one_request(self):
                try:
                    super().handle_one_request()
                except (ConnectionError, TimeoutError, BrokenPipeError):
                    self.close_connection = True

            def meet(self):
                length = int(self.headers.get("Content-Length") or 0)
                way.carry(self, self.rfile.read(length))

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = meet

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

        self.server = Server(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def draw(self):
        if not self.faulty:
            return None, 0.5
        with self.lock:
            at, more = self.rng.random(), self.rng.random()
            for fault, share in FAULTS.items():
                if at < share:
                    self.met[fault] = self.met.get(fault, 0) + 1
                    return fault, more
                at -= share
        return None, more

    def ask(self, method, path, headers, body):
        connection = http.client.HTTPConnection("127.0.0.1", self.hubspot_port, timeout=60)
        try:
            connection.request(method, path, body or None, headers)
            answer = connection.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        finally:
            connection.close()

    def ask_late(self, seconds, *request):
        time.sleep(seconds)
        try:
            self.ask(*request)
        except (OSError, http.client.HTTPException):
            pass

    def carry(self, caller, body):
        fault, share = self.draw()
        headers = {name: value for name, value in caller.headers.items()
                   if name.lower() not in ("host", "connection", "content-length", "accept-encoding")}
        request = (caller.command, caller.path, headers, body)
        if fault in ("never_arrived", "lands_late"):
            caller.close_connection = True
            if fault == "lands_late":
                seconds = LATE[0] + share * (LATE[1] - LATE[0])
                threading.Thread(target=self.ask_late, args=(seconds, *request), daemon=True).start()
            return
        own = {
            "internal_error": (500, "application/json", refusal("INTERNAL_ERROR", "internal error")),
            "unavailable": (503, "application/json", refusal("SERVICE_UNAVAILABLE", "try again later")),
            "locked": (423, "application/json", refusal("LOCKED", "a process of high volume holds the object")),
            "throttled": (429, "application/json", refusal("RATE_LIMITS", "You have reached your ten_secondly_rolling limit.")),
            "html_error": (502, "text/html", CLOUDFLARE),
            "html_page": (200, "text/html", PROXY),
        }.get(fault)
        if own:
            status, kind, text = own
            self.answer(caller, status, [("Content-Type", kind)], text)
            return
        status, headers, text = self.ask(*request)
        if fault == "answer_lost":
            caller.close_connection = True
            return
        if fault == "slow":
            time.sleep(SLOW[0] + share * (SLOW[1] - SLOW[0]))
        if fault == "record_left_out" and caller.path.split("?")[0].endswith(("/search", "/batch/read")):
            text = without_one(text, share)
        if fault == "half_the_json":
            text = text[:len(text) // 2]
        self.answer(caller, status, headers, text, len(text) // 2 if fault == "cut_body" else None)

    @staticmethod
    def answer(caller, status, headers, text, cut_after=None):
        caller.send_response_only(status)
        for name, value in headers:
            if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                caller.send_header(name, value)
        caller.send_header("Content-Length", str(len(text)))
        caller.end_headers()
        caller.wfile.write(text if cut_after is None else text[:cut_after])
        caller.wfile.flush()
        if cut_after is not None:
            caller.close_connection = True


def without_one(text, share):
    """A page of which one record is missing without a word, as HubSpot's index and store leave some out."""
    try:
        page = json.loads(text)
        results = page["results"]
        del results[int(share * len(results)) % len(results)]
        return json.dumps(page).encode()
    except (ValueError, KeyError, TypeError, ZeroDivisionError):
        return text
