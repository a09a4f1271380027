//! CPU, paging, devices, guest memory.
#![no_std]
