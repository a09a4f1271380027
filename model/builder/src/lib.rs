//! Kernel images and the initial memory layout of PV domains.
#![cfg_attr(not(test), no_std)]
