"""Starts an SMTP server and a webhook receiver that others wrote, keeps what arrives, and checks it.

    peers.py serve DIR    prints {"smtp": PORT, "http": PORT} as one line, then runs until its input ends
    peers.py check DIR    checks what arrived; prints one JSON line; exit 1 if something is wrong

The mail server is aiosmtpd, the signatures are verified by the package standardwebhooks. The first attempt at each mail
and at each webhook is turned away for a moment (451, 503), so that what arrives is always a repetition as well.
"""

import asyncio
import email
import email.policy
import json
import pathlib
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from aiosmtpd.controller import Controller
from standardwebhooks.webhooks import Webhook

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


class Inbox:
    """Writes each thing that arrives to a file of its own, numbered in the order of arrival."""

    def __init__(self, folder):
        self.folder, self.lock, self.count, self.seen = folder, threading.Lock(), 0, set()

    def take(self, kind, key, record):
        """Keeps the record; says whether something with this key came before."""
        with self.lock:
            again = (kind, key) in self.seen
            self.seen.add((kind, key))
            self.count += 1
            path = self.folder / f"{self.count:04}.{kind}.json"
            path.write_text(json.dumps(record | {"turned_away": not again}, indent=1))
            return again


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
            again = inbox.take("hook", headers.get("webhook-id"), {"headers": headers, "body": body})
            self.send_response(204 if again else 503)
            if not again:
                self.send_header("Retry-After", "1")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *arguments):
            pass

    return Receiver


def serve(folder):
    folder.mkdir(parents=True, exist_ok=True)
    inbox = Inbox(folder)
    web = ThreadingHTTPServer(("127.0.0.1", 0), receiver(inbox))
    threading.Thread(target=web.serve_forever, daemon=True).start()
    loop = asyncio.new_event_loop()
    mail = Controller(Mailbox(inbox), hostname="127.0.0.1", port=0, loop=loop)
    # With port 0 the controller cannot find itself again, so its server is made by hand.
    server = loop.run_until_complete(loop.create_server(mail.factory, "127.0.0.1", 0))
    threading.Thread(target=loop.run_forever, daemon=True).start()
    ports = {"smtp": server.sockets[0].getsockname()[1], "http": web.server_port}
    print(json.dumps(ports), flush=True)
    sys.stdin.read()


def check_mails(mails, problems):
    first = {}
    for mail in mails:
        message = email.message_from_string(mail["raw"], policy=email.policy.default)
        key = (message["Message-ID"], tuple(mail["to"]))
        kinds = [part.get_content_type() for part in message.walk()]
        if kinds != ["multipart/alternative", "text/plain", "text/html"]:
            problems.append(f"{key}: not text and HTML side by side, but {kinds}")
        if message["Auto-Submitted"] != "auto-generated" or not message["Date"] or len(mail["to"]) != 1:
            problems.append(f"{key}: headers or envelope are wrong")
        if message.defects or any(len(line) > 998 for line in mail["raw"].split("\r\n")):
            problems.append(f"{key}: {message.defects or 'lines too long'}")
        if first.setdefault(key, mail["raw"]) != mail["raw"]:
            problems.append(f"{key}: the repetition differs from the first attempt")
    taken = {key for key in first if key[0]}
    if not taken or all(mail["turned_away"] for mail in mails):
        problems.append("no mail was taken")


def check_hooks(hooks, problems):
    first = {}
    for hook in hooks:
        headers, body = hook["headers"], hook["body"]
        identity = headers.get("webhook-id")
        try:
            Webhook(SECRET).verify(body, headers)
        except Exception as error:  # whatever the package does not like is a problem
            problems.append(f"{identity}: the signature does not verify: {error!r}")
        if headers.get("idempotency-key") != identity:
            problems.append(f"{identity}: Idempotency-Key is {headers.get('idempotency-key')}")
        if first.setdefault(identity, body) != body:
            problems.append(f"{identity}: the repetition differs from the first attempt")
        try:
            Webhook(SECRET).verify(body + " ", headers)
            problems.append(f"{identity}: a changed body verifies too")
        except Exception:
            pass
    if not hooks or all(hook["turned_away"] for hook in hooks):
        problems.append("no webhook was taken")


def check(folder):
    def read(kind):
        return [json.loads(path.read_text()) for path in sorted(folder.glob(f"*.{kind}.json"))]

    mails, hooks, problems = read("mail"), read("hook"), []
    check_mails(mails, problems)
    check_hooks(hooks, problems)
    print(json.dumps({"mails": len(mails), "webhooks": len(hooks), "problems": problems}))
    return 1 if problems else 0


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] not in ("serve", "check"):
        sys.exit(__doc__)
    command, where = sys.argv[1], pathlib.Path(sys.argv[2])
    sys.exit(serve(where) if command == "serve" else check(where))
