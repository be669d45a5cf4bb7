#!/usr/bin/env python3
"""monitoring/dashboard.json against the types of Grafana's own schema: the dashboard, each panel's options by the panel's type, and
each query. A spoiled copy must be refused, else nothing was checked.

    tests/monitoring/dashboard.py

`@grafana/schema` and TypeScript come from npm into target/monitoring. Needs node and npm.
"""

import json
import pathlib
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]
PLACE = ROOT / "target" / "monitoring"
PACKAGES = ["@grafana/schema@13.2.3", "typescript@7.0.2"]
OPTIONS = ["--noEmit", "--strict", "--skipLibCheck", "--module", "nodenext", "--moduleResolution", "nodenext"]

HEAD = """import type { Dashboard, DataQuery } from "@grafana/schema";
import type * as stat from "@grafana/schema/dist/esm/raw/composable/stat/panelcfg/x/StatPanelCfg_types.gen";
import type * as timeseries from "@grafana/schema/dist/esm/raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen";

interface Query extends DataQuery { expr: string; legendFormat?: string }
"""
# What the field configuration of a panel's type holds besides that of all panels.
CUSTOM = {"stat": "Record<string, never>", "timeseries": "Partial<timeseries.FieldConfig>"}


def program(dashboard):
    """TypeScript that is right where the dashboard is."""
    parts = [HEAD, f"export const dashboard: Dashboard = {json.dumps(dashboard)};\n"]
    for panel in dashboard["panels"]:
        number, kind = panel["id"], panel["type"]
        own = panel["fieldConfig"]["defaults"].get("custom", {})
        parts += [f"export const options{number}: Partial<{kind}.Options> = {json.dumps(panel['options'])};\n",
                  f"export const custom{number}: {CUSTOM[kind]} = {json.dumps(own)};\n",
                  f"export const queries{number}: Query[] = {json.dumps(panel['targets'])};\n"]
    return "".join(parts)


def mistakes(dashboard):
    """What the compiler says of it."""
    (PLACE / "dashboard.ts").write_text(program(dashboard))
    compiler = PLACE / "node_modules" / ".bin" / "tsc"
    said = subprocess.run([compiler, *OPTIONS, "dashboard.ts"], cwd=PLACE, check=False, capture_output=True, text=True)
    return said.stdout + said.stderr


def spoiled():
    """Copies with a mistake each."""
    def copy():
        return json.loads((ROOT / "monitoring" / "dashboard.json").read_text())

    one = copy()
    one["panels"][0]["tittle"] = one["panels"][0].pop("title")
    two = copy()
    two["panels"][0]["fieldConfig"]["defaults"]["unit"] = 5
    three = copy()
    three["panels"][0]["targets"][0]["legendFromat"] = "x"
    four = copy()
    four["panels"][0]["options"] = {"colourMode": "value"}
    return [one, two, three, four]


def main():
    PLACE.mkdir(parents=True, exist_ok=True)
    subprocess.run(["npm", "install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", PLACE, *PACKAGES], check=True)
    dashboard = json.loads((ROOT / "monitoring" / "dashboard.json").read_text())
    said = mistakes(dashboard)
    assert not said, said
    for number, copy in enumerate(spoiled()):
        assert "error TS" in mistakes(copy), f"nobody notices what is wrong with the spoiled copy {number}"
    print(f"dashboard: {len(dashboard['panels'])} panels are as {PACKAGES[0]} has them")


if __name__ == "__main__":
    main()
