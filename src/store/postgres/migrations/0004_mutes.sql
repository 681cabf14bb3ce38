-- Rules that people have silenced.
CREATE TABLE mutes (
  id         BIGINT PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
  rule       TEXT NOT NULL,
  until      BIGINT NOT NULL,
  reason     TEXT NOT NULL,
  created_at BIGINT NOT NULL
);
