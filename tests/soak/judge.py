"""Whether both sides are equal, whose word was the last, and whether memory and descriptors are flat: pure, or by reading alone."""

import json

PAIR = "contacts_companies"


def canonical(kind, value):
    """A value as both sides can be compared: by its type, not by its text."""
    if value is None or value == "":
        return None
    if kind in ("number", "integer", "decimal"):
        return float(value)
    if kind == "bool":
        return str(value) in ("1", "true")
    if kind == "set":
        return frozenset(part for part in str(value).split(";") if part)
    if kind == "datetime":
        return str(value).replace(" ", "T").rstrip("Z").rstrip("0").rstrip(".").rstrip(":00") if "T" in str(value) else str(value)
    return str(value)


def fields_of(connection):
    """Object → [(property, column, type)], of what is mapped and active."""
    fields = {}
    sql = "SELECT object, property, column_name, type FROM sync_fields WHERE state IN ('active', 'degraded') AND direction <> 'push'"
    for name, *field in connection.execute(sql):
        fields.setdefault(name, []).append(tuple(field))
    return fields


def compare(connection, hubspot):
    """What differs and is listed nowhere: a sentence each. And how many records and associations were compared."""
    differing, compared = [], 0
    connection.execute("BEGIN")
    try:
        fields = fields_of(connection)
        tables = dict(connection.execute("SELECT object, table_name FROM sync_status"))
        states = {(name, row): state for name, row, state in connection.execute("SELECT object, local_id, state FROM sync_records")}
        dead = {(name, row) for name, row in connection.execute("SELECT object, local_id FROM sync_outbox WHERE state = 'dead'")}
        pending = connection.execute("SELECT object, local_id, operation, state, waits_for, last_error FROM sync_outbox"
                                     " WHERE state <> 'dead'").fetchall()
        conflicts = {(name, row, prop) for name, row, prop in
                     connection.execute("SELECT object, local_id, property FROM sync_conflicts WHERE resolved_at IS NULL")}
        mirror = {}
        for name, table in tables.items():
            columns = "".join(f', "{column}"' for _, column, _ in fields[name])
            mirror[name] = connection.execute(f'SELECT local_id, hs_id, hs_archived{columns} FROM "{table}"').fetchall()
        links = {tuple(row) for row in connection.execute(
            "SELECT c.hs_id, o.hs_id, a.category, a.type_id FROM associations AS a JOIN contacts AS c ON c.local_id = a.from_local_id"
            " JOIN companies AS o ON o.local_id = a.to_local_id WHERE a.from_object = 'contacts' AND a.to_object = 'companies'")}
        waiting = {(from_id, to_id) for from_id, to_id in connection.execute(
            "SELECT c.hs_id, o.hs_id FROM sync_outbox AS e JOIN contacts AS c ON c.local_id = e.local_id"
            " JOIN companies AS o ON o.local_id = e.to_local_id WHERE e.operation IN ('associate', 'disassociate')")}
    finally:
        connection.execute("COMMIT")
    for entry in pending:
        differing.append("still waits: {} {}: {} ({}, {}): {}".format(*entry))
    parted = {row for name, row, _ in conflicts if name == PAIR}
    excepted, ids = set(), {}
    for name, rows in mirror.items():
        remote = hubspot.all(name, [prop for prop, _, _ in fields[name]])
        ids[name] = {}
        for local_id, hs_id, archived, *values in rows:
            listed = (name, local_id) in dead or (name, local_id, "*") in conflicts or states.get((name, local_id)) == "excluded"
            ids[name][hs_id] = local_id
            if listed or local_id in parted:
                excepted.add((name, hs_id))
            if listed:
                continue
            if hs_id is None or hs_id not in remote:
                if not archived:
                    differing.append(f"{name} {local_id} (record {hs_id}) is not in HubSpot")
                continue
            compared += 1
            for (prop, _, kind), value in zip(fields[name], values):
                if (name, local_id, prop) in conflicts:
                    continue
                there = remote[hs_id].get(prop)
                if canonical(kind, value) != canonical(kind, there):
                    differing.append(f"{name} {local_id} (record {hs_id}) {prop}: here {value!r}, in HubSpot {there!r}")
        for hs_id in remote.keys() - ids[name].keys():
            differing.append(f"{name}: record {hs_id} of HubSpot is not here")
    there = hubspot.associations(ids["contacts"].keys() - {None})
    both = {link for link in there if link[1] in ids["companies"]}
    for what, pairs in (("only here", links - both), ("only in HubSpot", both - links)):
        for link in sorted(pairs, key=str):
            listed = link[:2] in waiting or ("contacts", link[0]) in excepted or ("companies", link[1]) in excepted
            if not listed:
                differing.append(f"association {link} is {what}")
    return differing, compared, len(both & links)


def doubles(hubspot):
    """Rows that were inserted once and became two records: promise 2."""
    counts = {}
    for hs_id, properties in hubspot.all("contacts", ["address"]).items():
        mark = properties.get("address") or ""
        if mark.startswith("made "):
            counts.setdefault(mark, []).append(hs_id)
    return [f"{mark}: records {ids}" for mark, ids in counts.items() if len(ids) > 1]


def last_words(connection, notes, apart=6.0):
    """Cities whose last write, later than all of the other side's by far, is not what stands there: a sentence each."""
    rows = {hs_id: local_id for local_id, hs_id in connection.execute("SELECT local_id, hs_id FROM contacts WHERE hs_id IS NOT NULL")}
    values = dict(connection.execute("SELECT local_id, city FROM contacts WHERE hs_id IS NOT NULL AND hs_archived = 0"))
    # What became of these is another question than who wrote last.
    left_out = {row for (row,) in connection.execute(
        "SELECT local_id FROM sync_history WHERE object = 'contacts' AND property = '*'"
        " UNION SELECT CAST(new_value AS INTEGER) FROM sync_history WHERE object = 'contacts' AND property = '*'"
        " UNION SELECT local_id FROM sync_conflicts WHERE object = 'contacts' AND (property = '*' OR resolved_at IS NULL)"
        " UNION SELECT local_id FROM sync_outbox WHERE object = 'contacts'"
        # What was noted under a former id is not found by the new one.
        " UNION SELECT h.local_id FROM sync_history AS h JOIN contacts AS c ON c.local_id = h.local_id"
        " WHERE h.object = 'contacts' AND h.hs_id <> c.hs_id")}
    written = {}
    for path in notes:
        for line in open(path, encoding="utf-8"):
            note = json.loads(line)
            row = note["local_id"] if note["side"] == "local" else rows.get(note["hs_id"])
            if row in values and row not in left_out:
                written.setdefault(row, []).append(note)
    wrong, judged = [], 0
    for row, found in written.items():
        last = max(found, key=lambda note: note["after"])
        rivals = [note["after"] for note in found if note["side"] != last["side"]]
        own = [note for note in found if note is not last and note["side"] == last["side"] and note["after"] > last["before"]]
        if own or (rivals and last["before"] - max(rivals) < apart):
            continue
        judged += 1
        if values[row] != last["value"]:
            wrong.append(f"contacts {row}: the last word was {last['side']}'s {last['value']!r}, but here is {values[row]!r}")
    return wrong, judged


def median(numbers):
    return sorted(numbers)[len(numbers) // 2]


def growth(samples, most_share=1.15, most_more=6.0):
    """Whether a series of figures rises: the last quarter against the second one. A sentence, or nothing."""
    if len(samples) < 20:
        return None
    quarter = len(samples) // 4
    before, after = median(samples[quarter:2 * quarter]), median(samples[-quarter:])
    if after > before * most_share + most_more:
        return f"rose from {before:.0f} to {after:.0f}"
    return None


def can_tell():
    """What this judge must be able to see."""
    assert growth([50.0 + step for step in range(40)]) and not growth([50.0 + step % 3 for step in range(40)])
    assert canonical("number", "1.0") == canonical("number", 1) and canonical("bool", "true") == canonical("bool", 1)
    assert canonical("set", "a;b") == canonical("set", ";b;a") and canonical("string", "") is canonical("string", None)
    assert canonical("string", "1") != canonical("string", "1.0")


can_tell()
