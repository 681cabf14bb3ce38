-- By which keys deliveries can be made good, of rules that others resolve; and which message did it.
CREATE TABLE resolutions (
  delivery    BIGINT NOT NULL,
  key         TEXT NOT NULL,
  account     TEXT COLLATE "C" NOT NULL,
  rule        TEXT COLLATE "C" NOT NULL,
  resolved_by TEXT COLLATE "C",
  resolved_at BIGINT,
  PRIMARY KEY (delivery, key),
  CHECK ((resolved_by IS NULL) = (resolved_at IS NULL))
);
CREATE INDEX resolutions_open ON resolutions (account, rule, key) WHERE resolved_by IS NULL;
CREATE INDEX resolutions_done ON resolutions (resolved_by, account) WHERE resolved_by IS NOT NULL;

-- What is kept of a delivery goes with it, whoever deletes it: once for each statement.
CREATE OR REPLACE FUNCTION deliveries_uncounted() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO counts SELECT target, state, -count(*) FROM stale GROUP BY 1, 2;
  DELETE FROM attempts WHERE delivery = ANY (array(SELECT seq FROM stale));
  DELETE FROM payloads WHERE delivery = ANY (array(SELECT seq FROM stale));
  DELETE FROM delivery_messages WHERE delivery = ANY (array(SELECT seq FROM stale));
  DELETE FROM resolutions WHERE delivery = ANY (array(SELECT seq FROM stale));
  RETURN NULL;
END $$;
