#![no_std]
#![no_main]
fn main() {}
pv_runtime::main!(main);
