-- Troubles that people were told of and that are not over.
CREATE TABLE told (
  trouble TEXT PRIMARY KEY,
  since   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
