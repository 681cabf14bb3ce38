//! The fake business and the inboxes: everything the relay speaks to, in one process, for demos, staging and tests.
