-- Counted by whoever makes the change, once for a whole batch (tally.rs): for each statement that fires a trigger, SQLite keeps
-- a copy of every page that it changes.
DROP TRIGGER messages_counted;
DROP TRIGGER deliveries_counted;
DROP TRIGGER deliveries_recounted;
DROP TRIGGER deliveries_uncounted;

-- What is being sent is not among what waits: what is sent as soon as it is taken in never comes there.
DROP INDEX deliveries_due;
CREATE INDEX deliveries_due ON deliveries (target, due_at, created_at) WHERE state = 'pending';

-- A message that is known by its uid alone is looked for in each account.
DROP INDEX messages_uid;
