//! A simulated machine: CPUs that do what they are told, vCPUs that compute and sleep.

mod fairness;
mod machine;
mod placement;
mod states;
