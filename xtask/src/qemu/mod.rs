//! The emulated machine: how it is started, how a test talks to it, and the tests themselves.

pub mod console;
pub mod dom0;
pub mod guest;
pub mod guests;
mod hostile;
pub mod machine;
pub mod robustness;
pub mod scenario;
pub mod tests;
pub mod userland;

pub use console::Console;
pub use machine::Machine;
