//! The formats of saved guests.
