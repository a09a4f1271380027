//! A list of frames threaded through their records.

use abi::Mfn;

use crate::{Env, Frame};

/// A list of a domain's frames.
///
/// The links lie in the frames' records; the list belongs to whoever holds the lock around it, as
/// its `&mut` methods say. A frame is on one list at most. Frame 0 and frames from 2^32 on cannot
/// be listed: the first is the mark for "none" and is never given to anybody.
#[derive(Debug, Default)]
pub struct PageList {
    head: u32,
    tail: u32,
    len: u64,
}

impl PageList {
    /// A list of no frames.
    #[must_use]
    pub const fn new() -> Self {
        Self { head: 0, tail: 0, len: 0 }
    }

    /// Frames on it.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.len
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The first frame.
    #[must_use]
    pub fn first(&self) -> Option<Mfn> {
        number(self.head)
    }

    /// The frame after `mfn`, which must be on this list.
    #[must_use]
    pub fn after(&self, env: &impl Env, mfn: Mfn) -> Option<Mfn> {
        number(env.frame(mfn)?.next())
    }

    /// Puts a frame at the end. Says whether it could: not if the frame has no record, cannot be
    /// listed, or is on a list already.
    #[must_use]
    pub fn push(&mut self, env: &impl Env, mfn: Mfn) -> bool {
        let (Some(frame), Ok(link)) = (env.frame(mfn), u32::try_from(mfn.0)) else {
            return false;
        };
        let listed = frame.next() != 0 || frame.prev() != 0 || self.head == link;
        if link == 0 || listed {
            return false;
        }
        frame.set_prev(self.tail);
        match linked(env, self.tail) {
            Some(tail) => tail.set_next(link),
            None => self.head = link,
        }
        self.tail = link;
        self.len = self.len.saturating_add(1);
        true
    }

    /// Takes a frame off. Says whether it was on.
    #[must_use]
    pub fn remove(&mut self, env: &impl Env, mfn: Mfn) -> bool {
        let (Some(frame), Ok(link)) = (env.frame(mfn), u32::try_from(mfn.0)) else {
            return false;
        };
        let (next, prev) = (frame.next(), frame.prev());
        if link == 0 || (prev == 0 && self.head != link) || (next == 0 && self.tail != link) {
            return false;
        }
        match linked(env, prev) {
            Some(p) => p.set_next(next),
            None => self.head = next,
        }
        match linked(env, next) {
            Some(n) => n.set_prev(prev),
            None => self.tail = prev,
        }
        frame.set_next(0);
        frame.set_prev(0);
        self.len = self.len.saturating_sub(1);
        true
    }

    /// Takes the first frame off.
    pub fn pop(&mut self, env: &impl Env) -> Option<Mfn> {
        let mfn = self.first()?;
        self.remove(env, mfn).then_some(mfn)
    }
}

fn number(link: u32) -> Option<Mfn> {
    (link != 0).then_some(Mfn(u64::from(link)))
}

fn linked<E: Env>(env: &E, link: u32) -> Option<&Frame> {
    env.frame(number(link)?)
}
