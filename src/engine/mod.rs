//! The loop that owns runs.
