//! `demo`: from a bare machine to a running system, shown step by step.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::qemu::tests::{BOOT, COMMAND, log_path};
use crate::qemu::{Console, scenario};
use crate::run;

/// Arguments of `demo`.
#[derive(clap::Args)]
#[group(skip)]
pub struct Args {
    /// Leave me in dom0's shell, with example guests in /root.
    #[arg(long)]
    interactive: bool,
    /// Start no guest.
    #[arg(long)]
    dom0_only: bool,
    #[command(flatten)]
    run: run::Args,
}

const END: Duration = Duration::from_secs(60);

/// Runs `demo`.
pub fn main(args: &Args) -> Result<()> {
    println!("preparing (the first time, packages are fetched)");
    if args.interactive {
        println!("in dom0: make-disk && xl create -c pv.cfg; `exit` powers off");
        return run::main(&args.run);
    }
    let start = Instant::now();
    let machine = run::machine(&args.run)?;
    let log = log_path("demo");
    println!("booting; the console is logged in {}", log.display());
    let mut console = Console::start(&machine, &log)?;
    console.expect("dom0: user space", BOOT)?;
    step(&console, "dom0 runs");
    console.expect("dom0: ready", BOOT)?;
    console.expect("dom0# ", COMMAND)?;
    step(&console, "its toolstack runs");
    show(&mut console, "xl info")?;
    if args.dom0_only {
        show(&mut console, "xl list")?;
    } else {
        guest(&mut console)?;
    }
    console.send("exit\n")?;
    console.wait_end(END)?;
    step(&console, "powered off");
    println!(
        "\ndemo is complete: booted, asked and shut down in {:.0} s",
        start.elapsed().as_secs_f64()
    );
    Ok(())
}

/// A guest from its creation to its end.
fn guest(console: &mut Console) -> Result<()> {
    scenario::create(console)?;
    step(console, "guest created");
    show(console, "xl list")?;
    let said = scenario::talk(console)?;
    step(console, &format!("guest answers on its console and uses its disk: {said}"));
    let said = scenario::ping(console)?;
    step(console, &format!("guest is reached by network: {said}"));
    scenario::tcp(console)?;
    step(console, "a mebibyte went to the guest by TCP and came back the same");
    show(console, "xl list")?;
    scenario::shut_down(console)?;
    step(console, "guest shut down");
    Ok(())
}

fn show(console: &mut Console, command: &str) -> Result<()> {
    println!("\ndom0# {command}\n{}\n", console.shell(command, COMMAND)?.trim_end());
    Ok(())
}

fn step(console: &Console, what: &str) {
    println!("[{:6.1} s] {what}", console.seconds());
}
