//! A simulated machine: CPUs that do what they are told, vCPUs that compute and sleep.

// In Miri a simulated second takes minutes, so there only what needs no simulation is run.
#[cfg(not(miri))]
mod fairness;
#[cfg_attr(miri, allow(dead_code))]
mod machine;
#[cfg(not(miri))]
mod placement;
#[cfg(not(miri))]
mod queues;
mod states;
mod timers;

use proptest::prelude::ProptestConfig;

/// So many cases of a property; a few in Miri, which is some hundred times slower.
fn cases(n: u32) -> ProptestConfig {
    let cases = if cfg!(miri) { n.div_ceil(100) } else { n };
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}
