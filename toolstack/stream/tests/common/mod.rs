//! Streams made up for tests.

use proptest::prelude::*;
use xen_stream::libxc::{
    self, CpuidLeaf, DomainKind, MsrEntry, P2mFrames, PageData, PageEntry, PageKind, Record,
    TscInfo, Vcpu,
};
use xen_stream::{Error, Input, Output, PAGE, Place, file, libxl};

/// A whole save file, as data.
#[derive(Clone, Debug, PartialEq)]
pub struct Saved {
    pub config: file::Header,
    pub before: Vec<libxl::Record>,
    pub header: libxc::Header,
    pub records: Vec<Record>,
    pub after: Vec<libxl::Record>,
}

pub fn write(saved: &Saved) -> Vec<u8> {
    let mut output = Output::new(Vec::new());
    saved.config.write(&mut output).unwrap();
    libxl::write_header(&mut output).unwrap();
    let mut index = 0;
    let mut put = |output: &mut Output<Vec<u8>>, record: &libxl::Record| {
        record.write(output, index).unwrap();
        index += 1;
    };
    saved.before.iter().for_each(|record| put(&mut output, record));
    put(&mut output, &libxl::Record::LibxcContext);
    saved.header.write(&mut output).unwrap();
    for (index, record) in saved.records.iter().chain([&Record::End]).enumerate() {
        record.write(&mut output, index as u64).unwrap();
    }
    saved.after.iter().for_each(|record| put(&mut output, record));
    put(&mut output, &libxl::Record::End);
    output.finish(Place::FileHeader).unwrap()
}

pub fn read(bytes: &[u8]) -> Result<Saved, Error> {
    let mut input = Input::new(bytes);
    let config = file::Header::read(&mut input)?;
    libxl::read_header(&mut input)?;
    let mut index = 0;
    let mut next = |input: &mut Input<&[u8]>| {
        let record = libxl::Record::read(input, index);
        index += 1;
        record
    };
    let mut before = Vec::new();
    let header = loop {
        match next(&mut input)? {
            libxl::Record::LibxcContext => break libxc::Header::read(&mut input)?,
            record => before.push(record),
        }
    };
    let mut records = Vec::new();
    loop {
        match Record::read(&mut input, records.len() as u64)? {
            Record::End => break,
            record => records.push(record),
        }
    }
    let mut after = Vec::new();
    loop {
        match next(&mut input)? {
            libxl::Record::End => break,
            record => after.push(record),
        }
    }
    Ok(Saved { config, before, header, records, after })
}

/// A small file that has one of each record.
pub fn sample() -> Saved {
    let mut pages = PageData::default();
    let entry = |pfn, kind| PageEntry { pfn, kind: PageKind::new(kind).unwrap() };
    pages.push(entry(0, 0), &[0x11; PAGE]);
    pages.push_empty(entry(1, 15));
    pages.push(entry(2, 12), &[0x22; PAGE]);
    let vcpu = |length| Vcpu { id: 0, context: vec![0x33; length] };
    let emulator = libxl::Emulator { id: 2, index: 0, data: b"physmap\0\0".to_vec() };
    Saved {
        config: file::Header { config: "{\"c_info\": {\"name\": \"g\"}}".into() },
        before: vec![libxl::Record::Optional { kind: 0x8000_0001, body: vec![1, 2, 3] }],
        header: libxc::Header::new(DomainKind::Pv, 4, 20),
        records: vec![
            Record::PvInfo { guest_width: 8, pt_levels: 4 },
            Record::CpuidPolicy(vec![CpuidLeaf {
                leaf: 0,
                subleaf: u32::MAX,
                a: 0xd,
                b: 1,
                c: 2,
                d: 3,
            }]),
            Record::MsrPolicy(vec![MsrEntry { idx: 0xce, flags: 0, val: 1 << 31 }]),
            Record::StaticDataEnd,
            Record::P2mFrames(P2mFrames { start_pfn: 0, end_pfn: 2, frames: vec![1] }),
            Record::PageData(pages),
            Record::TscInfo(TscInfo { mode: 2, khz: 1_000_000, nsec: 5, incarnation: 1 }),
            Record::SharedInfo(Box::new([0x44; PAGE])),
            Record::VcpuBasic(vcpu(5168)),
            Record::VcpuExtended(vcpu(128)),
            Record::VcpuXsave(vcpu(20)),
            Record::VcpuMsrs(vcpu(16)),
        ],
        after: vec![libxl::Record::EmulatorXenstoreData(emulator)],
    }
}

fn page_data() -> impl Strategy<Value = PageData> {
    let page =
        (0u64..1 << 52, prop::sample::select(vec![0u8, 1, 2, 3, 4, 9, 10, 11, 12, 13, 14, 15]));
    prop::collection::vec((page, any::<u8>()), 1..6).prop_map(|pages| {
        let mut data = PageData::default();
        for ((pfn, kind), fill) in pages {
            let entry = PageEntry { pfn, kind: PageKind::new(kind).unwrap() };
            if entry.kind.has_content() {
                data.push(entry, &[fill; PAGE]);
            } else {
                data.push_empty(entry);
            }
        }
        data
    })
}

fn blob() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..50)
}

fn vcpu() -> impl Strategy<Value = Vcpu> {
    (any::<u32>(), blob()).prop_map(|(id, context)| Vcpu { id, context })
}

pub fn record() -> impl Strategy<Value = Record> {
    let leaf = any::<[u32; 6]>().prop_map(|[leaf, subleaf, a, b, c, d]| CpuidLeaf {
        leaf,
        subleaf,
        a,
        b,
        c,
        d,
    });
    let msr = any::<(u32, u64)>().prop_map(|(idx, val)| MsrEntry { idx, flags: 0, val });
    prop_oneof![
        page_data().prop_map(Record::PageData),
        any::<(u8, u8)>()
            .prop_map(|(guest_width, pt_levels)| Record::PvInfo { guest_width, pt_levels }),
        (any::<(u32, u32)>(), prop::collection::vec(any::<u64>(), 0..9)).prop_map(
            |((a, b), frames)| Record::P2mFrames(P2mFrames {
                start_pfn: a.min(b),
                end_pfn: a.max(b),
                frames
            })
        ),
        vcpu().prop_map(Record::VcpuBasic),
        vcpu().prop_map(Record::VcpuExtended),
        vcpu().prop_map(Record::VcpuXsave),
        vcpu().prop_map(Record::VcpuMsrs),
        any::<u8>().prop_map(|fill| Record::SharedInfo(Box::new([fill; PAGE]))),
        any::<(u32, u32, u64, u32)>().prop_map(|(mode, khz, nsec, incarnation)| {
            Record::TscInfo(TscInfo { mode, khz, nsec, incarnation })
        }),
        blob().prop_map(Record::HvmContext),
        prop::collection::vec(any::<(u64, u64)>(), 0..9).prop_map(Record::HvmParams),
        blob().prop_map(Record::Toolstack),
        prop::collection::vec(any::<u64>(), 0..9).prop_map(Record::CheckpointDirtyPfns),
        prop::collection::vec(leaf, 0..9).prop_map(Record::CpuidPolicy),
        prop::collection::vec(msr, 0..9).prop_map(Record::MsrPolicy),
        Just(Record::Verify),
        Just(Record::Checkpoint),
        Just(Record::StaticDataEnd),
        (0x8000_0000u32.., blob()).prop_map(|(kind, body)| Record::Optional { kind, body }),
    ]
}

fn libxl_record() -> impl Strategy<Value = libxl::Record> {
    let emulator = || {
        (any::<(u32, u32)>(), blob()).prop_map(|((id, index), data)| libxl::Emulator {
            id,
            index,
            data,
        })
    };
    prop_oneof![
        emulator().prop_map(libxl::Record::EmulatorXenstoreData),
        emulator().prop_map(libxl::Record::EmulatorContext),
        Just(libxl::Record::CheckpointEnd),
        any::<u32>().prop_map(libxl::Record::CheckpointState),
        (0x8000_0000u32.., blob()).prop_map(|(kind, body)| libxl::Record::Optional { kind, body }),
    ]
}

pub fn saved() -> impl Strategy<Value = Saved> {
    (
        "[ -~]{0,200}",
        prop::collection::vec(libxl_record(), 0..3),
        (any::<bool>(), any::<(u32, u32)>()),
        prop::collection::vec(record(), 0..8),
        prop::collection::vec(libxl_record(), 0..3),
    )
        .prop_map(|(config, before, (pv, (major, minor)), records, after)| Saved {
            config: file::Header { config },
            before,
            header: libxc::Header::new(
                if pv { DomainKind::Pv } else { DomainKind::Hvm },
                major,
                minor,
            ),
            records,
            after,
        })
}
