//! Growth, change of version, exchange.

use super::*;
use crate::Version;
use abi::Errno;

#[test]
fn growth_is_bounded_by_the_limit_and_never_shrinks() {
    let table = table(OWNER, 2);
    let admin = table.admin();
    assert_eq!(admin.growth(65), Err(Status::GeneralError));
    assert_eq!(admin.growth(64), Ok(2..64));
    assert!(admin.growth(1).unwrap().is_empty());
    admin.set_frames(1);
    assert_eq!(table.sizes(), (2, 64));
}

#[test]
fn one_status_frame_serves_eight_frames_of_version_two() {
    let table = table(OWNER, 1);
    assert_eq!(table.admin().status_growth(Version::V2, 9), 0..2);
    assert_eq!(table.admin().status_growth(Version::V1, 9), 0..0);
    assert_eq!(table.check_status_frames(1), Err(Status::GeneralError));
    table.admin().set_version(Version::V2).unwrap();
    assert_eq!(table.status_frames(), 1);
    assert_eq!(table.check_status_frames(1), Ok(()));
    assert_eq!(table.check_status_frames(2), Err(Status::GeneralError));
}

#[test]
fn a_change_of_version_keeps_reserved_entries_and_their_uses_and_zeroes_others() {
    let table = table(OWNER, 1);
    grant(&table, 1, gtf::PERMIT_ACCESS, USER, 7);
    grant(&table, 2, gtf::PERMIT_ACCESS | gtf::READING, USER, 8);
    grant(&table, 8, gtf::PERMIT_ACCESS, USER, 9);
    let _ = table.map(GrantRef(1), USER, WRITE, resolve(OWNER)).unwrap();
    table.admin().set_version(Version::V2).unwrap();
    assert_eq!(marks(&table, 1), gtf::READING | gtf::WRITING);
    assert_eq!(marks(&table, 2), 0, "a mark that the guest set means nothing");
    let memory = table.memory();
    let read = |gref: usize| {
        let entry = &memory.v2[gref];
        (entry.header.load(Ordering::SeqCst), entry.frame.load(Ordering::SeqCst))
    };
    assert_eq!(read(1), (Header::new(gtf::PERMIT_ACCESS, USER).0, 7));
    assert_eq!(read(8), (0, 0));
    table.admin().set_version(Version::V1).unwrap();
    assert_eq!(marks(&table, 1), gtf::READING | gtf::WRITING);
    table.unpin(GrantRef(1), WRITE).unwrap();
    assert_eq!(marks(&table, 1), 0);
    assert_eq!(memory.v1[1].1.load(Ordering::SeqCst), 7);
}

#[test]
fn a_change_of_version_is_refused_while_an_ordinary_entry_is_in_use() {
    let table = table(OWNER, 1);
    grant(&table, 300, gtf::PERMIT_ACCESS, USER, 7);
    let _ = table.map(GrantRef(300), USER, READ, resolve(OWNER)).unwrap();
    assert_eq!(table.admin().set_version(Version::V2), Err(Errno::EBUSY));
    assert_eq!(table.version(), Version::V1);
    // No lock stayed behind.
    table.unpin(GrantRef(300), READ).unwrap();
    grant(&table, 0, gtf::PERMIT_ACCESS, USER, 7);
    let _ = table.map(GrantRef(0), USER, READ, resolve(OWNER)).unwrap();
    assert_eq!(table.admin().set_version(Version::V2), Ok(()));
}

#[test]
fn version_one_is_refused_when_a_reserved_frame_number_would_be_cut() {
    let table = table(OWNER, 1);
    table.admin().set_version(Version::V2).unwrap();
    grant(&table, 0, gtf::PERMIT_ACCESS, USER, 1 << 32);
    assert_eq!(table.admin().set_version(Version::V1), Err(Errno::ERANGE));
    grant(&table, 0, gtf::TRANSITIVE, USER, 1 << 32);
    assert_eq!(table.admin().set_version(Version::V1), Ok(()));
    assert_eq!(table.memory().v1[0].0.load(Ordering::SeqCst), 0);
}

#[test]
fn unused_entries_exchange_and_used_ones_do_not() {
    for version in [1, 2] {
        let table = table(OWNER, 1);
        table.admin().set_version(Version::from_raw(version).unwrap()).unwrap();
        grant(&table, 10, gtf::PERMIT_ACCESS, USER, 7);
        grant(&table, 11, gtf::PERMIT_ACCESS, OTHER, 8);
        assert_eq!(table.swap(GrantRef(11), GrantRef(10)), Ok(()));
        assert_eq!(table.swap(GrantRef(10), GrantRef(10)), Ok(()));
        assert_eq!(table.swap(GrantRef(10), GrantRef(512)), Err(Status::BadGntref));
        let mapped = table.map(GrantRef(10), OTHER, READ, resolve(OWNER)).unwrap();
        assert_eq!(mapped.mfn, Mfn(8005));
        assert_eq!(table.swap(GrantRef(10), GrantRef(11)), Err(Status::Eagain));
        assert_eq!(table.swap(GrantRef(11), GrantRef(10)), Err(Status::Eagain));
        let mapped = table.map(GrantRef(11), USER, READ, resolve(OWNER)).unwrap();
        assert_eq!(mapped.mfn, Mfn(7005));
    }
}
