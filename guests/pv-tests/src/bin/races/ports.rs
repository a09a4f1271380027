//! Ports that are closed while events are sent to them.

use crate::{Test, WINS, against, stopped, test};
use core::sync::atomic::{AtomicU32, Ordering};
use pv_runtime::events::{alloc_unbound, bind_interdomain, close, send};
use pv_runtime::hypercall::errno;
use pv_runtime::outcome::{Outcome, expect};
use pv_runtime::println;

pub const TESTS: &[Test] = &[test("race-close-against-send", close_against_send)];

static PORTS: [AtomicU32; 2] = [const { AtomicU32::new(0) }; 2];
static STRANGE: AtomicU32 = AtomicU32::new(0);

/// Sends to, and closes, ports that may be gone or another pair by now.
fn send_and_close() {
    let mut turn = 0u32;
    while !stopped() {
        turn = turn.wrapping_add(1);
        let port = PORTS[turn as usize % 2].load(Ordering::SeqCst);
        let result = if turn.is_multiple_of(7) { close(port) } else { send(port) };
        match result {
            0 => {
                WINS.fetch_add(1, Ordering::SeqCst);
            }
            errno::EINVAL => {}
            _ => {
                STRANGE.fetch_add(1, Ordering::SeqCst);
            }
        }
    }
}

/// Each port of a pair is closed once, by one of two CPUs, whatever is sent meanwhile; and all can
/// be had again.
fn close_against_send() -> Outcome {
    let (result, lowest) = alloc_unbound(0);
    expect("a port", result, 0)?;
    expect("closing it", close(lowest), 0)?;
    let lost = core::cell::Cell::new(0u32);
    let round = || {
        let (result, first) = alloc_unbound(0);
        expect("a port", result, 0)?;
        PORTS[0].store(first, Ordering::SeqCst);
        // The other CPU may have closed it already.
        let (result, second) = bind_interdomain(0, first);
        if result == 0 {
            PORTS[1].store(second, Ordering::SeqCst);
        } else {
            expect("binding to it", result, errno::EINVAL)?;
        }
        for port in [first, second] {
            if port != 0 && close(port) != 0 {
                lost.set(lost.get() + 1);
            }
        }
        Ok(())
    };
    let enough = |made| made >= 2000 && WINS.load(Ordering::SeqCst) >= 100;
    let outcome = against(send_and_close, round, enough);
    println!("{} sent or closed, {} closed by the other", WINS.load(Ordering::SeqCst), lost.get());
    outcome?;
    expect("other answers", STRANGE.load(Ordering::SeqCst).into(), 0)?;
    let (result, again) = alloc_unbound(0);
    expect("a port", result, 0)?;
    expect("the lowest", again.into(), lowest.into())?;
    expect("closing it", close(again), 0)
}
