//! Builds, boots, tests and measures Ferroxen.
fn main() {}
