"""What people and programs do meanwhile: writes by SQL from several processes, and edits in HubSpot through its API. Each edit of
a record's city is noted, so that the last word can be told afterwards."""

import http.client
import json
import random
import sqlite3
import time

VERSION = "2026-03"
TOKEN = "pat-na1-51111111-2222-4333-8444-555555555555"
# With this one the simulator takes a write for a person's.
PEOPLE = "pat-na1-people-1111-2222-4333-8444-555555555555"
STAGES = ["appointmentscheduled", "qualifiedtobuy", "presentationscheduled"]


class Hubspot:
    """HubSpot as people use it, around the faulty way: the stand-in's API, with a token of theirs."""

    def __init__(self, port, token=PEOPLE):
        self.port, self.token, self.connection = port, token, None

    def call(self, method, path, body=None):
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        text = None if body is None else json.dumps(body)
        for _ in range(200):
            try:
                if self.connection is None:
                    self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
                self.connection.request(method, path, text, headers)
                answer = self.connection.getresponse()
                status, said = answer.status, answer.read()
            except (OSError, http.client.HTTPException):
                self.connection = None
                time.sleep(0.1)
                continue
            if status != 429:
                return status, json.loads(said) if said else None
            time.sleep(0.2)
        raise SystemExit(f"HubSpot does not answer {method} {path}")

    def objects(self, name, rest=""):
        return f"/crm/objects/{VERSION}/{name}{rest}"

    def all(self, name, properties):
        """Every live record: id → properties."""
        records, after = {}, ""
        while True:
            path = self.objects(name, f"?limit=100&properties={','.join(properties)}{after}")
            status, page = self.call("GET", path)
            assert status == 200, (status, page)
            for record in page["results"]:
                records[int(record["id"])] = record["properties"]
            following = page.get("paging", {}).get("next")
            if not following:
                return records
            after = f"&after={following['after']}"

    def associations(self, ids, pair=("contacts", "companies")):
        """The associations of records: (from, to, category, type id)."""
        found, ids = set(), sorted(ids)
        for start in range(0, len(ids), 100):
            inputs = {"inputs": [{"id": str(one)} for one in ids[start:start + 100]]}
            status, page = self.call("POST", f"/crm/associations/{VERSION}/{pair[0]}/{pair[1]}/batch/read", inputs)
            assert status in (200, 207), (status, page)
            for result in page["results"]:
                for to in result["to"]:
                    for kind in to["associationTypes"]:
                        found.add((int(result["from"]["id"]), int(to["toObjectId"]), kind["category"], int(kind["typeId"])))
        return found


class Notes:
    """A file of JSON lines, one for each write whose outcome is looked at in the end."""

    def __init__(self, path):
        self.file = open(path, "a", encoding="utf-8")

    def write(self, **note):
        self.file.write(json.dumps(note) + "\n")
        self.file.flush()


def connect(path):
    connection = sqlite3.connect(path, timeout=60, isolation_level=None)
    connection.execute("PRAGMA busy_timeout = 60000")
    return connection


def program(path, name, seed, stop, errors, notes, pace):
    """A program beside the daemon: writes by SQL until it is told to stop."""
    rng, made = random.Random(seed), 0
    connection, notes = connect(path), Notes(notes)

    def pick(table, where="hs_archived = 0"):
        row = connection.execute(f"SELECT local_id FROM {table} WHERE {where} ORDER BY random() LIMIT 1").fetchone()
        return row and row[0]

    def city(row):
        value, before = f"local {name} {rng.randrange(10**9)}", time.time()
        changed = connection.execute("UPDATE contacts SET city = ? WHERE local_id = ?", (value, row)).rowcount
        if changed:
            notes.write(side="local", local_id=row, before=before, after=time.time(), value=value)

    def update():
        row = pick("contacts")
        kind = rng.random()
        if row and kind < 0.5:
            city(row)
        elif row and kind < 0.7:
            connection.execute("UPDATE contacts SET first_name = ?, last_name = ? WHERE local_id = ?",
                               (f"L{rng.randrange(1000)}", f"N{rng.randrange(1000)}", row))
        elif row and kind < 0.8:
            connection.execute("UPDATE contacts SET phone = ?, birthday = ?, vip = ? WHERE local_id = ?",
                               (f"+1 555 {rng.randrange(10000):04}", f"19{rng.randrange(50, 99)}-0{rng.randrange(1, 9)}-11",
                                rng.randrange(2), row))
        elif row:
            connection.execute("UPDATE contacts SET first_name = NULL WHERE local_id = ?", (row,))

    def numbers():
        row = pick("companies")
        if row:
            value = rng.choice([rng.randrange(10**6), round(rng.random() * 1000, 2), None])
            connection.execute("UPDATE companies SET revenue = ?, city = ? WHERE local_id = ?",
                               (value, f"Town {rng.randrange(100)}", row))

    def insert():
        nonlocal made
        made += 1
        mark = f"made {name} {seed} {made}"
        connection.execute("INSERT INTO contacts (email, first_name, address) VALUES (?, 'Made', ?)",
                           (f"{name}.{seed}.{made}@example.com", mark))

    def insert_with_company():
        nonlocal made
        made += 1
        mark = f"{name}-{seed}-{made}"
        connection.execute("BEGIN IMMEDIATE")
        try:
            contact = connection.execute("INSERT INTO contacts (email, address) VALUES (?, ?)",
                                         (f"{mark}@pair.example.com", f"made {mark}")).lastrowid
            company = connection.execute("INSERT INTO companies (name, domain) VALUES (?, ?)",
                                         (f"Firm {mark}", f"{mark}.example.com")).lastrowid
            connection.execute("INSERT INTO associations (from_object, from_local_id, to_object, to_local_id)"
                               " VALUES ('contacts', ?, 'companies', ?)", (contact, company))
            connection.execute("COMMIT")
        except sqlite3.Error:
            connection.execute("ROLLBACK")
            raise

    def delete():
        row = pick("contacts")
        if row:
            connection.execute("DELETE FROM contacts WHERE local_id = ?", (row,))

    def delete_and_insert():
        row = connection.execute("SELECT local_id, email FROM contacts WHERE email <> '' ORDER BY random() LIMIT 1").fetchone()
        if row:
            before = time.time()
            connection.execute("BEGIN IMMEDIATE")
            try:
                former = connection.execute("DELETE FROM contacts WHERE local_id = ? RETURNING city", (row[0],)).fetchone()
                again = connection.execute("INSERT INTO contacts (email, first_name) VALUES (?, 'Again')", (row[1],)).lastrowid
                connection.execute("COMMIT")
                # The new row is the same person without a city: a change only where there was one.
                if former and former[0]:
                    notes.write(side="local", local_id=again, before=before, after=time.time(), value=None)
            except sqlite3.Error:
                connection.execute("ROLLBACK")
                raise

    def associate():
        contact, company = pick("contacts"), pick("companies")
        label = rng.choice([None, None, "Primary"])
        if contact and company:
            connection.execute("INSERT INTO associations (from_object, from_local_id, to_object, to_local_id, label)"
                               " VALUES ('contacts', ?, 'companies', ?, ?)", (contact, company, label))

    def disassociate():
        row = connection.execute("SELECT id FROM associations ORDER BY random() LIMIT 1").fetchone()
        if row:
            connection.execute("DELETE FROM associations WHERE id = ?", row)

    def deals():
        row = pick("deals", "hs_archived = 0 AND (pipeline = 'default' OR local_id % 20 = 0)")
        if row:
            connection.execute("UPDATE deals SET amount = ?, dealstage = ? WHERE local_id = ?",
                               (rng.randrange(10**5), rng.choice(STAGES), row))

    def many():
        connection.execute("UPDATE contacts SET company = ? WHERE local_id % 17 = ? AND hs_archived = 0",
                           (f"Group {rng.randrange(1000)}", rng.randrange(17)))

    def decide():
        row = connection.execute("SELECT id, property FROM sync_conflicts WHERE resolved_at IS NULL ORDER BY random() LIMIT 1").fetchone()
        if row:
            word = rng.choice(["local", "remote"])
            connection.execute("UPDATE sync_conflicts SET resolution = ? WHERE id = ?", (word, row[0]))

    def retry():
        connection.execute("UPDATE sync_outbox SET state = 'pending' WHERE id ="
                           " (SELECT id FROM sync_outbox WHERE state = 'dead' ORDER BY random() LIMIT 1)")

    def command():
        word, thing, argument = rng.choice([("poll", None, None), ("refetch", "contacts", "since 1m"), ("reconcile", "companies", None)])
        connection.execute("INSERT INTO sync_commands (command, object, argument) VALUES (?, ?, ?)", (word, thing, argument))

    ways = [(update, 40), (numbers, 10), (insert, 8), (insert_with_company, 4), (delete, 3), (delete_and_insert, 2), (associate, 8),
            (disassociate, 4), (deals, 8), (many, 1), (decide, 4), (retry, 2), (command, 1)]
    try:
        while not stop.is_set():
            way = rng.choices([way for way, _ in ways], [weight for _, weight in ways])[0]
            try:
                way()
            except sqlite3.DatabaseError as error:
                # A refusal with a sentence is an answer; whatever else keeps a program from writing is none.
                if not isinstance(error, sqlite3.IntegrityError) and not str(error).endswith("]"):
                    raise
            stop.wait(rng.expovariate(pace))
    except Exception as error:  # Whatever it is, it is told in the end.
        errors.put(f"program {name}: {way.__name__}: {error!r}")
    connection.close()


def people(port, seed, stop, errors, notes, pace):
    """People in HubSpot, and other apps, until they are told to stop."""
    rng, hubspot, notes, made = random.Random(seed), Hubspot(port), Notes(notes), 0
    known = {}

    def some(name):
        ids = known.get(name)
        if not ids or rng.random() < 0.05:
            ids = known[name] = sorted(hubspot.all(name, ["hs_object_id"]))
        return rng.choice(ids)

    def edit():
        one, kind = some("contacts"), rng.random()
        if kind < 0.5:
            value, before = f"hubspot {rng.randrange(10**9)}", time.time()
            status, _ = hubspot.call("PATCH", hubspot.objects("contacts", f"/{one}"), {"properties": {"city": value}})
            if status == 200:
                notes.write(side="remote", hs_id=one, before=before, after=time.time(), value=value)
            return
        values = rng.choice([{"firstname": f"H{rng.randrange(1000)}"}, {"lastname": f"M{rng.randrange(1000)}"}, {"phone": ""},
                             {"phone": f"+44 {rng.randrange(10**6)}"}, {"vip": rng.choice(["true", "false"])},
                             {"jobtitle": f"Job {rng.randrange(100)}"}])
        hubspot.call("PATCH", hubspot.objects("contacts", f"/{one}"), {"properties": values})

    def edit_many():
        inputs = [{"id": str(some("companies")), "properties": {"annualrevenue": str(rng.randrange(10**6)), "city": f"Place {rng.randrange(50)}"}}
                  for _ in range(20)]
        unique = {one["id"]: one for one in inputs}
        hubspot.call("POST", hubspot.objects("companies", "/batch/update"), {"inputs": list(unique.values())})

    def create():
        nonlocal made
        made += 1
        hubspot.call("POST", hubspot.objects("contacts"),
                     {"properties": {"email": f"person.{seed}.{made}@example.com", "firstname": "Person"}})

    def archive():
        hubspot.call("DELETE", hubspot.objects("contacts", f"/{some('contacts')}"))

    def archive_other():
        name = rng.choice(["companies", "deals"])
        hubspot.call("DELETE", hubspot.objects(name, f"/{some(name)}"))

    def merge():
        first, second = some("contacts"), some("contacts")
        if first != second:
            hubspot.call("POST", hubspot.objects("contacts", "/merge"), {"primaryObjectId": str(first), "objectIdToMerge": str(second)})

    def erase():
        hubspot.call("POST", hubspot.objects("contacts", "/gdpr-delete"), {"objectId": str(some("contacts"))})

    def associate():
        pair = {"from": {"id": str(some("contacts"))}, "to": {"id": str(some("companies"))}}
        hubspot.call("POST", f"/crm/associations/{VERSION}/contacts/companies/batch/associate/default", {"inputs": [pair]})

    def disassociate():
        one = some("contacts")
        for (_, to, _, _) in list(hubspot.associations([one]))[:1]:
            hubspot.call("POST", f"/crm/associations/{VERSION}/contacts/companies/batch/archive",
                         {"inputs": [{"from": {"id": str(one)}, "to": [{"id": str(to)}]}]})

    def deal():
        hubspot.call("PATCH", hubspot.objects("deals", f"/{some('deals')}"),
                     {"properties": {"dealstage": rng.choice(STAGES), "amount": str(rng.randrange(10**5))}})

    ways = [(edit, 50), (edit_many, 3), (create, 6), (archive, 2), (archive_other, 2), (merge, 2), (erase, 0.5), (associate, 8),
            (disassociate, 3), (deal, 8)]
    try:
        while not stop.is_set():
            way = rng.choices([way for way, _ in ways], [weight for _, weight in ways])[0]
            way()
            stop.wait(rng.expovariate(pace))
    except Exception as error:  # Whatever it is, it is told in the end.
        errors.put(f"people: {way.__name__}: {error!r}")
