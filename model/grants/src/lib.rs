//! Grant tables: entries, map handles, copy plans.
#![cfg_attr(not(test), no_std)]
