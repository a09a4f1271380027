//! Our tools in dom0: what a user does wrong, what becomes of guests after their creation, what is
//! killed under the tools, and how they get on with the distribution's. The questions are scripts that
//! run there.

use std::time::Duration;

use super::tests::Script;

/// Both toolsets with our daemons: the distribution's tools are the strangers.
pub const CROSSING_OURS: Script = Script {
    name: "both toolsets with our daemons",
    file: "crossing",
    text: include_str!("../../image/crossing.sh"),
    daemons: "STORED=rust CONSOLED=rust",
    sentences: 38,
    limit: Duration::from_secs(900),
};

/// The other way round.
pub const CROSSING_THEIRS: Script = Script {
    name: "both toolsets with the distribution's daemons",
    daemons: "STORED=c CONSOLED=c",
    ..CROSSING_OURS
};

/// The scripts of this file.
pub fn scripts() -> [Script; 5] {
    [
        CROSSING_OURS,
        CROSSING_THEIRS,
        Script {
            name: "mishaps",
            file: "mishaps",
            text: include_str!("../../image/mishaps.sh"),
            daemons: "",
            sentences: 48,
            limit: Duration::from_secs(900),
        },
        Script {
            name: "a guest's life",
            file: "life",
            text: include_str!("../../image/life.sh"),
            daemons: "",
            sentences: 87,
            limit: Duration::from_secs(900),
        },
        Script {
            name: "killed tools",
            file: "killed",
            text: include_str!("../../image/killed.sh"),
            daemons: "",
            sentences: 28,
            limit: Duration::from_secs(1200),
        },
    ]
}
