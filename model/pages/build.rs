//! Tells the compiler that `cfg(loom)` is meant, so that a misspelled one is still reported.

fn main() {
    println!("cargo:rustc-check-cfg=cfg(loom)");
    println!("cargo:rerun-if-changed=build.rs");
}
