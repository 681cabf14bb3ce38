//! The polling algorithm as a pure sequence of queries: page 1 only, stepping by created_after.
