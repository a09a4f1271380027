//! A guest's configuration, from the command line to what the library takes: `create`, `check`,
//! `config-update`.

use crate::cli::options::Parsed;
use crate::failure::{Failure, OrFail as _, code};
use crate::output;
use crate::session::Session;
use std::path::Path;
use xl_config::{
    COMMAND_LINE, Diagnostic, Document, DomainConfig, Host, Lax, Uuid, check_host,
    parse_with_words, report, validate,
};

/// Where configurations are by habit.
const HABIT: &str = "/etc/xen";
/// A configuration larger than this is none.
const LARGEST: u64 = 1 << 20;

/// Which configuration is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The file; "command line" if there is none.
    pub file: String,
    /// Words `key=value` that follow it.
    words: Vec<String>,
    /// Whether there is a file at all.
    has_file: bool,
}

/// A configuration that was found good.
#[derive(Debug)]
pub struct Loaded {
    /// What the guest is to be.
    pub config: DomainConfig,
    /// What is worth saying about it.
    pub warnings: Vec<Diagnostic>,
    document: Document,
}

impl Request {
    /// The file and the words of `create`.
    ///
    /// # Errors
    /// There is no file.
    pub fn of(parsed: &Parsed) -> Result<Self, Failure> {
        Self::from_words(parsed.value("defconfig"), &parsed.operands)
    }

    /// The first word is the file, unless `-f` gives it; the others are settings.
    ///
    /// # Errors
    /// There is no file.
    pub fn from_words(given: Option<&str>, words: &[String]) -> Result<Self, Failure> {
        let is_setting = |word: &&String| word.contains('=') && !Path::new(word).is_file();
        let first = words.first().filter(|word| !is_setting(word));
        let (file, words) = match (given, first) {
            (Some(file), _) => (Some(file.to_owned()), words),
            (None, Some(file)) => (Some(file.clone()), words.get(1..).unwrap_or_default()),
            (None, None) => (None, words),
        };
        if let Some(odd) = words.iter().find(|word| !word.contains('=')) {
            return Err(Failure::new(format!("{odd} is no setting"))
                .help("after the configuration file stand words KEY=VALUE")
                .code(code::USAGE));
        }
        let missing = || {
            Failure::new("Config file not specified and none in save file")
                .help("xl create FILE, as in xl create /etc/xen/guest.cfg")
                .code(code::NO_CONFIG)
        };
        if file.is_none() && words.is_empty() {
            return Err(missing());
        }
        Ok(Self {
            has_file: file.is_some(),
            file: file.unwrap_or_else(|| COMMAND_LINE.to_owned()),
            words: words.to_vec(),
        })
    }

    fn read(&self) -> Result<Vec<u8>, Failure> {
        if !self.has_file {
            return Ok(Vec::new());
        }
        let failed = || format!("Failed to read config file: {}", self.file);
        let unreadable = |failure: Failure| {
            let failure = failure.code(code::CONFIG);
            match habitual(&self.file) {
                Some(path) => failure.help(format!("did you mean {path}?")),
                None => failure,
            }
        };
        let about = std::fs::metadata(&self.file).or_fail(failed).map_err(unreadable)?;
        if about.len() > LARGEST {
            return Err(Failure::new(failed())
                .help("it is larger than any configuration: is it a disk image or a kernel?")
                .code(code::CONFIG));
        }
        std::fs::read(&self.file).or_fail(failed).map_err(unreadable)
    }

    /// Reads and checks it; the hypervisor and the host are not looked at.
    ///
    /// # Errors
    /// What is wrong with it was printed, place by place.
    pub fn load(&self, lax: bool, quiet: bool) -> Result<Loaded, Failure> {
        let (result, diagnostics) = self.examine(lax)?;
        if let Some(loaded) = result {
            if !quiet {
                say(&loaded.warnings);
            }
            return Ok(loaded);
        }
        say(&diagnostics);
        Err(self.wrong(&diagnostics))
    }

    /// Reads and checks it; what is wrong, if it cannot be used.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn examine(&self, lax: bool) -> Result<(Option<Loaded>, Vec<Diagnostic>), Failure> {
        let bytes = self.read()?;
        let document = match parse_with_words(&bytes, &self.file, &self.words) {
            Ok(document) => document,
            Err(errors) => return Ok((None, errors.0)),
        };
        Ok(match validate(&document, &Lax { unknown: lax }) {
            Ok(found) => {
                let (config, warnings) = (found.config, found.warnings);
                (Some(Loaded { config, warnings, document }), Vec::new())
            }
            Err(errors) => (None, errors.0),
        })
    }

    /// How many things are wrong.
    pub fn wrong(&self, diagnostics: &[Diagnostic]) -> Failure {
        let count = diagnostics.iter().filter(|one| one.is_error()).count();
        let plural = if count == 1 { "error" } else { "errors" };
        Failure::new(format!("Failed to parse config: {count} {plural} in {}", self.file))
    }
}

impl Loaded {
    /// What of the host does not fit it.
    pub fn on_host(&self) -> Vec<Diagnostic> {
        check_host(&self.config, Some(&self.document), &Host::default())
    }

    /// Whether what it names is there.
    ///
    /// # Errors
    /// What is missing was printed.
    pub fn check_host(&self, quiet: bool) -> Result<(), Failure> {
        let found = self.on_host();
        let errors = found.iter().filter(|one| one.is_error()).count();
        if errors > 0 || !quiet {
            say(&found);
        }
        if errors == 0 {
            return Ok(());
        }
        let name = &self.config.name;
        Err(Failure::new(format!("cannot create {name}: this host lacks what it needs"))
            .code(code::CONFIG))
    }
}

/// Prints diagnostics to standard error.
pub fn say(diagnostics: &[Diagnostic]) {
    if !diagnostics.is_empty() {
        output::error(&report(diagnostics, output::error_colours()));
    }
}

/// What a dry run prints: libxl's JSON form, with a UUID as the guest would get one.
///
/// # Errors
/// A list of CPUs that this host cannot fulfil, where the hypervisor can be asked.
pub fn shown(session: &mut Session, mut config: DomainConfig) -> Result<String, Failure> {
    if config.uuid.is_none() {
        config.uuid = random_uuid();
    }
    if let Ok(context) = session.context() {
        let host = xenlight::cpus::host(context)
            .or_fail(|| "cannot look at the host's CPUs".to_owned())?;
        config.resolve_cpus(&host).or_fail(|| "cannot place its CPUs".to_owned())?;
    }
    Ok(config.to_json())
}

/// A UUID by chance (RFC 9562, version 4).
fn random_uuid() -> Option<Uuid> {
    use std::io::Read as _;
    let mut bytes = [0; 16];
    std::fs::File::open("/dev/urandom").ok()?.read_exact(&mut bytes).ok()?;
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    Some(Uuid(bytes))
}

/// The file by habit that a bare name may mean.
fn habitual(name: &str) -> Option<String> {
    if name.contains('/') {
        return None;
    }
    let paths = ["", ".cfg", ".conf"].map(|end| format!("{HABIT}/{name}{end}"));
    paths.into_iter().find(|path| Path::new(path).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    fn request(given: Option<&str>, list: &[&str]) -> Result<Request, Failure> {
        Request::from_words(given, &words(list))
    }

    #[test]
    fn the_first_word_is_the_file_and_the_others_are_settings() {
        let found = request(None, &["a.cfg", "memory=5"]).unwrap();
        assert_eq!((found.file.as_str(), found.words), ("a.cfg", words(&["memory=5"])));
        let found = request(Some("b.cfg"), &["memory=5"]).unwrap();
        assert_eq!((found.file.as_str(), found.words), ("b.cfg", words(&["memory=5"])));
    }

    #[test]
    fn settings_alone_are_a_configuration() {
        let found = request(None, &["name=\"x\""]).unwrap();
        assert_eq!((found.file.as_str(), found.has_file), (COMMAND_LINE, false));
    }

    #[test]
    fn nothing_at_all_is_refused_with_cs_exit_code() {
        let failure = request(None, &[]).unwrap_err();
        assert_eq!(failure.what, "Config file not specified and none in save file");
        assert_eq!(failure.code, 6);
    }

    #[test]
    fn a_second_file_is_no_setting() {
        let failure = request(None, &["a.cfg", "b.cfg"]).unwrap_err();
        assert_eq!((failure.what.as_str(), failure.code), ("b.cfg is no setting", 2));
    }

    #[test]
    fn a_file_that_is_not_there_is_named_with_cs_exit_code() {
        let failure = request(None, &["/nosuch.cfg"]).unwrap().load(false, true).unwrap_err();
        assert_eq!(failure.what, "Failed to read config file: /nosuch.cfg");
        assert_eq!(failure.code, 3);
        assert!(failure.because[0].contains("No such file or directory"), "{failure:?}");
    }

    #[test]
    fn a_wrong_file_counts_its_errors() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.cfg");
        std::fs::write(&path, "name = \"x\"\nmemroy = 5\n").unwrap();
        let request = request(None, &[path.to_str().unwrap()]).unwrap();
        let (loaded, diagnostics) = request.examine(false).unwrap();
        assert!(loaded.is_none());
        assert!(request.wrong(&diagnostics).what.starts_with("Failed to parse config: "));
        assert!(report(&diagnostics, false).contains("memroy"));
    }
}
