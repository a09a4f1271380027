//! The Ferroxen hypervisor.
fn main() {}
