//! Atomics, ranked locks and a loom backend for their tests.
#![cfg_attr(not(test), no_std)]
