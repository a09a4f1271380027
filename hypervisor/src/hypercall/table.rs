//! The form in which each family of operations is written down: the dispatch and its table are one.
//!
//! `cargo xtask support` reads these tables from the sources and makes `docs/support.md` of them,
//! together with what the tests show. So a row says what its handler can answer, no more and no
//! less: a test that shows an outcome which the row lacks fails, and one that the tests do not
//! show is listed as untested.

/// A `match` over the operations of one family:
///
/// ```text
/// operations! { match sched_op(SchedCmd(command)) {
///     SchedCmd::SHUTDOWN [EFAULT EINVAL] => shutdown(caller, arg),
///     SchedCmd::WATCHDOG [!ok ENOSYS] => Err(Errno::ENOSYS.into()),
///     _ [ENOSYS] => Err(Errno::ENOSYS.into()),
/// } }
/// ```
///
/// In brackets stand the errors that the handler itself can answer with, behind a semicolon the
/// statuses of grant operations. `!ok` marks an operation that is known and never succeeds. What
/// stands at `_` is the family's own.
macro_rules! operations {
    (match $family:ident($number:expr) {
        $(
            $($set:ident::$name:ident)|+
                [$(!$ok:ident)? $($errno:ident)* $(; $($status:ident)*)?] => $handler:expr,
        )*
        _ [$($others:ident)*] => $other:expr $(,)?
    }) => {{
        // The names are checked where they are written down.
        $(
            const _: &[abi::Errno] = &[$(abi::Errno::$errno),*];
            $(const _: &[abi::grant_table::GrantStatus] =
                &[$(abi::grant_table::GrantStatus::$status),*];)?
        )*
        const _: &[abi::Errno] = &[$(abi::Errno::$others),*];
        match $number {
            $($($set::$name)|+ => $handler,)*
            _ => $other,
        }
    }};
}

pub(crate) use operations;
