//! xenstore-tools: see docs/design/0005-toolstack.md.

fn main() {}
