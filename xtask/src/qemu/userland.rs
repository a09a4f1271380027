//! Our tools in dom0: what a user does wrong, what becomes of guests after their creation, and what is
//! killed under the tools. The questions are scripts that run there.

use std::time::Duration;

use super::tests::Script;

/// The scripts of this file.
pub fn scripts() -> [Script; 3] {
    [
        Script {
            name: "mishaps",
            file: "mishaps",
            text: include_str!("../../image/mishaps.sh"),
            sentences: 48,
            limit: Duration::from_secs(900),
        },
        Script {
            name: "a guest's life",
            file: "life",
            text: include_str!("../../image/life.sh"),
            sentences: 87,
            limit: Duration::from_secs(600),
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
