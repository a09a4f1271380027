//! The kernel's Xen devices and the hypervisor's calls, with a safe face.
