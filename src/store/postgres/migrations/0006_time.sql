-- Digests, throttles and hours. first_due is when a delivery was first to be attempted, where that is later than its planning; the
-- window is the time that a digest covers; throttled, how many were held back for good before it.
ALTER TABLE deliveries
  ADD COLUMN first_due BIGINT,
  ADD COLUMN window_from BIGINT,
  ADD COLUMN window_to BIGINT,
  ADD COLUMN throttled INTEGER NOT NULL DEFAULT 0;

-- What waits for its moment by itself, until it is first attempted.
CREATE INDEX deliveries_held ON deliveries (target, first_due)
  WHERE state = 'pending' AND starts = 0 AND first_due IS NOT NULL AND group_key IS NULL;

-- How far each limit is used up.
CREATE TABLE throttles (
  account   TEXT NOT NULL,
  rule      TEXT NOT NULL,
  target    TEXT NOT NULL,
  recipient TEXT NOT NULL,
  key       TEXT NOT NULL,
  start     BIGINT NOT NULL,
  until     BIGINT NOT NULL,
  passed    INTEGER NOT NULL,
  held      INTEGER NOT NULL,
  PRIMARY KEY (account, rule, target, recipient, key)
);
CREATE INDEX throttles_until ON throttles (until);
