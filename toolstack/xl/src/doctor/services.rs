//! The daemons, and what they are told at boot.

use super::{Finding, Places};
use crate::failure::Failure;
use crate::session::Session;
use xenstore::Access as _;

/// Looks at them.
pub fn look(session: &mut Session, places: &Places) -> Vec<Finding> {
    let store = store(session);
    let reachable = store.level == super::Level::Ok;
    let mut findings = vec![store];
    if reachable {
        findings.push(domain0(session));
    }
    findings.push(console(places));
    findings
}

/// Whether the store answers: asked as any client asks.
fn store(session: &mut Session) -> Finding {
    let subject = "xenstored";
    match session.store().map(|store| store.try_list("/")) {
        Ok(Ok(_)) => Finding::ok(subject, "answers"),
        Ok(Err(error)) => Finding::problem(
            subject,
            format!("does not answer: {error}"),
            "systemctl restart xenstored, and look at its log",
        ),
        Err(failure) => Finding::problem(subject, cause(&failure), "systemctl start xenstored"),
    }
}

fn cause(failure: &Failure) -> String {
    failure.because.first().unwrap_or(&failure.what).clone()
}

/// Whether xen-init-dom0 ran since the store was started.
fn domain0(session: &mut Session) -> Finding {
    let subject = "xen-init-dom0";
    let name = session.store().ok().and_then(|store| store.try_read("/local/domain/0/name").ok());
    match name.flatten() {
        Some(_) => Finding::ok(subject, "domain 0 has its nodes in the store"),
        None => Finding::problem(
            subject,
            "domain 0 has no name in the store: xl cannot make guests",
            "systemctl start xen-init-dom0 (or run xen-init-dom0)",
        ),
    }
}

/// Whether the console daemon runs: by its pid file, else by its name.
fn console(places: &Places) -> Finding {
    let subject = "xenconsoled";
    let by_file = ["/run/xenconsoled.pid", "/run/xen/xenconsoled.pid", "/var/run/xenconsoled.pid"]
        .iter()
        .filter_map(|path| places.read(path).trim().parse::<u32>().ok())
        .find(|pid| runs(places, &pid.to_string(), subject));
    let by_name = || {
        let all = places.list("/proc").into_iter();
        let mut pids = all.filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()));
        pids.find(|pid| runs(places, pid, subject))
    };
    match by_file.map(|pid| pid.to_string()).or_else(by_name) {
        Some(pid) => Finding::ok(subject, format!("runs as process {pid}")),
        None => Finding::problem(
            subject,
            "does not run: guests have no console, and some wait for it",
            "systemctl start xenconsoled",
        ),
    }
}

/// Whether a process has a name. The kernel keeps the first 15 letters.
fn runs(places: &Places, pid: &str, name: &str) -> bool {
    places.read(&format!("/proc/{pid}/comm")).trim() == name
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::super::fake::System;
    use super::*;

    #[test]
    fn the_console_daemon_is_found_by_its_pid_file_or_by_its_name() {
        let by_file =
            System::of(&[("/run/xenconsoled.pid", "41\n"), ("/proc/41/comm", "xenconsoled\n")]);
        assert_eq!(console(&by_file.places()).what, "runs as process 41");
        let by_name =
            System::of(&[("/proc/77/comm", "xenconsoled\n"), ("/proc/self/comm", "xl\n")]);
        assert_eq!(console(&by_name.places()).what, "runs as process 77");
    }

    #[test]
    fn a_pid_file_whose_process_is_another_now_proves_nothing() {
        let system = System::of(&[("/run/xenconsoled.pid", "41\n"), ("/proc/41/comm", "bash\n")]);
        assert_eq!(console(&system.places()).level, Level::Problem);
    }
}
