//! The pure core of a run: its state is the fold of its events, and what is due follows from the
//! state alone. No clock, no randomness, no files: everything comes in as an argument.

pub mod decide;
pub mod event;
pub mod graph;
pub mod judge;
pub mod ready;
pub mod scope;
pub mod state;
pub mod view;

pub use decide::{Advance, Attempt, Input, Rejected};
pub use state::Run;
