//! The allocator of machine frames: a binary buddy system over all memory that is nobody's.
//!
//! It needs no memory beyond its own list heads: the links between free blocks, and one byte
//! that says what a frame is to the allocator, live in the frame table, reached through
//! [`Links`]. It holds no lock; the caller has one around it.
//!
//! - A block of order *n* is 2^n frames, aligned to its size; orders run from 0 to [`MAX_ORDER`].
//! - Free blocks are kept apart by the *width* of their addresses, so that "below 2^bits bytes",
//!   as DMA asks for, is a mask of lists and never a search. Frame 0 is refused, and with it no
//!   block ever straddles two widths.
//! - What was allocated with order *n* is freed with order *n*, or after [`Heap::split`] in
//!   smaller pieces; anything else is an error and changes nothing.
#![cfg_attr(not(test), no_std)]
#![cfg_attr(
    test,
    allow(
        clippy::arithmetic_side_effects,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss
    )
)]

mod buddy;
mod links;
mod order;
#[cfg(test)]
mod tests;

pub use buddy::{Heap, HeapError};
pub use links::Links;
pub use order::MAX_ORDER;
