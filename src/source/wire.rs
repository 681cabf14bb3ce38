//! JSON to messages: the tolerant reader.
