-- By which keys deliveries can be made good, of rules that others resolve; and which message did it.
CREATE TABLE resolutions (
  delivery    INTEGER NOT NULL REFERENCES deliveries (seq) ON DELETE CASCADE,
  key         TEXT NOT NULL,
  account     TEXT NOT NULL,
  rule        TEXT NOT NULL,
  resolved_by TEXT,
  resolved_at INTEGER,
  PRIMARY KEY (delivery, key),
  CHECK ((resolved_by IS NULL) = (resolved_at IS NULL))
) STRICT, WITHOUT ROWID;
CREATE INDEX resolutions_open ON resolutions (account, rule, key) WHERE resolved_by IS NULL;
CREATE INDEX resolutions_done ON resolutions (resolved_by, account) WHERE resolved_by IS NOT NULL;
