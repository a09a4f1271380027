//! Our tools in dom0: what a user does wrong, and what is killed under them. The questions are scripts
//! that run there.

use std::time::Duration;

use super::tests::Script;

/// The scripts of this file.
pub fn scripts() -> [Script; 2] {
    [
        Script {
            name: "mishaps",
            file: "mishaps",
            text: include_str!("../../image/mishaps.sh"),
            sentences: 48,
            limit: Duration::from_secs(900),
        },
        Script {
            name: "killed tools",
            file: "killed",
            text: include_str!("../../image/killed.sh"),
            sentences: 28,
            limit: Duration::from_secs(1200),
        },
    ]
}
