//! Grant tables: entries, map handles, copy plans.
//!
//! A domain (the *granter*) writes entries into pages that it shares with the hypervisor; another
//! domain (the *user*) names an entry by its [`abi::GrantRef`] and maps, copies or gives a page.
//! This crate decides whether it may, and keeps the counts; it reads no page and writes no page
//! table. Three things are kept apart:
//!
//! - the **shared entry** ([`shared`]) belongs to a hostile guest. It is read and changed word by
//!   word, and what was read once is never read again to be believed differently.
//! - the **active entry** ([`active`]) is the hypervisor's own record of a grant in use: who uses
//!   it, which machine frame it meant when it was first used, how many uses there are (*pins*).
//!   One lock bit for each entry, so that different grants never wait for one another.
//! - the **map handle** ([`maptrack`]) belongs to the user's domain and stands for one mapping.
//!   It owns a pin. The page-table entry owns the page reference, as any page-table entry does.
//!
//! Page references are tokens of the caller's own type (`H`): this crate only passes them from
//! the caller's resolver to the caller's page-table code, so a failing path cannot lose one.
//!
//! # Mapping
//!
//! ```text
//! slot   = user.maptrack.reserve()                  no memory -> supply a frame, try again
//! mapped = granter.table.map(ref, user, access, |target| ..take a page reference..)
//! install mapped.hold in the page table             failed -> granter.table.unpin, slot cancelled
//! handle = user.maptrack.commit(slot, ..)
//! ```
//!
//! # Unmapping
//!
//! ```text
//! claim  = user.maptrack.claim(handle)              exactly one claimant wins
//! take the expected entry out of the page table     failed -> maptrack.abort(claim)
//! flush TLBs, once for the whole batch
//! granter.table.unpin(..); maptrack.finish(claim, ..)
//! ```
//!
//! Numbers and errors are those of Xen 4.20's `public/grant_table.h`.
#![cfg_attr(not(test), no_std)]
#![cfg_attr(
    test,
    allow(
        clippy::arithmetic_side_effects,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss
    )
)]

pub mod active;
pub mod admin;
pub mod copy;
pub mod maptrack;
pub mod shared;
pub mod status;
pub mod table;
pub mod transfer;

#[cfg(test)]
mod tests;

pub use active::{Access, ActiveEntry, Pins, Record};
pub use admin::Admin;
pub use copy::{CopyOp, CopyPin, CopyPtr, Direct, Lease, NoTransit, Operand, Transit};
pub use maptrack::{Claim, MapEntry, Maptrack, MaptrackMemory, Reserved};
pub use shared::{AtomicV1, AtomicV2, Memory, WordsV1, WordsV2};
pub use status::{Status, Version};
pub use table::{GrantTable, Mapped, Target};
