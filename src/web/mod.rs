//! What the running relay serves: health and metrics.
