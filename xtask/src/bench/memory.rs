//! How much of the machine's memory guests can have: paused guests are created until one is refused,
//! smaller and smaller ones.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use regex::Regex;

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
    let small = fs::read(&small).with_context(|| format!("read {}", small.display()))?;
    let extra = [("boot/small", &small[..]), ("etc/dom0/memory.sh", SCRIPT.as_bytes())];
    let images = image::Recipe { extra: &extra, ..image::Recipe::new(anchors, "memory") }.make()?;
    let mut machine = Machine::new(Some(elf), &anchors.vmlinuz());
    machine.mem = MACHINE;
    machine.hypervisor_args = hypervisor_args(DOM0);
    machine.initrd = Some(images.dom0);
    machine.kernel_args = "console=hvc0 DOM0_DO=memory".into();
    let mut console = Console::start(&machine, log)?;
    console.expect("dom0: end memory", LIMIT)?;
    console.wait_end(LIMIT)?;
    read(log)
}

/// What a boot's log says.
pub fn read(log: &Path) -> Result<Memory> {
    let text = fs::read_to_string(log).with_context(|| format!("read {}", log.display()))?;
    parse(&text).with_context(|| log.display().to_string())
}

fn parse(text: &str) -> Result<Memory> {
    let find = |pattern: &str| -> Result<Vec<u64>> {
        let found = Regex::new(pattern).context("a pattern")?.captures(text);
        let found = found.with_context(|| format!("dom0 did not say {pattern:?}"))?;
        let words = found.iter().skip(1).flatten();
        words.map(|word| word.as_str().parse().context("a number of MiB")).collect()
    };
    let first = find(r"memory: of (\d+) dom0 (\d+) free (\d+)")?;
    let last = find(r"memory: guests (\d+) got (\d+) listed (\d+)")?;
    let (&[total, dom0, free], &[guests, obtained, listed]) = (&first[..], &last[..]) else {
        bail!("dom0 said too little");
    };
    ensure!(listed == obtained, "guests were to have {obtained} MiB, xl list says {listed}");
    Ok(Memory { total, dom0, free, obtained, guests })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str =
        "memory: of 4095 dom0 1024 free 3028\nmemory: guests 20 got 3027 listed 3027 left 1\n";

    #[test]
    fn what_is_kept_is_what_neither_dom0_nor_guests_have() {
        assert_eq!(parse(LOG).unwrap().kept(), 44);
    }

    #[test]
    fn a_guest_that_the_toolstack_does_not_list_is_not_believed() {
        assert!(parse(&LOG.replace("listed 3027", "listed 3026")).is_err());
        assert!(parse("memory: of 4095 dom0 1024 free 3028\n").is_err());
    }
}
