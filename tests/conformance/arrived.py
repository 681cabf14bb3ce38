"""Checks that every message the sandbox has on its list reached each of its inboxes once, and that the list was asked for well.

    arrived.py BASE_URL TOKEN    prints one line; exit 1 if something is missing, doubled or wrong

The control token of the sandbox is "control".
"""

import json
import sys
import urllib.request

base_url, token = sys.argv[1:]
LIST = "/v3/communication/activity_messages"


def get(path, bearer):
    request = urllib.request.Request(base_url + path, headers={"Authorization": f"Bearer {bearer}"})
    return json.load(urllib.request.urlopen(request, timeout=10))


# What the relay asked, before this program asks for the same list.
asked = [r for r in get("/__control/requests", "control")["requests"] if r["path"].endswith("/activity_messages")]
arrivals = get("/__control/arrivals", "control")["arrivals"]
problems = [f"answered {r['status']}: {r['query']}" for r in asked if r["status"] != 200]
problems += [f"a filter that would hide messages: {r['query']}" for r in asked if {"direction", "activity_type"} & {*r["query"]}]
problems += [f"refused: {a['inbox']} {a['status']} {a['problem']}" for a in arrivals if not a["accepted"] or a["problem"]]

uids, page = [], 1
while rows := get(f"{LIST}?page={page}&per_page=100", token)["data"]["activity_messages"]:
    uids += [row["uid"] for row in rows]
    page += 1

hooks = [json.loads(a["body"])["data"]["message"]["uid"] for a in arrivals if a["inbox"] == "http"]
if not uids or sorted(hooks) != sorted(uids):
    problems.append(f"{len(uids)} messages, but {len(hooks)} webhooks of {len({*hooks} & {*uids})} of them")
mails = [a["headers"]["message-id"] for a in arrivals if a["inbox"] == "smtp"]
if len({*mails}) != len(mails) or len(mails) != len(uids):
    problems.append(f"{len(uids)} messages, but {len(mails)} mails, {len({*mails})} of them different")
posts = [a for a in arrivals if a["inbox"] == "slack"]
if len(posts) != len(uids):
    problems.append(f"{len(uids)} messages, but {len(posts)} Slack posts")

for problem in problems:
    print(problem, file=sys.stderr)
print(f"{len(asked)} requests without a violation; {len(uids)} messages, each in the Slack, SMTP and HTTP inbox once")
sys.exit(1 if problems or not asked else 0)
