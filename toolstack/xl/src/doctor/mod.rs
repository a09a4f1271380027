//! What can be wrong with a host, and how to cure it. Each file looks at one side of it; every look is
//! bounded, and none changes anything.

mod kernel;
mod leftovers;
mod resources;
mod services;

pub use leftovers::cure;

use crate::session::Session;
use serde::Serialize;
#[cfg(test)]
use std::path::Path;
use std::path::PathBuf;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// Works, but could be better.
    Advice,
    /// Something will not work, or was left behind.
    Problem,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub level: Level,
    /// What was looked at.
    pub subject: &'static str,
    /// What was found.
    pub what: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cure: Option<String>,
}

impl Finding {
    fn ok(subject: &'static str, what: impl Into<String>) -> Self {
        Self { level: Level::Ok, subject, what: what.into(), cure: None }
    }

    fn advice(subject: &'static str, what: impl Into<String>, cure: impl Into<String>) -> Self {
        Self { level: Level::Advice, subject, what: what.into(), cure: Some(cure.into()) }
    }

    fn problem(subject: &'static str, what: impl Into<String>, cure: impl Into<String>) -> Self {
        Self { level: Level::Problem, subject, what: what.into(), cure: Some(cure.into()) }
    }

    /// Whether something is wrong.
    pub fn is_bad(&self) -> bool {
        self.level == Level::Problem
    }
}

/// Below which folder the files of the system are; tests have their own.
#[derive(Debug, Clone)]
pub struct Places {
    root: PathBuf,
}

impl Default for Places {
    fn default() -> Self {
        Self { root: PathBuf::from("/") }
    }
}

impl Places {
    /// Where an absolute path is.
    fn at(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// A small text file; empty if it cannot be read.
    fn read(&self, path: &str) -> String {
        std::fs::read_to_string(self.at(path)).unwrap_or_default()
    }

    fn exists(&self, path: &str) -> bool {
        self.at(path).exists()
    }

    /// The names in a folder, sorted; none if it cannot be read.
    fn list(&self, path: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.at(path)).into_iter().flatten().flatten();
        let mut names: Vec<_> =
            entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort();
        names
    }

    #[cfg(test)]
    fn below(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }
}

/// Looks at everything.
pub fn examine(session: &mut Session, places: &Places) -> Vec<Finding> {
    let mut findings = kernel::look(places);
    findings.extend(services::look(session, places));
    findings.extend(resources::look(session, places));
    findings.extend(leftovers::look(session, places));
    findings
}

/// The findings as text, with the cure below each.
pub fn report(findings: &[Finding], colours: bool) -> String {
    let mut text = String::new();
    for Finding { level, subject, what, cure } in findings {
        let (word, colour) = match level {
            Level::Ok => ("ok", "32"),
            Level::Advice => ("advice", "33"),
            Level::Problem => ("problem", "31"),
        };
        let word = format!("{word:<8}");
        let word = if colours { format!("\x1b[{colour}m{word}\x1b[0m") } else { word };
        text.push_str(&format!("{word} {subject}: {what}\n"));
        if let Some(cure) = cure {
            text.push_str(&format!("         cure: {cure}\n"));
        }
    }
    let problems = findings.iter().filter(|finding| finding.is_bad()).count();
    text.push_str(&match problems {
        0 => "nothing is wrong\n".to_owned(),
        1 => "1 problem\n".to_owned(),
        n => format!("{n} problems\n"),
    });
    text
}

/// A system in a folder of its own, for tests.
#[cfg(test)]
pub mod fake {
    use super::*;

    /// Keeps the folder until it is dropped.
    pub struct System {
        folder: tempfile::TempDir,
    }

    impl System {
        /// With these files; a name that ends with a slash is a folder.
        pub fn of(files: &[(&str, &str)]) -> Self {
            let folder = tempfile::tempdir().unwrap();
            for (path, text) in files {
                let at = folder.path().join(path.trim_start_matches('/'));
                if path.ends_with('/') {
                    std::fs::create_dir_all(at).unwrap();
                } else {
                    std::fs::create_dir_all(at.parent().unwrap()).unwrap();
                    std::fs::write(at, text).unwrap();
                }
            }
            Self { folder }
        }

        /// Its places.
        pub fn places(&self) -> Places {
            Places::below(self.folder.path())
        }
    }

    /// The problems as "subject: what".
    pub fn problems(findings: &[Finding]) -> Vec<String> {
        let bad = findings.iter().filter(|finding| finding.is_bad());
        bad.map(|finding| format!("{}: {}", finding.subject, finding.what)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_has_each_cure_below_its_finding_and_a_count() {
        let findings = [
            Finding::ok("Xen", "4.20"),
            Finding::problem("xenstored", "does not run", "systemctl start xenstored"),
        ];
        assert_eq!(
            report(&findings, false),
            "ok       Xen: 4.20\nproblem  xenstored: does not run\n         cure: systemctl start \
             xenstored\n1 problem\n"
        );
    }

    #[test]
    fn json_names_levels_in_words() {
        let finding = Finding::problem("xenstored", "does not run", "start it");
        let text = serde_json::to_string(&finding).unwrap();
        assert_eq!(
            text,
            r#"{"level":"problem","subject":"xenstored","what":"does not run","cure":"start it"}"#
        );
    }
}
