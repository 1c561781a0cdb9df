//! The runbook language: YAML with spans → checked, all problems at once → a model that is valid
//! by construction. Pure: no clock, no files, no processes.

pub mod expr;
pub mod model;
pub mod params;
pub mod pattern;
pub mod problem;
pub mod resolve;
pub mod scope;
pub mod template;
pub mod value;

pub use problem::{Problem, Severity, Span};
