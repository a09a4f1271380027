//! Message-signalled interrupts of PCI devices.
