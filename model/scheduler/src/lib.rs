//! Run queues, weights, affinity.
#![cfg_attr(not(test), no_std)]
