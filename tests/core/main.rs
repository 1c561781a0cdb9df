//! The core and the engine in a simulated world: scripted actions, simulated time, the real store
//! in a temporary folder. No sleeping, no processes.

mod cases;
mod death;
mod fold;
mod table;
mod world;
