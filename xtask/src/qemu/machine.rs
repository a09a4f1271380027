//! One emulated machine and the command line that starts it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

/// The program.
pub const QEMU: &str = "qemu-system-x86_64";

/// Repeatable time: guest time is the number of executed instructions (1 ns each), idle time is
/// skipped.
#[derive(Clone, Debug)]
pub struct Icount {
    /// Guest-visible randomness; vary it to see how far a figure moves by layout alone.
    pub seed: u32,
    /// A plugin with its options, `FILE,key=value`.
    pub plugin: Option<String>,
}

/// What a machine is made of. Built field by field from [`Machine::new`].
#[derive(Clone, Debug)]
pub struct Machine {
    /// A multiboot ELF file; none boots the kernel on the bare machine.
    pub hypervisor: Option<PathBuf>,
    /// The hypervisor's command line.
    pub hypervisor_args: String,
    /// The first guest's kernel (or a test program in its place).
    pub kernel: PathBuf,
    /// Its command line.
    pub kernel_args: String,
    /// Its first file system.
    pub initrd: Option<PathBuf>,
    /// Number of CPUs.
    pub smp: u32,
    /// Memory of the machine, MiB.
    pub mem: u32,
    /// QEMU's CPU model and flags; none picks a default that fits the kind of time.
    pub cpu: Option<String>,
    /// Repeatable instruction-counting time.
    pub icount: Option<Icount>,
    /// Wait for a debugger on TCP port 1234.
    pub gdb: bool,
    /// Further arguments: disks, network interfaces.
    pub extra: Vec<String>,
}

impl Machine {
    /// A machine with 1 CPU and 2 GiB that boots `kernel` under `hypervisor`.
    pub fn new(hypervisor: Option<&Path>, kernel: &Path) -> Self {
        Self {
            hypervisor: hypervisor.map(Path::to_path_buf),
            hypervisor_args: hypervisor_args(768),
            kernel: kernel.to_path_buf(),
            kernel_args: String::new(),
            initrd: None,
            smp: 1,
            mem: 2048,
            cpu: None,
            icount: None,
            gdb: false,
            extra: Vec::new(),
        }
    }

    /// The command; `serial` is QEMU's name of what the serial port is joined to.
    pub fn command(&self, serial: &str) -> Result<Command> {
        let mut command = Command::new(QEMU);
        command.args(["-machine", "q35", "-cpu", &self.cpu()]);
        command.args(["-smp", &self.smp.to_string(), "-m", &self.mem.to_string()]);
        command.args(["-nodefaults", "-display", "none", "-no-reboot", "-serial", serial]);
        if let Some(icount) = &self.icount {
            command.args(["-icount", "shift=0,sleep=off", "-seed", &icount.seed.to_string()]);
            command.args(["-rtc", "base=2026-01-01,clock=vm"]);
            if let Some(plugin) = &icount.plugin {
                command.args(["-plugin", plugin]);
            }
        }
        if self.gdb {
            command.args(["-gdb", "tcp:127.0.0.1:1234", "-S"]);
        }
        self.boot(&mut command)?;
        command.args(&self.extra);
        Ok(command)
    }

    fn boot(&self, command: &mut Command) -> Result<()> {
        let Some(hypervisor) = &self.hypervisor else {
            command.arg("-kernel").arg(&self.kernel).args(["-append", &self.kernel_args]);
            if let Some(initrd) = &self.initrd {
                command.arg("-initrd").arg(initrd);
            }
            return Ok(());
        };
        command.arg("-kernel").arg(hypervisor).args(["-append", &self.hypervisor_args]);
        // Modules are separated by commas, each "FILE ARGUMENTS"; a comma within is doubled.
        let mut modules =
            format!("{} {}", path_text(&self.kernel)?, self.kernel_args.replace(',', ",,"));
        if let Some(initrd) = &self.initrd {
            modules = format!("{modules},{}", path_text(initrd)?);
        }
        command.args(["-initrd", &modules]);
        Ok(())
    }

    fn cpu(&self) -> String {
        match (&self.cpu, &self.icount) {
            (Some(model), _) => model.clone(),
            // Under instruction counting QEMU 10.0 stops at a read of the APIC timer through an MSR.
            (None, Some(_)) => "max,-x2apic,-erms,-fsrm".to_owned(),
            // Counted or not, "rep stosb" and "rep movsb" take a step for each byte there: without
            // these flags, software picks wider ones.
            (None, None) => "max,-erms,-fsrm".to_owned(),
        }
    }
}

/// For the distribution's hypervisor in this emulator: no lazy switching of FPU registers.
///
/// QEMU's XSAVE and XRSTOR (10.0, TCG) do not fault while CR0.TS is set, as they must (SDM volume 2,
/// XRSTOR, protected mode exceptions: #NM if CR0.TS). Xen sets TS when it comes back to a vCPU, to load its
/// registers at the first use. dom0's kernel then loads another process's by XRSTOR unnoticed, and that
/// process's first own use makes Xen put the old ones over them: programs of dom0 go on with one
/// another's vector registers whenever a guest runs beside, and die of memory faults now and then.
pub const EAGER_FPU: &str = "spec-ctrl=eager-fpu";

/// The hypervisor's usual command line, with `dom0_mem` MiB for dom0.
pub fn hypervisor_args(dom0_mem: u32) -> String {
    format!(
        "console=com1 com1=115200,8n1 loglvl=all guest_loglvl=all noreboot \
         dom0_mem={dom0_mem}M,max:{dom0_mem}M"
    )
}

fn path_text(path: &Path) -> Result<String> {
    let text = path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))?;
    Ok(text.replace(',', ",,"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(machine: &Machine) -> Vec<String> {
        let command = machine.command("stdio").unwrap();
        command.get_args().map(|word| word.to_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn a_comma_in_the_kernels_arguments_does_not_split_the_modules() {
        let mut machine = Machine::new(Some(Path::new("/hv.elf")), Path::new("/vmlinuz"));
        machine.kernel_args = "a=1,2".into();
        machine.initrd = Some("/dom0.cpio".into());
        assert!(words(&machine).contains(&"/vmlinuz a=1,,2,/dom0.cpio".to_owned()));
    }

    #[test]
    fn without_a_hypervisor_the_kernel_itself_is_started() {
        let mut machine = Machine::new(None, Path::new("/vmlinuz"));
        machine.kernel_args = "a=1,2".into();
        let words = words(&machine);
        let at = words.iter().position(|word| word == "-kernel").unwrap();
        assert_eq!(words[at + 1], "/vmlinuz");
        assert!(words.contains(&"a=1,2".to_owned()));
    }
}
