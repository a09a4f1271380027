//! `event_channel_op`: the FIFO ABI.

use crate::{BEYOND, NOWHERE, Test, foreign_frame, test};
use pv_runtime::Outcome;
use pv_runtime::answers::Answers;
use pv_runtime::hypercall::{DOMID_SELF, call2, errno, nr};
use pv_runtime::outcome::{expect, holds};
use pv_runtime::puppet::Puppet;

pub const TESTS: &[Test] = &[test("answers-event-fifo", fifo)];

const INIT: u64 = 11;
const EXPAND: u64 = 12;
const PRIORITY: u64 = 13;

#[derive(Clone, Copy)]
#[repr(C)]
struct Control {
    frame: u64,
    offset: u32,
    vcpu: u32,
    bits: u8,
}

/// All of it is done by the other domain: there is no way back from this ABI but a reset.
fn fifo() -> Outcome {
    const CONTROL: &str = "event_channel_op.init_control";
    const ARRAY: &str = "event_channel_op.expand_array";
    const RANK: &str = "event_channel_op.set_priority";
    let mut a = Answers::new();
    let mut puppet = Puppet::start()?;
    let frame = puppet.data_frame(9);
    let good = Control { frame, offset: 0, vcpu: 0, bits: 0 };
    let mut port = [0u32; 2];
    let result = puppet.call_with(nr::EVENT_CHANNEL_OP, [7, 0, 0, 0, 0], 1, &mut port);
    a.step(expect("a port", result, 0));
    let port = port[1];
    let mut set = |number: u64, words: [u64; 3]| {
        puppet.call_with(nr::EVENT_CHANNEL_OP, [number, 0, 0, 0, 0], 1, &mut { words })
    };
    let rank = |port: u32, rank: u64| [u64::from(port) | rank << 32, 0, 0];
    a.refuses(RANK, set(PRIORITY, rank(port, 3)), errno::ENOSYS);
    a.refuses(ARRAY, set(EXPAND, [frame, 0, 0]), errno::EOPNOTSUPP);
    let mut init = |control: Control| {
        let mut control = control;
        let result = puppet.call_with(nr::EVENT_CHANNEL_OP, [INIT, 0, 0, 0, 0], 1, &mut control);
        (result, control.bits)
    };
    a.refuses(CONTROL, init(Control { vcpu: 9, ..good }).0, errno::ENOENT);
    a.refuses(CONTROL, init(Control { offset: 4, ..good }).0, errno::EINVAL);
    a.refuses(CONTROL, init(Control { offset: 4090, ..good }).0, errno::EINVAL);
    a.refuses(CONTROL, init(Control { frame: BEYOND, ..good }).0, errno::EINVAL);
    a.refuses(CONTROL, init(Control { frame: foreign_frame(), ..good }).0, errno::EINVAL);
    let (result, bits) = init(good);
    let again = expect("again", init(good).0, errno::EINVAL);
    a.works(
        CONTROL,
        expect("the block", result, 0).and(expect("link bits", bits.into(), 17)).and(again),
    );
    a.refuses(CONTROL, init(good).0, errno::EINVAL);
    let array = puppet.data_frame(1);
    let mut set = |number: u64, words: [u64; 3]| {
        puppet.call_with(nr::EVENT_CHANNEL_OP, [number, 0, 0, 0, 0], 1, &mut { words })
    };
    a.refuses(ARRAY, set(EXPAND, [BEYOND, 0, 0]), errno::EINVAL);
    a.refuses(ARRAY, set(EXPAND, [foreign_frame(), 0, 0]), errno::EINVAL);
    let result = set(EXPAND, [array, 0, 0]);
    let ranked = set(PRIORITY, rank(port, 3));
    let sent = set(4, [port.into(), 0, 0]);
    let word = puppet.data(1).read(port as usize / 2) >> (32 * (port % 2));
    // Pending is bit 31.
    let pending = holds("its word says pending", word & 1 << 31 != 0);
    a.works(ARRAY, expect("the words", result, 0).and(expect("sending", sent, 0)).and(pending));
    a.works(RANK, expect("setting", ranked, 0));
    let mut set = |number: u64, words: [u64; 3]| {
        puppet.call_with(nr::EVENT_CHANNEL_OP, [number, 0, 0, 0, 0], 1, &mut { words })
    };
    a.refuses(RANK, set(PRIORITY, rank(port, 16)), errno::EINVAL);
    a.refuses(RANK, set(PRIORITY, rank(0xffff_ffff, 3)), errno::EINVAL);
    // 128 pages of words are all that there can be.
    let mut last = 0;
    for _ in 0..130 {
        last = set(EXPAND, [array, 0, 0]);
        if last != 0 {
            break;
        }
    }
    a.refuses(ARRAY, last, errno::ENOSPC);
    for (number, name) in [(INIT, CONTROL), (EXPAND, ARRAY), (PRIORITY, RANK)] {
        a.refuses(name, call2(nr::EVENT_CHANNEL_OP, number, NOWHERE), errno::EFAULT);
    }
    let _ = DOMID_SELF;
    puppet.end()?;
    a.end()
}
