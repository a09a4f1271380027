//! How much of the machine's memory guests can have: paused guests are created until one is refused,
//! smaller and smaller ones.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::anchors::Anchors;
use crate::image;
use crate::qemu::machine::hypervisor_args;
use crate::qemu::{Console, Machine, guests};

/// MiB of dom0.
const DOM0: u32 = 1024;
/// MiB of the machine.
const MACHINE: u32 = 4096;
const LIMIT: Duration = Duration::from_secs(900);

/// The sizes in MiB, each until it is refused. The kernel never runs; a small one, so that even
/// the smallest guest holds it.
const SCRIPT: &str = "\
sleep 2
total=$(xl info | sed -n 's/^total_memory *: *//p')
echo \"memory: of $total dom0 $(xl list 0 | awk 'END{print $3}') free $(xl info | sed -n 's/^free_memory *: *//p')\"
got=0; n=0
for size in 1024 256 64 16 4 2; do
    while :; do
        n=$((n + 1))
        printf 'name=\"m%s\"\\ntype=\"pv\"\\nkernel=\"/boot/small\"\\nmemory=%s\\n' $n $size >/tmp/m.cfg
        xl create -p -q /tmp/m.cfg >/tmp/m.log 2>&1 || break
        got=$((got + size))
    done
    echo \"memory: after size $size got $got, refused by $(grep -m1 -o 'error.*' /tmp/m.log)\"
done
listed=$(xl list | awk 'NR>2{s+=$3} END{print s+0}')
echo \"memory: guests $((n - 6)) got $got listed $listed left $(xl info | sed -n 's/^free_memory *: *//p')\"
";

/// MiB, as the toolstack counts them.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// The machine's, without what the firmware keeps.
    pub total: u64,
    /// dom0's.
    pub dom0: u64,
    /// Said to be free before.
    pub free: u64,
    /// What guests got.
    pub obtained: u64,
    /// How many guests that was.
    pub guests: u64,
}

impl Memory {
    /// What neither dom0 nor a guest could have.
    pub fn kept(&self) -> u64 {
        self.total.saturating_sub(self.dom0).saturating_sub(self.obtained)
    }
}

/// Boots and allocates.
pub fn measure(anchors: &Anchors, elf: &Path, log: &Path) -> Result<Memory> {
    guests::build()?;
    let small = guests::program("hello");
    let small = std::fs::read(&small).with_context(|| format!("read {}", small.display()))?;
    let extra = [("boot/small", &small[..]), ("etc/dom0/memory.sh", SCRIPT.as_bytes())];
    let images = image::build_with(anchors, "memory", &extra)?;
    let mut machine = Machine::new(Some(elf), &anchors.vmlinuz());
    machine.mem = MACHINE;
    machine.hypervisor_args = hypervisor_args(DOM0);
    machine.initrd = Some(images.dom0);
    machine.kernel_args = "console=hvc0 DOM0_DO=memory".into();
    let mut console = Console::start(&machine, log)?;
    let first = console.expect(r"memory: of (\d+) dom0 (\d+) free (\d+)\n", LIMIT)?;
    let end = r"memory: guests (\d+) got (\d+) listed (\d+) left (\d+)\n|dom0: end memory";
    let last = console.expect(end, LIMIT)?;
    let number = |words: &[String], index: usize| -> Result<u64> {
        let word = words.get(index).context("dom0's script ended early")?;
        word.parse().with_context(|| format!("a number of MiB: {word:?}"))
    };
    console.wait_end(LIMIT)?;
    let listed = number(&last, 3)?;
    let memory = Memory {
        total: number(&first, 1)?,
        dom0: number(&first, 2)?,
        free: number(&first, 3)?,
        obtained: number(&last, 2)?,
        guests: number(&last, 1)?,
    };
    ensure!(
        listed == memory.obtained,
        "guests were to have {} MiB, xl list says {listed}",
        memory.obtained
    );
    Ok(memory)
}
