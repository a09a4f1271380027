//! x86 instruction execution over register and memory traits.
#![cfg_attr(not(test), no_std)]
