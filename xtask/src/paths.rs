//! Where things lie in the repository and under its `target` folder.

use std::path::{Path, PathBuf};

/// The repository's root.
pub fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest).to_path_buf()
}

/// Everything that is not source: `target/` of the repository, whatever `CARGO_TARGET_DIR` says
/// about compiler output, so that fetched packages are found again.
pub fn target() -> PathBuf {
    root().join("target")
}

/// What `build` leaves behind.
pub fn dist() -> PathBuf {
    target().join("dist")
}

/// Fetched distribution packages, one folder for each suite.
pub fn anchors() -> PathBuf {
    target().join("anchors")
}

/// Built initramfs images.
pub fn images() -> PathBuf {
    target().join("images")
}

/// One log for each QEMU test.
pub fn test_logs() -> PathBuf {
    target().join("test-logs")
}

/// Where cargo puts what it compiles for this run.
pub fn cargo_target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(target, |dir| root().join(dir))
}
