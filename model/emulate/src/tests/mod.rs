//! Tests of whole instructions on a machine made of a few arrays.

mod fake;
mod forms;
mod fuzz;
mod hot;
mod memory;
mod privileged;
mod reference;
