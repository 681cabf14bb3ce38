//! The client of the activity-message list: authentication, pace, errors in all their shapes.
