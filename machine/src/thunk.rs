//! Where the compiler sends indirect branches and returns, instead of making them itself.
//!
//! | symbol                      | the compiler uses it for               | contract              |
//! |-----------------------------|----------------------------------------|-----------------------|
//! | `__x86_indirect_thunk_r11`  | each indirect call (and jump) to `r11` | keeps every register  |
//! | `__x86_return_thunk`        | each return, by a jump                 | as a `ret`            |
//!
//! Both lie in the upper half of a cache line, where Intel's indirect target selection flaw (ITS)
//! does not reach. What runs on by speculation past either is caught. See `docs/design/0002`.

core::arch::global_asm!(
    ".pushsection .text.entry, \"ax\"",
    // A branch that is predicted by the call above it, and by nothing that a guest can train: to
    // the loop, where speculation ends.
    ".balign 64, 0xcc",
    ".skip 32, 0xcc",
    ".globl __x86_indirect_thunk_r11",
    "__x86_indirect_thunk_r11:",
    "call 2f",
    "1: pause",
    "lfence",
    "jmp 1b",
    "2: movq %r11, (%rsp)",
    "ret",
    "int3",
    ".balign 64, 0xcc",
    ".skip 32, 0xcc",
    ".globl __x86_return_thunk",
    "__x86_return_thunk:",
    "ret",
    "int3",
    ".balign 64, 0xcc",
    ".popsection",
    options(att_syntax)
);
