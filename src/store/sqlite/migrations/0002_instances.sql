-- Roles that one of several instances holds at a time, and the instances that are there.
CREATE TABLE holds (
  role     TEXT PRIMARY KEY,
  instance TEXT NOT NULL,
  until    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE instances (
  id         TEXT PRIMARY KEY,
  host       TEXT NOT NULL,
  started_at INTEGER NOT NULL,
  seen_at    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The state of a target's rate and by whose clock that is, since when it takes nothing, and how many attempts in a row have failed. A target with a rate has a row, ready or not.
ALTER TABLE targets ADD COLUMN next_slot INTEGER;
ALTER TABLE targets ADD COLUMN paced_by TEXT;
ALTER TABLE targets ADD COLUMN failing_since INTEGER;
ALTER TABLE targets ADD COLUMN recovered_at INTEGER;
ALTER TABLE targets ADD COLUMN failures INTEGER NOT NULL DEFAULT 0;

-- A delivery with a group key takes in later messages of its group until it is first attempted. Usually
-- there is one open; a second one may have been opened by the time that the first is given back unattempted.
ALTER TABLE deliveries ADD COLUMN group_key TEXT;
CREATE INDEX deliveries_open ON deliveries (account, rule, target, coalesce(recipient, ''), group_key)
  WHERE state = 'pending' AND starts = 0 AND group_key IS NOT NULL;

-- What is under way is counted by target.
DROP INDEX deliveries_leased;
CREATE INDEX deliveries_leased ON deliveries (due_at, target) WHERE state = 'sending';

-- What was lost twice in a row with its holder is sent while no other such one is; state and time tell whose turn it is.
CREATE INDEX deliveries_suspect ON deliveries (state, due_at, created_at) WHERE starts - attempts >= 2;
