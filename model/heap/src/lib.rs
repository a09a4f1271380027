//! The allocator of machine frames.
#![cfg_attr(not(test), no_std)]
