-- Times are milliseconds since the epoch, UTC. JSON is TEXT: it comes back byte for byte as it was written.
-- What is compared or sorted is COLLATE "C": by bytes, on every machine alike, as in SQLite.

CREATE TABLE accounts (
  name         TEXT COLLATE "C" PRIMARY KEY,
  floor        BIGINT,
  watermark    BIGINT,
  last_success BIGINT,
  error        TEXT,
  polled       BOOLEAN NOT NULL DEFAULT false
);

CREATE TABLE messages (
  id            BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  account       TEXT COLLATE "C" NOT NULL,
  uid           TEXT COLLATE "C" NOT NULL,
  activity_type TEXT COLLATE "C" NOT NULL,
  message_type  TEXT COLLATE "C" NOT NULL,
  direction     TEXT COLLATE "C" NOT NULL,
  created_at    BIGINT NOT NULL,
  seen_at       BIGINT NOT NULL,
  rules         TEXT NOT NULL,
  message       TEXT NOT NULL,
  UNIQUE (account, uid)
);
CREATE INDEX messages_uid ON messages (uid);
CREATE INDEX messages_created ON messages (account, created_at);
CREATE INDEX messages_seen ON messages (seen_at);

-- Counted when a message arrives, so that the figure outlives pruning and needs no scan. Every statement adds rows
-- of its own, and readers sum: no row is there for all writers to wait for. Pruning adds them up.
CREATE TABLE triples (
  activity_type TEXT COLLATE "C" NOT NULL,
  message_type  TEXT COLLATE "C" NOT NULL,
  direction     TEXT COLLATE "C" NOT NULL,
  n             BIGINT NOT NULL
);
CREATE FUNCTION messages_counted() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO triples
  SELECT activity_type, message_type, direction, count(*) FROM fresh GROUP BY 1, 2, 3;
  RETURN NULL;
END $$;
CREATE TRIGGER messages_counted AFTER INSERT ON messages
  REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT EXECUTE FUNCTION messages_counted();

CREATE TABLE quarantine (
  account  TEXT COLLATE "C" NOT NULL,
  uid      TEXT COLLATE "C" NOT NULL,
  raw      TEXT NOT NULL,
  why      TEXT NOT NULL,
  made_at  BIGINT,
  seen_at  BIGINT NOT NULL,
  PRIMARY KEY (account, uid)
);

-- due_at is when a pending delivery may be claimed and when the lease of a sent one ends; NULL once settled.
CREATE TABLE deliveries (
  seq             BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  id              TEXT COLLATE "C" NOT NULL UNIQUE,
  account         TEXT COLLATE "C" NOT NULL,
  rule            TEXT COLLATE "C" NOT NULL,
  target          TEXT COLLATE "C" NOT NULL,
  recipient       TEXT,
  template        TEXT NOT NULL,
  state           TEXT COLLATE "C" NOT NULL CHECK (state IN
    ('pending', 'sending', 'delivered', 'dead', 'expired', 'withheld', 'discarded')),
  due_at          BIGINT,
  lease           TEXT COLLATE "C",
  claimed_at      BIGINT,
  attempts        INTEGER NOT NULL DEFAULT 0,
  starts          INTEGER NOT NULL DEFAULT 0,
  plain           BOOLEAN NOT NULL DEFAULT false,
  maybe_duplicate BOOLEAN NOT NULL DEFAULT false,
  created_at      BIGINT NOT NULL,
  expires_at      BIGINT,
  settled_at      BIGINT,
  why             TEXT,
  replay_of       TEXT COLLATE "C",
  replays         INTEGER NOT NULL DEFAULT 0,
  notice          TEXT,
  CHECK ((state IN ('pending', 'sending')) = (settled_at IS NULL)),
  CHECK ((settled_at IS NULL) = (due_at IS NOT NULL)),
  CHECK ((state = 'sending') = (lease IS NOT NULL))
);
CREATE INDEX deliveries_due ON deliveries (target, due_at, created_at, seq) WHERE settled_at IS NULL;
CREATE INDEX deliveries_leased ON deliveries (due_at) WHERE state = 'sending';
CREATE INDEX deliveries_expiring ON deliveries (expires_at) WHERE settled_at IS NULL AND expires_at IS NOT NULL;
CREATE INDEX deliveries_ended ON deliveries (state, settled_at) WHERE settled_at IS NOT NULL;
CREATE INDEX deliveries_created ON deliveries (created_at);

-- How many deliveries of a target stand where: what every statement changed, to be summed. Kept by triggers, so that
-- no change can forget it.
CREATE TABLE counts (
  target TEXT COLLATE "C" NOT NULL,
  state  TEXT COLLATE "C" NOT NULL,
  n      BIGINT NOT NULL
);
CREATE FUNCTION deliveries_counted() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO counts SELECT target, state, count(*) FROM fresh GROUP BY 1, 2;
  RETURN NULL;
END $$;
CREATE FUNCTION deliveries_recounted() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO counts
  SELECT target, state, sum(n) FROM (
    SELECT target, state, 1 AS n FROM fresh UNION ALL SELECT target, state, -1 FROM stale) AS changed
  GROUP BY 1, 2 HAVING sum(n) <> 0;
  RETURN NULL;
END $$;
CREATE FUNCTION deliveries_uncounted() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO counts SELECT target, state, -count(*) FROM stale GROUP BY 1, 2;
  RETURN NULL;
END $$;
CREATE TRIGGER deliveries_counted AFTER INSERT ON deliveries
  REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT EXECUTE FUNCTION deliveries_counted();
CREATE TRIGGER deliveries_recounted AFTER UPDATE ON deliveries
  REFERENCING OLD TABLE AS stale NEW TABLE AS fresh FOR EACH STATEMENT EXECUTE FUNCTION deliveries_recounted();
CREATE TRIGGER deliveries_uncounted AFTER DELETE ON deliveries
  REFERENCING OLD TABLE AS stale FOR EACH STATEMENT EXECUTE FUNCTION deliveries_uncounted();

CREATE TABLE delivery_messages (
  delivery BIGINT NOT NULL REFERENCES deliveries (seq) ON DELETE CASCADE,
  position INTEGER NOT NULL,
  message  BIGINT NOT NULL REFERENCES messages (id),
  PRIMARY KEY (delivery, position)
);
CREATE INDEX delivery_messages_message ON delivery_messages (message);

-- plain says which rendering it is: a full one is never handed to an attempt that wants the plain one.
CREATE TABLE payloads (
  delivery BIGINT PRIMARY KEY REFERENCES deliveries (seq) ON DELETE CASCADE,
  plain    BOOLEAN NOT NULL,
  payload  TEXT NOT NULL
);

CREATE TABLE attempts (
  delivery   BIGINT NOT NULL REFERENCES deliveries (seq) ON DELETE CASCADE,
  n          INTEGER NOT NULL,
  at         BIGINT NOT NULL,
  outcome    TEXT NOT NULL,
  status     INTEGER,
  reason     TEXT NOT NULL,
  latency_ms BIGINT NOT NULL,
  answer     TEXT,
  PRIMARY KEY (delivery, n)
);

-- Only targets that are not simply ready have a row. probe is the lease of the one delivery that tries a parked target.
CREATE TABLE targets (
  name         TEXT COLLATE "C" PRIMARY KEY,
  paused       BOOLEAN NOT NULL DEFAULT false,
  wait_until   BIGINT,
  parked_until BIGINT,
  probes       INTEGER NOT NULL DEFAULT 0,
  probe        TEXT COLLATE "C",
  reason       TEXT
);

CREATE TABLE names (
  account    TEXT COLLATE "C" NOT NULL,
  kind       TEXT COLLATE "C" NOT NULL,
  uid        TEXT COLLATE "C" NOT NULL,
  value      TEXT NOT NULL,
  fetched_at BIGINT NOT NULL,
  PRIMARY KEY (account, kind, uid)
);

CREATE TABLE heartbeat (
  one INTEGER PRIMARY KEY CHECK (one = 1),
  n   BIGINT NOT NULL
);
INSERT INTO heartbeat VALUES (1, 0);
