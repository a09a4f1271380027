//! Event channels: ports, bindings, two-level and FIFO delivery.
#![cfg_attr(not(test), no_std)]
