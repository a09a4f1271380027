//! A 16550 serial port.
