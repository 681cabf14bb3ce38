-- What came in a period is counted by type, from the index alone.
DROP INDEX messages_seen;
CREATE INDEX messages_seen ON messages (seen_at, activity_type, message_type, direction);
