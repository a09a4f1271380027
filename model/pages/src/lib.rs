//! Frame ownership, reference and type counts, page-table validation.
#![cfg_attr(not(test), no_std)]
