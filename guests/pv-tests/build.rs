//! Links every program of this package as a paravirtual guest.

fn main() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../pv-runtime/link.ld");
    println!("cargo::rustc-link-arg-bins=-T{script}");
    println!("cargo::rustc-link-arg-bins=-no-pie");
    println!("cargo::rustc-link-arg-bins=--build-id=none");
    println!("cargo::rerun-if-changed={script}");
}
