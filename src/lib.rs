//! Runwarden executes versioned YAML runbooks with approval gates and a signed log of every step.
//!
//! One line runs through the crate: a fact arrives, a decision is made, it is written and signed,
//! an effect happens on a machine, its result is written and signed. ARCHITECTURE.md is the map;
//! `tests/tidy.rs` keeps the direction in which the modules may import one another.

// Tests may unwrap and print; what ships may not. The command line alone talks, and does it through
// `write!`, so that a closed pipe is an error that it can look at.
#![cfg_attr(not(test), warn(clippy::print_stderr, clippy::print_stdout, clippy::unwrap_used))]
#![warn(unreachable_pub)]

pub mod action;
pub mod audit;
pub mod cli;
pub mod engine;
pub mod id;
pub mod limits;
pub mod outcome;
pub mod plan;
pub mod run;
pub mod runbook;
pub mod store;
pub mod time;
pub mod unit;
