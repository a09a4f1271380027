//! A domain's life as a library.
