-- By which configuration each instance works: its hash, unknown of one of an older version.
ALTER TABLE instances ADD COLUMN config TEXT;
