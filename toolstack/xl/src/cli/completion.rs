//! The completion script for bash, made from the table.

use super::options::JSON;
use crate::table::{self, Command, Kind};
use std::fmt::Write as _;

/// What the operands of a command are, as far as a shell can help with them.
fn operands(command: &Command) -> &'static str {
    if command.args.contains("Domain") {
        "domains"
    } else if command.args.contains("<ConfigFile>") || command.args.contains("file") {
        "files"
    } else {
        ""
    }
}

/// The script.
pub fn bash() -> String {
    let shown = || table::all().filter(|command| command.kind != Kind::Hidden);
    let names: Vec<_> = shown().map(|command| command.name).collect();
    let mut cases = String::new();
    for command in shown() {
        let mut words = vec!["-h".to_owned(), "--help".to_owned()];
        for option in command.options.iter().chain(command.json.then_some(&JSON)) {
            words.extend(option.short.map(|letter| format!("-{letter}")));
            let equals = if option.value.is_some() { "=" } else { "" };
            words.extend(option.long.map(|long| format!("--{long}{equals}")));
        }
        let _ = writeln!(
            cases,
            "        {}) options='{}' operands='{}' ;;",
            command.name,
            words.join(" "),
            operands(command)
        );
    }
    let mut script =
        String::from("# bash completion of xl, made by `xl completion bash`\n_xl()\n{\n");
    script.push_str("    local word command options= operands= index\n");
    script.push_str("    COMPREPLY=()\n    word=${COMP_WORDS[COMP_CWORD]}\n");
    script.push_str("    for ((index = 1; index < COMP_CWORD; index++)); do\n");
    script.push_str("        [[ ${COMP_WORDS[index]} == -* ]] && continue\n");
    script.push_str("        command=${COMP_WORDS[index]}\n        break\n    done\n");
    script.push_str("    if [[ -z $command ]]; then\n");
    let _ = writeln!(
        script,
        "        COMPREPLY=($(compgen -W '-v -f -N -t -T {}' -- \"$word\"))",
        names.join(" ")
    );
    script.push_str("        return\n    fi\n    if [[ $command == help ]]; then\n");
    let _ = writeln!(
        script,
        "        COMPREPLY=($(compgen -W '--long {}' -- \"$word\"))",
        names.join(" ")
    );
    script.push_str("        return\n    fi\n    case $command in\n");
    script.push_str(&cases);
    script.push_str("    esac\n    if [[ $word == -* ]]; then\n");
    script.push_str("        COMPREPLY=($(compgen -W \"$options\" -- \"$word\"))\n");
    script.push_str("    elif [[ $operands == domains ]]; then\n");
    script.push_str("        COMPREPLY=($(compgen -W \"$(xl list 2>/dev/null |\n");
    script.push_str("            awk 'NR > 1 { print $1 }')\" -- \"$word\"))\n");
    script.push_str("    elif [[ $operands == files ]]; then\n");
    script.push_str("        COMPREPLY=($(compgen -f -- \"$word\"))\n    fi\n}\n");
    script.push_str("complete -o bashdefault -o default -F _xl xl\n");
    script
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command as Program;

    /// Completes the last word of a line with a real bash.
    fn complete(words: &[&str]) -> Vec<String> {
        let list = "xl() { printf 'Name ID\\nDomain-0 0\\nguest 1\\n'; }\n";
        let line: Vec<_> = words.iter().map(|word| format!("'{word}'")).collect();
        let script = format!(
            "{list}{}\nCOMP_WORDS=({}); COMP_CWORD={}; _xl; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            bash(),
            line.join(" "),
            words.len() - 1
        );
        let output = Program::new("bash").arg("-c").arg(script).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
    }

    #[test]
    fn bash_completes_commands() {
        assert_eq!(complete(&["xl", "des"]), ["destroy"]);
        assert_eq!(complete(&["xl", "-v", "vm-"]), ["vm-list"]);
        assert_eq!(complete(&["xl", "moni"]), Vec::<String>::new());
    }

    #[test]
    fn bash_completes_options_of_the_command() {
        assert_eq!(complete(&["xl", "list", "--v"]), ["--verbose"]);
        assert_eq!(complete(&["xl", "create", "--def"]), ["--defconfig="]);
    }

    #[test]
    fn bash_completes_names_of_domains() {
        assert_eq!(complete(&["xl", "console", "gu"]), ["guest"]);
        assert_eq!(complete(&["xl", "destroy", "Dom"]), ["Domain-0"]);
    }
}
