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
    /// Whether guests should move to another host.
    pub migrate: bool,
    /// Whether all guests are asked to end at once.
    pub parallel: bool,
    /// How long they have to end.
    pub wait: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self { auto: Some("/etc/xen/auto".into()), migrate: false, parallel: true, wait: WAIT }
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
            match name.trim().trim_start_matches("export ") {
                "XENDOMAINS_AUTO" => {
                    settings.auto =
                        Some(value).filter(|value| !value.is_empty()).map(PathBuf::from);
                }
                "XENDOMAINS_MIGRATE" => settings.migrate = !value.is_empty(),
                "XENDOMAINS_PARALLEL" => {
                    settings.parallel = !matches!(value, "0" | "no" | "false" | "");
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
        assert!(!settings.migrate && settings.parallel);
    }

    #[test]
    fn an_empty_folder_starts_nothing_and_one_after_the_other_can_be_set() {
        let settings = Settings::parse("XENDOMAINS_AUTO=\"\"\nXENDOMAINS_PARALLEL=no\n");
        assert_eq!(settings.auto, None);
        assert!(!settings.parallel);
    }
}
