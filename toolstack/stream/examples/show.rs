//! Prints what is in a file of `xl save`: `show FILE [hex]`.
//!
//! Pages are counted; of all other records the length is shown, and with `hex` the content.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs::File;
use std::io::BufReader;

use xen_stream::libxc::{self, Record};
use xen_stream::{Input, file, libxl};

fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args().skip(1);
    let path = words.next().ok_or("usage: show FILE [hex]")?;
    let hex = words.next().is_some_and(|word| word == "hex");
    let mut input = Input::new(BufReader::with_capacity(1 << 20, File::open(path)?));
    let header = file::Header::read(&mut input)?;
    println!("config {} bytes\n{}", header.config.len(), header.config);
    libxl::read_header(&mut input)?;
    for index in 0.. {
        let at = input.at();
        let record = libxl::Record::read(&mut input, index)?;
        println!("{at:#010x} libxl {index} {record:?}");
        match record {
            libxl::Record::End => break,
            libxl::Record::LibxcContext => show_libxc(&mut input, hex)?,
            _ => {}
        }
    }
    println!("{:#010x} end", input.at());
    Ok(())
}

fn show_libxc(input: &mut Input<impl std::io::Read>, hex: bool) -> Result<(), Box<dyn Error>> {
    println!("{:?}", libxc::Header::read(input)?);
    let mut kinds = BTreeMap::<u8, u64>::new();
    let mut batches = (0u64, 0usize);
    for index in 0.. {
        let at = input.at();
        let record = Record::read(input, index)?;
        let name = libxc::name(record.kind()).unwrap_or("?");
        match &record {
            Record::PageData(pages) => {
                batches = (batches.0 + 1, batches.1.max(pages.len()));
                for entry in pages.entries() {
                    *kinds.entry(entry.kind.number()).or_default() += 1;
                }
                continue;
            }
            Record::VcpuBasic(vcpu)
            | Record::VcpuExtended(vcpu)
            | Record::VcpuXsave(vcpu)
            | Record::VcpuMsrs(vcpu) => {
                println!("{at:#010x} {name} vcpu {} {} bytes", vcpu.id, vcpu.context.len());
                if hex {
                    dump(&vcpu.context);
                }
            }
            Record::SharedInfo(page) => {
                println!("{at:#010x} {name}");
                if hex {
                    dump(page.as_slice());
                }
            }
            Record::P2mFrames(p2m) => println!(
                "{at:#010x} {name} {:#x} to {:#x}, {} frames, {:x?}",
                p2m.start_pfn,
                p2m.end_pfn,
                p2m.frames.len(),
                p2m.frames.get(..8.min(p2m.frames.len()))
            ),
            record if hex => println!("{at:#010x} {name} {record:x?}"),
            _ => println!("{at:#010x} {name} {} bytes", input.at() - at - 8),
        }
        if record == Record::End {
            break;
        }
    }
    println!("pages {kinds:?}, {} records, {} at most in one", batches.0, batches.1);
    Ok(())
}

/// Sixteen bytes a line, lines of zeros left out.
fn dump(bytes: &[u8]) {
    for (i, line) in bytes.chunks(16).enumerate() {
        if line.iter().any(|byte| *byte != 0) {
            let text: String = line.iter().map(|byte| format!("{byte:02x}")).collect();
            println!("    {:04x} {text}", i * 16);
        }
    }
}
