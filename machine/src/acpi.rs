//! ACPI tables: where the processors, interrupt controllers, timers and buses are.
