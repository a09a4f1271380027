//! What is done with a guest from dom0's shell: by the demonstration and by tests alike. The
//! guest is the image's `/root/pv.cfg`.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::Console;

/// The example guest's name.
pub const GUEST: &str = "pv1";
const GUEST_IP: &str = "10.77.0.2";
const DISK_LINE: &str = "ferroxen example disk";
/// Leaves `xl console`.
const LEAVE_CONSOLE: &str = "\x1d";

/// For a command in a shell.
const COMMAND: Duration = Duration::from_secs(90);
/// For a guest's boot.
pub const BOOT: Duration = Duration::from_secs(240);

/// Creates the guest.
pub fn create(console: &mut Console) -> Result<String> {
    console.shell("make-disk", COMMAND)?;
    let said = console.shell("xl create pv.cfg", BOOT).context("create the guest")?;
    ensure!(listed(console)?, "the guest was created but is not in xl list:\n{said}");
    Ok(said)
}

/// Whether `xl list` has the guest.
pub fn listed(console: &mut Console) -> Result<bool> {
    let list = console.shell("xl list", COMMAND)?;
    Ok(list.lines().any(|line| line.split_whitespace().next() == Some(GUEST)))
}

/// Waits on the guest's console for its shell, asks it something and reads its disk there;
/// answers what it said.
pub fn talk(console: &mut Console) -> Result<String> {
    console.send(&format!("xl console {GUEST}\n"))?;
    // The console daemon may have passed on the prompt before: ask for another one until it comes.
    let reached = wait_for_prompt(console).context("the guest's shell")?;
    console.send("echo answer=$((6*7)) $(cat /sys/hypervisor/guest_type) $(uname -r)\n")?;
    let answer = console.expect(r"answer=42 ([^\n]*)\n", COMMAND).context("the guest's answer")?;
    console.send("head -c 21 /dev/xvda; echo\n")?;
    console.expect(DISK_LINE, COMMAND).context("the guest's disk, as blkback shows it")?;
    console.send(
        "echo written-by-guest | dd of=/dev/xvda bs=512 seek=8 conv=fsync; echo wrote=$?.\n",
    )?;
    console.expect(r"wrote=0\.", COMMAND).context("the guest's write to its disk")?;
    leave(console)?;
    let seen =
        console.shell("dd if=disk.img bs=512 skip=8 count=1 2>/dev/null | head -c 16", COMMAND)?;
    ensure!(seen.contains("written-by-guest"), "dom0 does not see what the guest wrote: {seen:?}");
    Ok(format!("{reached}; {}", answer[1]))
}

fn wait_for_prompt(console: &mut Console) -> Result<String> {
    let ready = console.expect(r"guest: (ready[^\n]*|failed: [^\n]*)\n", BOOT)?;
    ensure!(ready[1].starts_with("ready"), "the guest's start-up {}", ready[1]);
    console.expect("guest# ", COMMAND)?;
    Ok(ready[1].clone())
}

/// Pings the guest from dom0.
pub fn ping(console: &mut Console) -> Result<String> {
    let said =
        console.shell(&format!("ping -c 3 {GUEST_IP}"), COMMAND).context("ping the guest")?;
    let line = said.lines().find(|line| line.contains("packets transmitted")).unwrap_or_default();
    Ok(line.to_owned())
}

/// A mebibyte by TCP to the guest and back again, compared.
pub fn tcp(console: &mut Console) -> Result<()> {
    enter(console)?;
    console.send("(nc -l -p 7000 >/tmp/b; nc -l -p 7001 </tmp/b) & echo armed=$((1)).\n")?;
    console.expect(r"armed=1\.", COMMAND).context("the guest's TCP server")?;
    leave(console)?;
    console.shell("head -c 1048576 /dev/urandom >/tmp/a", COMMAND)?;
    console
        .shell(&format!("nc -w 20 {GUEST_IP} 7000 </tmp/a"), COMMAND)
        .context("TCP to the guest")?;
    // The guest listens again only once it has seen the end of the first connection. What reads
    // from the terminal does not end before the other side does.
    console
        .shell(&format!("retry 50 nc -w 20 {GUEST_IP} 7001 >/tmp/c"), COMMAND)
        .context("TCP from the guest")?;
    console.shell("cmp /tmp/a /tmp/c", COMMAND).context("what came back by TCP")?;
    Ok(())
}

/// To a prompt on the guest's console, which has been there before.
pub fn enter(console: &mut Console) -> Result<()> {
    console.send(&format!("xl console {GUEST}\n"))?;
    console.expect(&format!("xl console {GUEST}\n"), COMMAND)?;
    console.send("\n")?;
    console.expect("guest# ", COMMAND).context("the guest's prompt")?;
    Ok(())
}

/// From a guest's console back to dom0's prompt.
pub fn leave(console: &mut Console) -> Result<()> {
    console.send(LEAVE_CONSOLE)?;
    console.expect("dom0# ", COMMAND).context("return from the guest's console")?;
    Ok(())
}

/// Asks the guest to shut down and waits until it is gone.
pub fn shut_down(console: &mut Console) -> Result<()> {
    console.shell(&format!("xl shutdown {GUEST}"), COMMAND).context("shut the guest down")?;
    console.shell(&format!("until-gone {GUEST}"), COMMAND).context("the guest's end")?;
    Ok(())
}
