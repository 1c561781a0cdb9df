//! The pure core of a run: its state is the fold of its events, and what is due follows from the
//! state alone. No clock, no randomness, no files: everything comes in as an argument.

pub mod event;
