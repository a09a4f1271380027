//! What the script printed, read back: steps, commands with their output, things that hold.

/// One command of the script.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ran {
    /// The step that it belongs to.
    pub step: String,
    /// As it was written.
    pub command: String,
    /// What it wrote to its output.
    pub out: Vec<String>,
    /// And to its error output.
    pub err: Vec<String>,
    /// Its exit code.
    pub code: String,
}

/// The whole.
#[derive(Default)]
pub struct Transcript {
    /// Every command, in order.
    pub ran: Vec<Ran>,
    /// `(step, sentence, why it does not hold)`.
    pub sentences: Vec<(String, String, Option<String>)>,
}

impl Transcript {
    /// Reads the lines that `cells.sh` describes; others, such as the hypervisor's own, are passed
    /// over.
    pub fn read(text: &str) -> Self {
        let mut all = Self::default();
        let mut step = String::new();
        let mut open = false;
        for line in text.lines() {
            if let Some(name) = line.strip_prefix("@@ ") {
                name.clone_into(&mut step);
            } else if let Some(command) = line.strip_prefix("$ ") {
                all.ran.push(Ran { step: step.clone(), command: command.into(), ..Ran::default() });
                open = true;
            } else if let Some(sentence) = line.strip_prefix(": ") {
                all.sentences.push((step.clone(), sentence.to_owned(), None));
            } else if let Some(sentence) = line.strip_prefix("NO: ") {
                all.sentences.push((step.clone(), sentence.to_owned(), Some(String::new())));
            } else if let Some(ran) = all.ran.last_mut().filter(|_| open) {
                if let Some(out) = line.strip_prefix("out|") {
                    ran.out.push(out.to_owned());
                } else if let Some(err) = line.strip_prefix("err|") {
                    ran.err.push(err.to_owned());
                } else if let Some(code) = line.strip_prefix("rc=") {
                    code.clone_into(&mut ran.code);
                    open = false;
                }
            } else if let (Some(why), Some((.., Some(said)))) =
                (line.strip_prefix("   "), all.sentences.last_mut())
            {
                said.push_str(why);
                said.push('\n');
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_commands_and_sentences_are_told_apart() {
        let text = "@@ one\n$ xl list\nout|Name\n(XEN) noise\nerr|oh\nrc=1\n: it holds\nNO: it does not\n   because\n";
        let all = Transcript::read(text);
        let ran = &all.ran[0];
        assert_eq!(
            (ran.step.as_str(), ran.command.as_str(), ran.code.as_str()),
            ("one", "xl list", "1")
        );
        assert_eq!(
            (ran.out.as_slice(), ran.err.as_slice()),
            (&["Name".to_owned()][..], &["oh".to_owned()][..])
        );
        assert_eq!(all.sentences[0].2, None);
        assert_eq!(all.sentences[1].2.as_deref(), Some("because\n"));
    }
}
