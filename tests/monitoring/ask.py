"""Asks a Prometheus that reads a running relay: does it have every documented metric, can it evaluate every alert and
every query of the dashboard? Arguments: its URL, the dashboard, the page with the table of metrics."""

import json
import re
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

prometheus, dashboard, page = sys.argv[1:]
PATIENCE = 60


def ask(path, **arguments):
    url = f"{prometheus}{path}?{urllib.parse.urlencode(arguments)}"
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as refused:
        # While it starts it answers 503 in plain words.
        if refused.code == 503:
            return {"status": "error", "error": "not ready yet"}
        return json.load(refused)
    except OSError:
        return {"status": "error", "error": "not there yet"}


def query(expression):
    return ask("/api/v1/query", query=expression)


def wait_for(what, holds):
    end = time.monotonic() + PATIENCE
    while True:
        if holds():
            return
        if time.monotonic() > end:
            sys.exit(f"{what}: not within {PATIENCE} s")
        time.sleep(0.2)


def documented():
    """The names of the series, histograms by their count."""
    with open(page, encoding="utf-8") as lines:
        for line in lines:
            row = re.match(r"\| `(activity_relay_\w+)` \|[^|]*\| (histogram)?", line)
            if row:
                yield row[1] + ("_count" if row[2] else "")


def expressions(node):
    """Whatever Grafana would ask."""
    if isinstance(node, dict):
        if "expr" in node:
            yield node["expr"]
        node = list(node.values())
    if isinstance(node, list):
        for part in node:
            yield from expressions(part)


def main():
    up = lambda: any(one["value"][1] == "1" for one in query("up").get("data", {}).get("result", []))
    wait_for("Prometheus reads the relay", up)
    names = set(documented())
    missing = lambda: {name for name in names if not query(name).get("data", {}).get("result")}
    if not names:
        sys.exit(f"{page} names no metric")
    wait_for("every documented metric is there", lambda: not missing())
    with open(dashboard, encoding="utf-8") as file:
        asked = sorted(set(expressions(json.load(file))))
    for expression in asked:
        filled = expression.replace("$__rate_interval", "1m")
        filled = re.sub(r"\$\w+", ".*", filled)
        answer = query(filled)
        if answer["status"] != "success":
            sys.exit(f"{expression}\n  {answer['error']}")
    healthy = lambda: [rule["health"] for group in ask("/api/v1/rules")["data"]["groups"] for rule in group["rules"]]
    wait_for("every alert was evaluated", lambda: healthy() and set(healthy()) == {"ok"})
    print(f"{len(names)} metrics, {len(asked)} queries, {len(healthy())} alerts")


main()
