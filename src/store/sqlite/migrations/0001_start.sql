-- Times are milliseconds since the epoch, UTC. JSON is TEXT.

CREATE TABLE accounts (
  name         TEXT PRIMARY KEY,
  floor        INTEGER,
  watermark    INTEGER,
  last_success INTEGER,
  error        TEXT,
  polled       INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

CREATE TABLE messages (
  id            INTEGER PRIMARY KEY,
  account       TEXT NOT NULL,
  uid           TEXT NOT NULL,
  activity_type TEXT NOT NULL,
  message_type  TEXT NOT NULL,
  direction     TEXT NOT NULL,
  created_at    INTEGER NOT NULL,
  seen_at       INTEGER NOT NULL,
  rules         TEXT NOT NULL,
  message       TEXT NOT NULL,
  UNIQUE (account, uid)
) STRICT;
CREATE INDEX messages_uid ON messages (uid);
CREATE INDEX messages_created ON messages (account, created_at);
CREATE INDEX messages_seen ON messages (seen_at);

-- Counted when a message arrives, so that the figure outlives pruning and needs no scan.
CREATE TABLE triples (
  activity_type TEXT NOT NULL,
  message_type  TEXT NOT NULL,
  direction     TEXT NOT NULL,
  n             INTEGER NOT NULL,
  PRIMARY KEY (activity_type, message_type, direction)
) STRICT, WITHOUT ROWID;
CREATE TRIGGER messages_counted AFTER INSERT ON messages BEGIN
  INSERT INTO triples VALUES (new.activity_type, new.message_type, new.direction, 1)
  ON CONFLICT DO UPDATE SET n = n + 1;
END;

CREATE TABLE quarantine (
  account  TEXT NOT NULL,
  uid      TEXT NOT NULL,
  raw      TEXT NOT NULL,
  why      TEXT NOT NULL,
  made_at  INTEGER,
  seen_at  INTEGER NOT NULL,
  PRIMARY KEY (account, uid)
) STRICT, WITHOUT ROWID;

-- due_at is when a pending delivery may be claimed and when the lease of a sent one ends; NULL once settled.
CREATE TABLE deliveries (
  seq             INTEGER PRIMARY KEY,
  id              TEXT NOT NULL UNIQUE,
  account         TEXT NOT NULL,
  rule            TEXT NOT NULL,
  target          TEXT NOT NULL,
  recipient       TEXT,
  template        TEXT NOT NULL,
  state           TEXT NOT NULL CHECK (state IN
    ('pending', 'sending', 'delivered', 'dead', 'expired', 'withheld', 'discarded')),
  due_at          INTEGER,
  lease           TEXT,
  claimed_at      INTEGER,
  attempts        INTEGER NOT NULL DEFAULT 0,
  starts          INTEGER NOT NULL DEFAULT 0,
  plain           INTEGER NOT NULL DEFAULT 0,
  maybe_duplicate INTEGER NOT NULL DEFAULT 0,
  created_at      INTEGER NOT NULL,
  expires_at      INTEGER,
  settled_at      INTEGER,
  why             TEXT,
  replay_of       TEXT,
  replays         INTEGER NOT NULL DEFAULT 0,
  notice          TEXT,
  CHECK ((state IN ('pending', 'sending')) = (settled_at IS NULL)),
  CHECK ((settled_at IS NULL) = (due_at IS NOT NULL)),
  CHECK ((state = 'sending') = (lease IS NOT NULL))
) STRICT;
CREATE INDEX deliveries_due ON deliveries (target, due_at, created_at) WHERE settled_at IS NULL;
CREATE INDEX deliveries_leased ON deliveries (due_at) WHERE state = 'sending';
CREATE INDEX deliveries_expiring ON deliveries (expires_at) WHERE settled_at IS NULL AND expires_at IS NOT NULL;
CREATE INDEX deliveries_ended ON deliveries (state, settled_at) WHERE settled_at IS NOT NULL;
CREATE INDEX deliveries_created ON deliveries (created_at);

-- How many deliveries of a target stand where: kept by triggers, so that no change can forget it.
CREATE TABLE counts (
  target TEXT NOT NULL,
  state  TEXT NOT NULL,
  n      INTEGER NOT NULL,
  PRIMARY KEY (target, state)
) STRICT, WITHOUT ROWID;
CREATE TRIGGER deliveries_counted AFTER INSERT ON deliveries BEGIN
  INSERT INTO counts VALUES (new.target, new.state, 1) ON CONFLICT DO UPDATE SET n = n + 1;
END;
CREATE TRIGGER deliveries_recounted AFTER UPDATE OF state ON deliveries WHEN old.state <> new.state BEGIN
  UPDATE counts SET n = n - 1 WHERE target = old.target AND state = old.state;
  INSERT INTO counts VALUES (new.target, new.state, 1) ON CONFLICT DO UPDATE SET n = n + 1;
END;
CREATE TRIGGER deliveries_uncounted AFTER DELETE ON deliveries BEGIN
  UPDATE counts SET n = n - 1 WHERE target = old.target AND state = old.state;
END;

CREATE TABLE delivery_messages (
  delivery INTEGER NOT NULL REFERENCES deliveries (seq) ON DELETE CASCADE,
  position INTEGER NOT NULL,
  message  INTEGER NOT NULL REFERENCES messages (id),
  PRIMARY KEY (delivery, position)
) STRICT, WITHOUT ROWID;
CREATE INDEX delivery_messages_message ON delivery_messages (message);

-- plain says which rendering it is: a full one is never handed to an attempt that wants the plain one.
CREATE TABLE payloads (
  delivery INTEGER PRIMARY KEY REFERENCES deliveries (seq) ON DELETE CASCADE,
  plain    INTEGER NOT NULL,
  payload  TEXT NOT NULL
) STRICT;

CREATE TABLE attempts (
  delivery   INTEGER NOT NULL REFERENCES deliveries (seq) ON DELETE CASCADE,
  n          INTEGER NOT NULL,
  at         INTEGER NOT NULL,
  outcome    TEXT NOT NULL,
  status     INTEGER,
  reason     TEXT NOT NULL,
  latency_ms INTEGER NOT NULL,
  answer     TEXT,
  PRIMARY KEY (delivery, n)
) STRICT, WITHOUT ROWID;

-- Only targets that are not simply ready have a row. probe is the lease of the one delivery that tries a parked target.
CREATE TABLE targets (
  name         TEXT PRIMARY KEY,
  paused       INTEGER NOT NULL DEFAULT 0,
  wait_until   INTEGER,
  parked_until INTEGER,
  probes       INTEGER NOT NULL DEFAULT 0,
  probe        TEXT,
  reason       TEXT
) STRICT, WITHOUT ROWID;

CREATE TABLE names (
  account    TEXT NOT NULL,
  kind       TEXT NOT NULL,
  uid        TEXT NOT NULL,
  value      TEXT NOT NULL,
  fetched_at INTEGER NOT NULL,
  PRIMARY KEY (account, kind, uid)
) STRICT, WITHOUT ROWID;

CREATE TABLE heartbeat (
  one INTEGER PRIMARY KEY CHECK (one = 1),
  n   INTEGER NOT NULL
) STRICT;
INSERT INTO heartbeat VALUES (1, 0);
