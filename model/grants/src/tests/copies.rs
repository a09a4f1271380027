//! Copies: operands, windows, parts of pages, transitive grants.

use super::*;
use crate::copy::OWN_WINDOW;
use crate::{CopyOp, CopyPtr, Direct, NoTransit, Operand, Transit, Version};
use abi::Gfn;

fn op(source: (u64, DomId, u16), dest: (u64, DomId, u16), len: u16, flags: u16) -> CopyOp {
    let ptr = |(value, domid, offset)| CopyPtr { value, domid, offset };
    CopyOp { source: ptr(source), dest: ptr(dest), len, flags }
}

#[test]
fn only_grants_name_memory_of_other_domains() {
    let own = (3, DomId::SELF, 0);
    let foreign = (4, OTHER, 0);
    assert_eq!(op(own, foreign, 1, 0).operands(), Err(Status::PermissionDenied));
    assert_eq!(op(foreign, own, 1, 2).operands(), Err(Status::PermissionDenied));
    assert_eq!(
        op(own, foreign, 1, 2).operands(),
        Ok((Operand::Own(Gfn(3)), Operand::Grant(OTHER, GrantRef(4))))
    );
}

#[test]
fn a_copy_stays_within_page_and_window_at_every_edge() {
    let check = |offset, len, window| {
        op((0, DomId::SELF, offset), (0, DomId::SELF, 0), len, 0).check_windows(window, OWN_WINDOW)
    };
    for offset in [0u16, 1, 99, 100, 101, 4095, 4096, 4097, 0xffff] {
        for len in [0u16, 1, 50, 51, 4095, 4096, 4097, 0xffff] {
            for window in [(0u16, 4096u16), (100, 50), (0xffff, 0xffff), (0, 0)] {
                let end = u64::from(offset) + u64::from(len);
                let in_page = end <= 4096 && len <= 4096;
                let in_window =
                    offset >= window.0 && end <= u64::from(window.0) + u64::from(window.1);
                let wanted = match (in_page, in_window) {
                    (false, _) => Err(Status::BadCopyArg),
                    (true, false) => Err(Status::GeneralError),
                    (true, true) => Ok(()),
                };
                assert_eq!(check(offset, len, window), wanted, "{offset} {len} {window:?}");
            }
        }
    }
}

#[test]
fn a_part_of_a_page_may_be_copied_and_not_mapped() {
    let table = table(OWNER, 1);
    table.admin().set_version(Version::V2).unwrap();
    grant(&table, 5, gtf::PERMIT_ACCESS | gtf::SUB_PAGE, USER, 7);
    table.memory().v2[5].span.store(100 | 50 << 16, Ordering::SeqCst);
    let map = || table.map(GrantRef(5), USER, READ, resolve(OWNER)).map(|mapped| mapped.mfn);
    assert_eq!(map(), Err(Status::GeneralError));
    let lease = table.acquire(GrantRef(5), USER, false, resolve(OWNER), &mut NoTransit).unwrap();
    assert_eq!((lease.mfn(), lease.window()), (Mfn(7005), (100, 50)));
    // Turning it into a whole page while it is in use changes nothing.
    grant(&table, 5, gtf::PERMIT_ACCESS, USER, 7);
    assert_eq!(map(), Err(Status::GeneralError));
    table.release(lease.inner.pin).unwrap();
    assert_eq!(map(), Ok(Mfn(7005)));
}

/// Two domains' tables, and how many leases are out.
struct World<'a> {
    third: &'a GrantTable<Plain>,
    out: u32,
    /// Done between the inner lease and the outer pin.
    meanwhile: Option<Box<dyn FnMut() + 'a>>,
}

impl Transit<Mfn> for World<'_> {
    fn enter(
        &mut self,
        domid: DomId,
        gref: GrantRef,
        by: DomId,
        readonly: bool,
    ) -> Result<Direct<Mfn>, Status> {
        if domid != self.third.owner() {
            return Err(Status::GeneralError);
        }
        let lease = self.third.acquire_direct(gref, by, readonly, resolve(domid))?;
        self.out += 1;
        if let Some(meanwhile) = &mut self.meanwhile {
            meanwhile();
        }
        Ok(lease)
    }
    fn leave(&mut self, lease: Direct<Mfn>) {
        self.out -= 1;
        self.third.release(lease.pin).unwrap();
    }
}

/// A table whose entry 20 stands for entry 30 of a second table.
fn transitive() -> (GrantTable<Plain>, GrantTable<Plain>) {
    let (first, third) = (table(OWNER, 1), table(OTHER, 1));
    first.admin().set_version(Version::V2).unwrap();
    grant(&first, 20, gtf::TRANSITIVE, USER, 30);
    first.memory().v2[20].span.store(u32::from(OTHER.0), Ordering::SeqCst);
    grant(&third, 30, gtf::PERMIT_ACCESS | gtf::READONLY, OWNER, 9);
    (first, third)
}

#[test]
fn a_transitive_grant_leases_the_third_domains_frame_and_pins_both() {
    let (first, third) = transitive();
    let mut world = World { third: &third, out: 0, meanwhile: None };
    let mut acquire = |by, ro| first.acquire(GrantRef(20), by, ro, resolve(OWNER), &mut world);
    let lease = acquire(USER, true).unwrap();
    assert_eq!((lease.mfn(), lease.window()), (Mfn(9002), (0, 4096)));
    assert_eq!((marks(&first, 20), marks(&third, 30)), (gtf::READING, gtf::READING));
    let again = acquire(USER, true).unwrap();
    assert_eq!(acquire(USER, false).unwrap_err(), Status::GeneralError, "the inner is read-only");
    assert_eq!(acquire(OTHER, true).unwrap_err(), Status::GeneralError);
    let map = first.map(GrantRef(20), USER, READ, resolve(OWNER));
    assert_eq!(map.unwrap_err(), Status::GeneralError, "never mapped");
    for lease in [lease, again] {
        first.release(lease.outer.unwrap()).unwrap();
        third.release(lease.inner.pin).unwrap();
    }
    assert_eq!((marks(&first, 20), marks(&third, 30)), (0, 0));
}

#[test]
fn a_transitive_grant_of_a_transitive_grant_or_of_itself_is_refused() {
    let (first, third) = transitive();
    third.admin().set_version(Version::V2).unwrap();
    grant(&third, 30, gtf::TRANSITIVE, OWNER, 9);
    let mut world = World { third: &third, out: 0, meanwhile: None };
    let two = first.acquire(GrantRef(20), USER, true, resolve(OWNER), &mut world);
    assert_eq!(two.unwrap_err(), Status::GeneralError);
    first.memory().v2[20].span.store(u32::from(OWNER.0), Ordering::SeqCst);
    let own = first.acquire(GrantRef(20), USER, true, resolve(OWNER), &mut world);
    assert_eq!(own.unwrap_err(), Status::GeneralError);
    let none = first.acquire(GrantRef(20), USER, true, resolve(OWNER), &mut NoTransit);
    assert_eq!(none.unwrap_err(), Status::GeneralError);
    assert_eq!((marks(&first, 20), marks(&third, 30), world.out), (0, 0, 0));
}

#[test]
fn a_transitive_grant_that_is_redirected_meanwhile_is_to_be_tried_again() {
    let (first, third) = transitive();
    let redirect = || first.memory().v2[20].frame.store(31, Ordering::SeqCst);
    let mut world = World { third: &third, out: 0, meanwhile: Some(Box::new(redirect)) };
    let lease = first.acquire(GrantRef(20), USER, true, resolve(OWNER), &mut world);
    assert_eq!(lease.unwrap_err(), Status::Eagain);
    assert_eq!((marks(&first, 20), marks(&third, 30), world.out), (0, 0, 0));
}

#[test]
fn a_direct_lease_and_a_transitive_one_do_not_share_an_entry() {
    let (first, third) = transitive();
    let mut world = World { third: &third, out: 0, meanwhile: None };
    let lease = first.acquire(GrantRef(20), USER, true, resolve(OWNER), &mut world).unwrap();
    grant(&first, 20, gtf::PERMIT_ACCESS, USER, 7);
    let direct = first.acquire(GrantRef(20), USER, true, resolve(OWNER), &mut world);
    assert_eq!(direct.unwrap_err(), Status::Eagain);
    first.release(lease.outer.unwrap()).unwrap();
    let direct = first.acquire(GrantRef(20), USER, true, resolve(OWNER), &mut world).unwrap();
    grant(&first, 20, gtf::TRANSITIVE, USER, 30);
    let through = first.acquire(GrantRef(20), USER, true, resolve(OWNER), &mut world);
    assert_eq!(through.unwrap_err(), Status::Eagain);
    assert_eq!(first.pinned_frame(GrantRef(20)), Some(direct.mfn()));
    let foreign = third.release(direct.inner.pin);
    assert!(foreign.is_err(), "a pin goes back to its own table only");
}
