"""Starts an SMTP server and a webhook receiver that others wrote, keeps what arrives, and checks it.

    peers.py serve DIR    prints {"smtp": PORT, "http": PORT, "secret": "whsec_…"} as one line, then runs until it is ended
    peers.py check DIR    checks what arrived; prints one line; exit 1 if something is wrong

The mail server is aiosmtpd, the signatures are verified by the package standardwebhooks. The first attempt at each mail
and at each webhook is turned away for a moment (451, 503), so that what arrives is always a repetition as well; once
there is a file DIR/agreeable, everything is taken at once.

Checked are: so many mails and webhooks (--mails, --hooks) came exactly twice and so many (--test-mails, --test-hooks)
once; what came again is byte for byte the same, mails with their Message-ID; a mail about a message is text and HTML side
by side; a mail has clean headers and goes to one recipient; a webhook's signature verifies, and does not with a changed body.
"""

import argparse
import asyncio
import email
import email.policy
import json
import pathlib
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from aiosmtpd.controller import Controller
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


class Inbox:
    """Writes each thing that arrives to a file of its own, numbered in the order of arrival."""

    def __init__(self, folder):
        self.folder, self.lock, self.count, self.seen = folder, threading.Lock(), 0, set()

    def take(self, kind, key, record):
        """Keeps the record; says whether it is taken, which is so if something with this key came before."""
        with self.lock:
            again = (kind, key) in self.seen
            taken = again or (self.folder / "agreeable").exists()
            self.seen.add((kind, key))
            self.count += 1
            path = self.folder / f"{self.count:04}.{kind}.json"
            path.write_text(json.dumps(record | {"turned_away": not taken}, indent=1))
            return taken


class Mailbox:
    """aiosmtpd's handler."""

    def __init__(self, inbox):
        self.inbox = inbox

    async def handle_DATA(self, server, session, envelope):
        raw = envelope.content.decode("ascii")
        key = (email.message_from_string(raw)["Message-ID"], tuple(envelope.rcpt_tos))
        record = {"from": envelope.mail_from, "to": envelope.rcpt_tos, "raw": raw}
        return "250 2.0.0 taken" if self.inbox.take("mail", key, record) else "451 4.3.0 come again"


def receiver(inbox):
    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"])).decode()
            headers = {name.lower(): value for name, value in self.headers.items()}
            taken = inbox.take("hook", headers.get("webhook-id"), {"headers": headers, "body": body})
            self.send_response(204 if taken else 503)
            if not taken:
                self.send_header("Retry-After", "1")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *arguments):
            pass

    return Receiver


def serve(folder):
    inbox = Inbox(folder)
    web = ThreadingHTTPServer(("127.0.0.1", 0), receiver(inbox))
    threading.Thread(target=web.serve_forever, daemon=True).start()
    loop = asyncio.new_event_loop()
    mail = Controller(Mailbox(inbox), hostname="127.0.0.1", port=0, loop=loop)
    # With port 0 the controller cannot find itself again, so its server is made by hand.
    server = loop.run_until_complete(loop.create_server(mail.factory, "127.0.0.1", 0))
    threading.Thread(target=loop.run_forever, daemon=True).start()
    ports = {"smtp": server.sockets[0].getsockname()[1], "http": web.server_port, "secret": SECRET}
    print(json.dumps(ports), flush=True)
    threading.Event().wait()


def by_key(records, key):
    """What came, gathered by what it is, in the order of arrival."""
    gathered = {}
    for record in records:
        gathered.setdefault(key(record), []).append(record)
    return gathered


def check_counts(what, gathered, twice, once, problems):
    """So many were turned away and then taken, so many were taken at once, and nothing else happened."""
    courses = [[record["turned_away"] for record in records] for records in gathered.values()]
    for course in courses:
        if course not in ([True, False], [False]):
            problems.append(f"a {what} was turned away or not in this order: {course}")
    if (courses.count([True, False]), courses.count([False])) != (twice, once):
        problems.append(f"{len(courses)} {what}s, {courses.count([True, False])} of them sent again; not {twice} + {once}")


def check_mails(mails, problems):
    for (identity, _), records in mails.items():
        raw, to = records[0]["raw"], records[0]["to"]
        message = email.message_from_string(raw, policy=email.policy.default)
        kinds = [part.get_content_type() for part in message.walk()]
        # The relay's own notices, as a test is one, are plain text.
        wanted = ["multipart/alternative", "text/plain", "text/html"] if records[0]["turned_away"] else ["text/plain"]
        if kinds != wanted:
            problems.append(f"{identity}: not {wanted}, but {kinds}")
        if not identity or message["Auto-Submitted"] != "auto-generated" or not message["Date"]:
            problems.append(f"{identity}: headers are missing")
        if len(to) != 1:
            problems.append(f"{identity}: one transaction for {to}")
        if message.defects or any(len(line) > 998 for line in raw.split("\r\n")):
            problems.append(f"{identity}: {message.defects or 'lines too long'}")
        if any(record["raw"] != raw for record in records):
            problems.append(f"{identity}: the repetition differs from the first attempt")


def verifies(body, headers):
    try:
        Webhook(SECRET).verify(body, headers)
    except WebhookVerificationError:
        return False
    return True


def check_hooks(hooks, problems):
    for identity, records in hooks.items():
        body = records[0]["body"]
        for headers in (record["headers"] for record in records):
            if not verifies(body, headers) or verifies(body + " ", headers):
                problems.append(f"{identity}: the signature does not verify, or does with a changed body")
            if headers.get("idempotency-key") != identity:
                problems.append(f"{identity}: Idempotency-Key is {headers.get('idempotency-key')}")
        if any(record["body"] != body for record in records):
            problems.append(f"{identity}: the repetition differs from the first attempt")


def check(folder, wanted):
    def read(kind):
        return [json.loads(path.read_text()) for path in sorted(folder.glob(f"*.{kind}.json"))]

    mails = by_key(read("mail"), lambda mail: (email.message_from_string(mail["raw"])["Message-ID"], *mail["to"][:1]))
    hooks, problems = by_key(read("hook"), lambda hook: hook["headers"].get("webhook-id")), []
    check_counts("mail", mails, wanted.mails, wanted.test_mails, problems)
    check_counts("webhook", hooks, wanted.hooks, wanted.test_hooks, problems)
    check_mails(mails, problems)
    check_hooks(hooks, problems)
    for problem in problems:
        print(problem, file=sys.stderr)
    print(f"{len(mails)} mails, {len(hooks)} webhooks, {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["serve", "check"])
    parser.add_argument("folder", type=pathlib.Path)
    for name in ("--mails", "--hooks", "--test-mails", "--test-hooks"):
        parser.add_argument(name, type=int, default=0)
    arguments = parser.parse_args()
    sys.exit(serve(arguments.folder) if arguments.command == "serve" else check(arguments.folder, arguments))
