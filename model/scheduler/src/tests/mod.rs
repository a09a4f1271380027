//! A simulated machine: CPUs that do what they are told, vCPUs that compute and sleep.

mod fairness;
mod machine;
mod placement;
mod queues;
mod states;
mod timers;

use proptest::prelude::ProptestConfig;

/// So many cases of a property; a few in Miri, which is some hundred times slower.
fn cases(n: u32) -> ProptestConfig {
    let cases = if cfg!(miri) { n.div_ceil(100) } else { n };
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}
