//! What is set for `xendomains`: lines NAME=VALUE of a file that shells read.

use std::path::PathBuf;
use std::time::Duration;

/// Where the settings are, by distribution.
const FILES: &[&str] = &["/etc/default/xendomains", "/etc/sysconfig/xendomains"];
/// How long guests have to end, unless set.
const WAIT: Duration = Duration::from_secs(300);

/// The settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Where the configurations of guests to be started are; none starts none.
    pub auto: Option<PathBuf>,
    /// Where guests are saved when the host ends; none: they are shut down.
    pub save: Option<PathBuf>,
    /// Whether what was saved is restored when the host starts.
    pub restore: bool,
    /// Whether only guests that are started by this program are ended by it.
    pub auto_only: bool,
    /// What is set and has no effect yet.
    pub unsupported: Vec<&'static str>,
    /// Whether all guests are asked to end at once.
    pub parallel: bool,
    /// How long they have to end.
    pub wait: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            auto: Some("/etc/xen/auto".into()),
            save: None,
            restore: false,
            auto_only: false,
            unsupported: Vec::new(),
            parallel: true,
            wait: WAIT,
        }
    }
}

impl Settings {
    /// What the first file that there is says.
    pub fn read() -> Self {
        let text = FILES.iter().find_map(|path| std::fs::read_to_string(path).ok());
        Self::parse(&text.unwrap_or_default())
    }

    /// What a file says; lines that mean nothing here are passed over.
    fn parse(text: &str) -> Self {
        let mut settings = Self::default();
        for line in text.lines() {
            let Some((name, value)) = line.trim().split_once('=') else { continue };
            let value = value.trim().trim_matches(['"', '\'']);
            let folder = || Some(value).filter(|value| !value.is_empty()).map(PathBuf::from);
            match name.trim().trim_start_matches("export ") {
                "XENDOMAINS_AUTO" => settings.auto = folder(),
                "XENDOMAINS_SAVE" => settings.save = folder(),
                "XENDOMAINS_RESTORE" => settings.restore = truth(value),
                "XENDOMAINS_AUTO_ONLY" => settings.auto_only = truth(value),
                "XENDOMAINS_PARALLEL" => settings.parallel = truth(value),
                "XENDOMAINS_MIGRATE" if !value.is_empty() => {
                    settings.unsupported.push("XENDOMAINS_MIGRATE");
                }
                "XENDOMAINS_SYSRQ" if !value.is_empty() => {
                    settings.unsupported.push("XENDOMAINS_SYSRQ");
                }
                "XENDOMAINS_STOP_MAXWAIT" => {
                    settings.wait = match value.parse() {
                        // 0 is "without limit" there; a shutdown must end all the same.
                        Ok(0) => Duration::from_secs(3600),
                        Ok(seconds) => Duration::from_secs(seconds),
                        Err(_) => WAIT,
                    };
                }
                _ => {}
            }
        }
        settings
    }
}

fn truth(value: &str) -> bool {
    !matches!(value, "0" | "no" | "false" | "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debians_file_is_understood() {
        let settings = Settings::parse(
            "# comment\nXENDOMAINS_MIGRATE=\"\"\nXENDOMAINS_SAVE=/var/lib/xen/save\n\
             XENDOMAINS_RESTORE=true\nXENDOMAINS_AUTO=/etc/xen/auto\nXENDOMAINS_STOP_MAXWAIT=60\n",
        );
        assert_eq!(settings.auto, Some(PathBuf::from("/etc/xen/auto")));
        assert_eq!(settings.wait, Duration::from_secs(60));
        assert_eq!(settings.save, Some(PathBuf::from("/var/lib/xen/save")));
        assert!(settings.restore && settings.parallel && !settings.auto_only);
        assert_eq!(settings.unsupported, [""; 0]);
    }

    #[test]
    fn an_empty_folder_starts_nothing_and_one_after_the_other_can_be_set() {
        let settings = Settings::parse("XENDOMAINS_AUTO=\"\"\nXENDOMAINS_PARALLEL=no\n");
        assert_eq!(settings.auto, None);
        assert!(!settings.parallel);
    }

    #[test]
    fn what_has_no_effect_is_known_by_name_and_an_empty_folder_saves_nothing() {
        let settings = Settings::parse(
            "XENDOMAINS_MIGRATE=\"otherhost\"\nXENDOMAINS_SYSRQ=\"s e i u o\"\nXENDOMAINS_SAVE=\n",
        );
        assert_eq!(settings.unsupported, ["XENDOMAINS_MIGRATE", "XENDOMAINS_SYSRQ"]);
        assert_eq!(settings.save, None);
    }
}
