//! The battery-backed clock.
