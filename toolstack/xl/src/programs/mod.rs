//! The programs that this binary is under other names.

pub mod init_dom0;
pub mod xendomains;
pub mod xentop;
