//! What CPUID and model-specific registers a domain sees.
#![cfg_attr(not(test), no_std)]
