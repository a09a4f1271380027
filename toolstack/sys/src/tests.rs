//! What the typed calls hand to the hypervisor, and what they make of its answers.

use std::sync::{Arc, Mutex};

use rustix::io::Errno;
use rustix::mm::ProtFlags;
use zerocopy::{FromBytes, IntoBytes};

use abi::domctl::{self, Domctl, DomctlCmd, GetDomainInfo};
use abi::memory::MemoryReservation;
use abi::sysctl::{GetDomainInfoList, ReadConsole, Sysctl};
use abi::xen::{Hypercall, MmuextOp};

use crate::ioctl::Pages;
use crate::raw::{Backend, Resource};
use crate::*;

type Answer = std::result::Result<i64, Errno>;
type Handler = Box<dyn FnMut(Hypercall, [u64; 5]) -> Answer + Send>;

/// A hypervisor that is a closure.
struct Fake {
    handler: Mutex<Handler>,
    map_errors: Vec<i32>,
}

impl Backend for Fake {
    fn hypercall(&self, op: Hypercall, args: [u64; 5]) -> Answer {
        (self.handler.lock().unwrap())(op, args)
    }

    fn map_foreign(
        &self,
        _: u16,
        _: ProtFlags,
        frames: &[u64],
        errors: &mut [i32],
    ) -> std::result::Result<Pages, Errno> {
        for (error, wanted) in errors.iter_mut().zip(&self.map_errors) {
            *error = *wanted;
        }
        Pages::locked(frames.len() * PAGE)
    }

    fn map_resource(&self, resource: &Resource) -> std::result::Result<Pages, Errno> {
        Pages::locked(resource.frames * PAGE)
    }
}

fn xen(handler: impl FnMut(Hypercall, [u64; 5]) -> Answer + Send + 'static) -> Xen {
    Xen::with(Fake { handler: Mutex::new(Box::new(handler)), map_errors: Vec::new() })
}

/// Reads what a call's argument points to, as the hypervisor does.
fn peek<T: FromBytes>(address: u64) -> T {
    let at = std::ptr::with_exposed_provenance::<T>(address as usize);
    // SAFETY: the tests ask only for what the call under test has put there.
    unsafe { at.read_unaligned() }
}

/// Writes there.
fn poke<T: IntoBytes>(address: u64, value: T) {
    let at = std::ptr::with_exposed_provenance_mut::<T>(address as usize);
    // SAFETY: the tests write only where the call under test has made room.
    unsafe { at.write_unaligned(value) }
}

fn payload<T: FromBytes>(words: &[u64; 16]) -> T {
    T::read_from_prefix(words.as_bytes()).unwrap().0
}

#[test]
fn a_domctl_carries_version_command_domain_and_structure() {
    let xen = xen(|op, args| {
        assert_eq!(op, Hypercall::DOMCTL);
        let d: Domctl = peek(args[0]);
        assert_eq!((d.cmd, d.interface_version, d.domain), (DomctlCmd::MAX_MEM, 0x17, 7));
        assert_eq!(payload::<domctl::MaxMem>(&d.u).max_memkb, 263_168);
        assert_eq!(d.u[1..], [0; 15]);
        Ok(0)
    });
    xen.max_mem(7, 263_168).unwrap();
}

#[test]
fn a_created_domain_has_the_number_that_the_hypervisor_gives() {
    let xen = xen(|_, args| {
        let mut d: Domctl = peek(args[0]);
        assert_eq!((d.cmd, d.domain), (DomctlCmd::CREATEDOMAIN, 0));
        let c: domctl::CreateDomain = payload(&d.u);
        assert_eq!((c.max_grant_frames, c.max_maptrack_frames, c.grant_opts), (-1, 64, 2));
        assert_eq!((c.max_vcpus, c.max_evtchn_port, c.handle), (3, 1023, [9; 16]));
        d.domain = 12;
        poke(args[0], d);
        Ok(0)
    });
    let want = CreateDomain {
        handle: [9; 16],
        max_vcpus: 3,
        max_maptrack_frames: Some(64),
        ..CreateDomain::default()
    };
    assert_eq!(xen.create_domain(&want).unwrap(), 12);
}

#[test]
fn destroying_is_repeated_while_the_hypervisor_asks_for_it() {
    let calls = Arc::new(Mutex::new(0));
    let counted = Arc::clone(&calls);
    let xen = xen(move |_, _| {
        let mut calls = counted.lock().unwrap();
        *calls += 1;
        if *calls < 4 { Err(Errno::AGAIN) } else { Ok(0) }
    });
    xen.destroy_domain(3).unwrap();
    assert_eq!(*calls.lock().unwrap(), 4);
}

#[test]
fn no_such_domain_is_none_and_other_failures_are_errors() {
    assert_eq!(xen(|_, _| Err(Errno::SRCH)).domain_info(5).unwrap(), None);
    let e = xen(|_, _| Err(Errno::PERM)).domain_info(5).unwrap_err();
    assert!(e.is_permission());
    assert!(e.to_string().contains("domctl getdomaininfo for domain 5"), "{e}");
}

#[test]
fn a_wrong_interface_version_is_hinted_at() {
    let e = xen(|_, _| Err(Errno::ACCESS)).pause(1).unwrap_err();
    assert!(e.to_string().contains("4.20"), "{e}");
    let e = xen(|_, _| Err(Errno::ACCESS)).claim_pages(1, 1).unwrap_err();
    assert!(!e.to_string().contains("4.20"), "{e}");
}

#[test]
fn flags_of_a_domain_become_what_they_mean() {
    let xen = xen(|_, args| {
        let mut d: Domctl = peek(args[0]);
        let mut info = GetDomainInfo::read_from_bytes(&[0; 112]).unwrap();
        info.domain = 4;
        info.flags = domctl::DOMINF_SHUTDOWN | domctl::DOMINF_PAUSED | 3 << 16;
        info.max_vcpu_id = u32::MAX;
        d.u.as_mut_bytes()[..112].copy_from_slice(info.as_bytes());
        poke(args[0], d);
        Ok(0)
    });
    let info = xen.domain_info(4).unwrap().unwrap();
    assert_eq!(info.shutdown, Some(ShutdownReason::CRASH));
    assert!(info.crashed() && info.paused && !info.dying && !info.hvm);
    assert_eq!((info.max_vcpu_id, info.vcpus()), (None, 0));
}

#[test]
fn all_domains_are_listed_over_several_calls() {
    let xen = xen(|op, args| {
        assert_eq!(op, Hypercall::SYSCTL);
        let mut s: Sysctl = peek(args[0]);
        assert_eq!(s.interface_version, 0x15);
        let mut list: GetDomainInfoList = payload(&s.u);
        let left = (list.first_domain..300).take(list.max_domains as usize);
        let mut count = 0;
        for domid in left {
            let mut info = GetDomainInfo::read_from_bytes(&[0; 112]).unwrap();
            info.domain = domid;
            poke(list.buffer.addr() + count * 112, info);
            count += 1;
        }
        list.num_domains = count as u32;
        s.u.as_mut_bytes()[..24].copy_from_slice(list.as_bytes());
        poke(args[0], s);
        Ok(0)
    });
    let all: Vec<u16> = xen.domains().unwrap().iter().map(|d| d.domid).collect();
    assert_eq!(all, (0..300).collect::<Vec<_>>());
}

#[test]
fn memory_that_runs_out_gives_the_extents_that_there_were() {
    let xen = xen(|op, args| {
        assert_eq!((op, args[0]), (Hypercall::MEMORY_OP, 6));
        let r: MemoryReservation = peek(args[1]);
        assert_eq!((r.nr_extents, r.extent_order, r.domid), (3, 9, 1));
        assert_eq!(peek::<u64>(r.extent_start.addr() + 16), 1024);
        poke(r.extent_start.addr(), 0x8000u64);
        poke(r.extent_start.addr() + 8, 0x8200u64);
        Ok(2)
    });
    let given = xen.populate_physmap(1, &[0, 512, 1024], 9, ReservationFlags::default()).unwrap();
    assert_eq!(given, [0x8000, 0x8200]);
}

#[test]
fn a_version_text_falls_back_to_the_short_form() {
    let xen = xen(|op, args| {
        assert_eq!(op, Hypercall::XEN_VERSION);
        match args[0] {
            11 => Err(Errno::NOSYS),
            1 => {
                poke(args[1], *b".4-rc1\0\0\0\0\0\0\0\0\0\0");
                Ok(0)
            }
            14 => {
                assert_eq!(peek::<u32>(args[1]), 16380);
                poke(args[1] + 4, *b"dom0_mem=1G");
                Ok(11)
            }
            other => panic!("{other}"),
        }
    });
    assert_eq!(xen.extra_version().unwrap(), ".4-rc1");
    assert_eq!(xen.command_line().unwrap(), "dom0_mem=1G");
}

#[test]
fn the_console_is_read_to_its_end_from_where_the_last_read_stopped() {
    let text = b"0123456789".repeat(2000);
    let xen = xen(move |_, args| {
        let mut s: Sysctl = peek(args[0]);
        let mut r: ReadConsole = payload(&s.u);
        let from = if r.incremental != 0 { r.index as usize } else { 0 };
        let chunk = &text[from..][..(text.len() - from).min(r.count as usize)];
        for (n, byte) in chunk.iter().enumerate() {
            poke(r.buffer.addr() + n as u64, *byte);
        }
        r.count = chunk.len() as u32;
        r.index = (from + chunk.len()) as u32;
        s.u.as_mut_bytes()[..24].copy_from_slice(r.as_bytes());
        poke(args[0], s);
        Ok(0)
    });
    assert_eq!(xen.console_log(false).unwrap(), b"0123456789".repeat(2000));
}

#[test]
fn tables_are_pinned_at_their_level_in_the_other_domain() {
    let xen = xen(|op, args| {
        assert_eq!((op, args[1], args[3]), (Hypercall::MMUEXT_OP, 2, 9));
        let (a, b): (MmuextOp, MmuextOp) = (peek(args[0]), peek(args[0] + 24));
        assert_eq!((a.cmd.0, a.arg1, b.cmd.0, b.arg1), (3, 0x1234, 0, 0x99));
        Ok(0)
    });
    xen.pin_tables(9, &[(0x1234, 4), (0x99, 1)]).unwrap();
    assert!(matches!(xen.pin_tables(9, &[(1, 5)]), Err(Error::Argument { value: 5, .. })));
}

#[test]
fn affinities_go_out_and_come_back_as_bits() {
    let xen = xen(|_, args| {
        let d: Domctl = peek(args[0]);
        let v: domctl::VcpuAffinity = payload(&d.u);
        assert_eq!((v.vcpu, v.flags), (2, domctl::VCPUAFFINITY_HARD));
        assert_eq!((v.cpumap_hard.nr_bits, v.cpumap_soft.nr_bits), (12, 0));
        assert_eq!(peek::<u16>(v.cpumap_hard.bitmap.addr()), 0x0802);
        poke(v.cpumap_hard.bitmap.addr(), 0x0002u16);
        Ok(0)
    });
    let mut hard = CpuMap::new(12);
    assert!(hard.set(1, true) && hard.set(11, true));
    let now = xen.set_vcpu_affinity(1, 2, Some(&hard), None, false).unwrap();
    assert_eq!(now.hard.iter().collect::<Vec<_>>(), [1]);
}

#[test]
fn the_first_frame_that_cannot_be_mapped_is_named() {
    let fake = Fake { handler: Mutex::new(Box::new(|_, _| Ok(0))), map_errors: vec![0, -22, -14] };
    let xen = Xen::with(fake);
    match xen.map_foreign(6, &[10, 11, 12], Protection::Read) {
        Err(Error::Map { domid: 6, frame: 11, errno: Errno::INVAL }) => {}
        other => panic!("{other:?}"),
    }
    assert!(matches!(xen.map_foreign(6, &[], Protection::Read), Err(Error::Argument { .. })));
}

#[test]
fn a_refused_policy_says_where() {
    let xen = xen(|_, args| {
        let mut d: Domctl = peek(args[0]);
        let mut p: domctl::CpuPolicy = payload(&d.u);
        assert_eq!((p.err_leaf, p.nr_leaves, p.nr_msrs), (u32::MAX, 0, 0));
        (p.err_leaf, p.err_subleaf) = (7, 1);
        d.u.as_mut_bytes()[..40].copy_from_slice(p.as_bytes());
        poke(args[0], d);
        Err(Errno::INVAL)
    });
    let policy = Policy { leaves: Vec::new(), msrs: Vec::new() };
    let e = xen.set_domain_cpu_policy(1, &policy).unwrap_err();
    assert!(e.to_string().contains("leaf 0x7.0x1"), "{e}");
}
