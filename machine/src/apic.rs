//! The local APIC of this CPU.
