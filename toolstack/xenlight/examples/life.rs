//! A guest's life by hand, for trying the library in a dom0 without `xl`:
//! `life create NAME [memory=MIB] [disk=PATH,VDEV,r|w|w!]... [vif=BRIDGE[,NAME]]... [on_reboot=ACTION]
//! [paused] [cmdline=TEXT]`, `life destroy|shutdown|reboot|pause|unpause GUEST`, `life doctor [fix]` and others.
#![allow(clippy::unwrap_used, reason = "a tool for tests")]

use std::error::Error;
use std::time::Duration;

use xenlight::devices::{Force, block, network};
use xenlight::{Context, cleanup, cpus, create, dump, life, memory, monitor, userdata};
use xl_config::{Access, Action, Disk, DomainConfig, Kind, Pv, Vdev, Vif, XlConf};

type Outcome = Result<(), Box<dyn Error>>;

fn main() -> std::process::ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match run(&words) {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprint!("life: {error}");
            let mut cause = error.source();
            while let Some(error) = cause {
                eprint!(": {error}");
                cause = error.source();
            }
            eprintln!();
            std::process::ExitCode::FAILURE
        }
    }
}

fn host() -> XlConf {
    XlConf { lockfile: "/run/lock/xl".to_owned(), ..XlConf::default() }
}

fn run(words: &[&str]) -> Outcome {
    if let ["monitor", "--domid", domid] = words {
        rustix::process::setsid()?;
        let open: &mut dyn FnMut() -> _ = &mut || Context::open(host());
        return Ok(monitor::run(open, domid.parse()?, &mut |line| println!("{line}"), &mut || {})?);
    }
    let cx = &mut Context::open(host())?;
    match words {
        ["create", name, rest @ ..] => create_guest(cx, name, rest),
        ["doctor", rest @ ..] => doctor(cx, !rest.is_empty()),
        ["adopt"] => {
            for (domain, started) in monitor::adopt(cx, &monitor::Launch::own()?)? {
                println!("domain {} is watched by process {}", domain.domid, started?);
            }
            Ok(())
        }
        ["names"] => {
            for domain in life::names(cx)? {
                let watched = monitor::status(&cx.paths, domain.domid, &domain.name);
                println!("{} {} {watched:?}", domain.domid, domain.name);
            }
            Ok(())
        }
        [command, guest, rest @ ..] => {
            let domid = life::find(cx, guest)?.domid;
            guest_command(cx, command, domid, rest)
        }
        _ => Err("what?".into()),
    }
}

fn guest_command(cx: &mut Context, command: &str, domid: u16, rest: &[&str]) -> Outcome {
    match (command, rest) {
        ("destroy", []) => {
            for problem in life::destroy(cx, domid)?.problems {
                eprintln!("life: {problem}");
            }
        }
        ("shutdown", []) => {
            life::ask(cx, domid, life::Request::Poweroff, Some(Duration::from_secs(30)))?;
            life::wait_until_gone(cx, domid, Some(Duration::from_secs(60)))?;
        }
        ("reboot", []) => {
            life::ask(cx, domid, life::Request::Reboot, Some(Duration::from_secs(30)))?;
        }
        ("pause", []) => life::pause(cx, domid)?,
        ("unpause", []) => life::unpause(cx, domid)?,
        ("rename", [new]) => life::rename(cx, domid, new)?,
        ("uptime", []) => println!("{:?}", life::uptime(cx, domid)?),
        ("mem-set", [size]) => memory::set_target(cx, domid, memory::parse_size(size)?)?,
        ("mem-max", [size]) => memory::set_max(cx, domid, memory::parse_size(size)?)?,
        ("vcpu-set", [count]) => cpus::set_online(cx, domid, count.parse()?)?,
        ("dump", [file]) => dump::dump_core(cx, domid, file.as_ref())?,
        ("block-list", []) => {
            for row in block::list(cx, domid)? {
                println!("{row:?}");
            }
        }
        ("network-list", []) => {
            for row in network::list(cx, domid)? {
                println!("{row:?}");
            }
        }
        ("block-attach", [disk]) => block::attach(cx, domid, &parse_disk(disk))?,
        ("block-detach", [disk]) => {
            block::detach(cx, domid, disk, Force::No)?;
        }
        ("network-attach", [vif]) => {
            let config = userdata::load(cx, domid)?.ok_or("no stored configuration")?;
            let uuid = config.uuid.unwrap_or_default().0;
            let vif = network::attach(cx, domid, &parse_vif(vif), &uuid)?;
            println!("{vif:?}");
        }
        ("network-detach", [vif]) => {
            network::detach(cx, domid, vif, Force::AfterLimit)?;
        }
        _ => return Err(format!("what is {command}?").into()),
    }
    Ok(())
}

fn parse_disk(text: &str) -> Disk {
    let mut words = text.split(',');
    let target = words.next().unwrap_or_default();
    let vdev = Vdev::parse(words.next().unwrap_or("xvda")).unwrap();
    let mut disk = Disk::new(vdev, target);
    disk.access = match words.next() {
        Some("r") => Access::ReadOnly,
        Some("w!") => Access::Shared,
        _ => Access::ReadWrite,
    };
    disk.script = words.next().map(str::to_owned);
    disk
}

fn parse_vif(text: &str) -> Vif {
    let mut words = text.split(',');
    let bridge = words.next().map(str::to_owned);
    let vifname = words.next().filter(|name| !name.is_empty()).map(str::to_owned);
    Vif { bridge, vifname, script: words.next().map(str::to_owned), ..Vif::default() }
}

fn create_guest(cx: &mut Context, name: &str, words: &[&str]) -> Outcome {
    let mut config = DomainConfig::new_pv(name, 128 * 1024);
    let mut pv = Pv {
        kernel: Some("/boot/vmlinuz".to_owned()),
        ramdisk: Some("/boot/guest.cpio".to_owned()),
        cmdline: Some("console=hvc0".to_owned()),
        ..Pv::default()
    };
    let mut options =
        create::Options { monitor: Some(monitor::Launch::own()?), ..create::Options::default() };
    for word in words {
        let (key, value) = word.split_once('=').unwrap_or((word, ""));
        match key {
            "memory" => {
                config.memory_kib = value.parse::<u64>()? * 1024;
                config.max_memory_kib = config.memory_kib;
            }
            "vcpus" => {
                config.vcpus = value.parse()?;
                config.max_vcpus = config.vcpus;
            }
            "kernel" => pv.kernel = Some(value.to_owned()),
            "cmdline" => pv.cmdline = Some(value.to_owned()),
            "disk" => config.disks.push(parse_disk(value)),
            "vif" => config.vifs.push(parse_vif(value)),
            "on_reboot" => config.events.on_reboot = Action::from_name(value).ok_or("action?")?,
            "on_crash" => config.events.on_crash = Action::from_name(value).ok_or("action?")?,
            "paused" => options.paused = true,
            _ => return Err(format!("what is {key}?").into()),
        }
    }
    config.kind = Kind::Pv(pv);
    let created = create::create(cx, &config, &options)?;
    println!("domain {} watched by {:?}", created.domid, created.monitor.is_some());
    Ok(())
}

fn doctor(cx: &mut Context, fix: bool) -> Outcome {
    for leftover in cleanup::find(cx)? {
        println!("{}", leftover.describe());
        if fix && leftover.can_be_removed() {
            cleanup::remove(cx, &leftover)?;
            println!("removed");
        }
    }
    Ok(())
}
