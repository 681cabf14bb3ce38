-- By which configuration each instance works: its hash. A table of its own, so that what older instances ask about instances, with
-- statements that they have prepared, stays as it is.
CREATE TABLE configs (
  instance TEXT PRIMARY KEY REFERENCES instances (id) ON DELETE CASCADE,
  hash     TEXT NOT NULL
);
