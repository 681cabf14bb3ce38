-- Roles that one of several instances holds at a time, and the instances that are there.
CREATE TABLE holds (
  role     TEXT COLLATE "C" PRIMARY KEY,
  instance TEXT COLLATE "C" NOT NULL,
  until    BIGINT NOT NULL
);
CREATE TABLE instances (
  id         TEXT COLLATE "C" PRIMARY KEY,
  host       TEXT NOT NULL,
  started_at BIGINT NOT NULL,
  seen_at    BIGINT NOT NULL
);

-- The state of a target's rate and by whose clock that is, since when it takes nothing, and how many attempts in a row have failed. A target with a rate has a row, ready or not.
ALTER TABLE targets ADD COLUMN next_slot BIGINT;
ALTER TABLE targets ADD COLUMN paced_by TEXT;
ALTER TABLE targets ADD COLUMN failing_since BIGINT;
ALTER TABLE targets ADD COLUMN recovered_at BIGINT;
ALTER TABLE targets ADD COLUMN failures INTEGER NOT NULL DEFAULT 0;

-- A delivery with a group key takes in later messages of its group until it is first attempted. Usually there is one;
-- a second one may have been opened by the time that the first is given back.
ALTER TABLE deliveries ADD COLUMN group_key TEXT COLLATE "C";
CREATE INDEX deliveries_open ON deliveries (account, rule, target, group_key)
  WHERE state = 'pending' AND starts = 0 AND group_key IS NOT NULL;

-- What waits and what is under way are looked for apart.
DROP INDEX deliveries_due;
CREATE INDEX deliveries_due ON deliveries (target, due_at, created_at, seq) WHERE state = 'pending';
DROP INDEX deliveries_leased;
CREATE INDEX deliveries_leased ON deliveries (due_at, target) WHERE state = 'sending';

-- What was lost twice in a row with its holder is sent while no other such one is; state and time tell whose turn it is.
CREATE INDEX deliveries_suspect ON deliveries (state, due_at, created_at, seq) WHERE starts - attempts >= 2;
