//! Kernel images and the initial memory layout of PV domains.
#![cfg_attr(not(test), no_std)]
#![cfg_attr(
    test,
    allow(
        clippy::arithmetic_side_effects,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss
    )
)]

extern crate alloc;

pub mod codec;
pub mod elf;
pub mod image;
pub mod kernel;
pub mod layout;
mod num;
pub mod start_info;
pub mod tables;
