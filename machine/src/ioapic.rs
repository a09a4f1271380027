//! The I/O APICs, and how interrupt lines reach them.
