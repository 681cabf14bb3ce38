-- Troubles that people were told of and that are not over.
CREATE TABLE told (
  trouble TEXT PRIMARY KEY,
  since   BIGINT NOT NULL
);
