//! Doubly linked lists through the units.

use crate::unit::{Handle, Place, Unit, Vcpus};

const NONE: Handle = Handle(u32::MAX);

fn some(handle: Handle) -> Option<Handle> {
    (handle != NONE).then_some(handle)
}

/// A list of units, ordered by virtual time if they are put in so.
#[derive(Debug)]
pub(crate) struct List {
    head: Handle,
    len: u32,
    place: Place,
}

impl List {
    /// An empty list, whose members are at `place`.
    pub(crate) const fn new(place: Place) -> List {
        List { head: NONE, len: 0, place }
    }

    pub(crate) fn first(&self) -> Option<Handle> {
        some(self.head)
    }

    pub(crate) fn len(&self) -> u32 {
        self.len
    }

    pub(crate) fn after(unit: &Unit) -> Option<Handle> {
        some(Handle(unit.next.get()))
    }

    /// Puts a unit behind all whose virtual time is not larger.
    pub(crate) fn insert<V: Vcpus>(&mut self, vcpus: &V, handle: Handle, unit: &Unit) {
        let vtime = unit.vtime.get();
        let (mut before, mut behind) = (NONE, self.head);
        while let Some(other) = some(behind).and_then(|h| vcpus.unit(h)) {
            if other.vtime.get() > vtime {
                break;
            }
            before = behind;
            behind = Handle(other.next.get());
        }
        unit.prev.set(before.0);
        unit.next.set(behind.0);
        match vcpus.unit(before) {
            Some(other) => other.next.set(handle.0),
            None => self.head = handle,
        }
        if let Some(other) = vcpus.unit(behind) {
            other.prev.set(handle.0);
        }
        self.len = self.len.wrapping_add(1);
        unit.set_place(self.place);
    }

    /// Takes a unit out, which is in this list.
    pub(crate) fn remove<V: Vcpus>(&mut self, vcpus: &V, unit: &Unit) {
        let (before, behind) = (Handle(unit.prev.get()), Handle(unit.next.get()));
        match vcpus.unit(before) {
            Some(other) => other.next.set(behind.0),
            None => self.head = behind,
        }
        if let Some(other) = vcpus.unit(behind) {
            other.prev.set(before.0);
        }
        unit.next.set(NONE.0);
        unit.prev.set(NONE.0);
        self.len = self.len.wrapping_sub(1);
        unit.set_place(Place::Off);
    }
}
