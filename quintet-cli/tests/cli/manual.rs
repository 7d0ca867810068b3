use crate::support::{assert_says, quintet, refusal, text};

const COMMANDS: [&str; 15] = [
    "run",
    "ls",
    "stat",
    "create",
    "rm",
    "cat",
    "write",
    "sem",
    "msg",
    "why",
    "namespace",
    "doctor",
    "demo",
    "completions",
    "man",
];

/// The subcommands with nested subcommands.
const NESTED: [(&str, &[&str]); 4] = [
    ("create", &["shm", "sem", "msg"]),
    ("sem", &["op", "get", "set"]),
    ("msg", &["send", "recv", "peek"]),
    ("namespace", &["create", "ls", "rm", "limits"]),
];

#[test]
fn every_help_ends_with_examples() {
    for command in COMMANDS {
        let help = text(quintet().args([command, "--help"]));
        let (_, examples) = help.split_once("\nEXAMPLES:\n").unwrap();
        assert_says(examples, &["quintet"]);
    }
    for (command, nested) in NESTED {
        for nested in nested {
            assert_says(&text(quintet().args([command, nested, "--help"])), &["\nEXAMPLES:\n"]);
        }
    }
    for blocking in [["sem", "op"], ["msg", "send"], ["msg", "recv"]] {
        assert_says(&text(quintet().args(blocking).arg("--help")), &["\nEXIT STATUS:\n", "124"]);
    }
}

#[test]
fn the_main_help_names_every_subcommand() {
    let help = text(quintet().arg("--help"));
    for command in COMMANDS {
        assert_says(&help, &[&format!("\n  {command} ")]);
    }
    assert!(!help.contains("demo-client"));
}

#[test]
fn every_shell_has_completions() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        assert_says(&text(quintet().args(["completions", shell])), &["quintet", "namespace", "doctor", "why", "timeout"]);
    }
    refusal(quintet().args(["completions", "csh"]), 2);
}

#[test]
fn every_subcommand_has_a_page() {
    let dir = tempfile::tempdir().unwrap();
    let pages = dir.path().join("man1");
    assert_eq!(text(quintet().arg("man").arg(&pages)), "");
    let mut names: Vec<String> = COMMANDS.iter().map(|c| format!("quintet-{c}.1")).collect();
    names.extend(NESTED.iter().flat_map(|(command, nested)| nested.iter().map(move |n| format!("quintet-{command}-{n}.1"))));
    names.extend(["quintet.1".into(), "quintet.7".into()]);
    names.sort();
    let mut found: Vec<String> =
        std::fs::read_dir(&pages).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    found.sort();
    assert_eq!(found, names);
    for name in names.into_iter().filter(|name| name.ends_with(".1")) {
        let page = std::fs::read_to_string(pages.join(&name)).unwrap();
        assert_says(&page, &[".TH ", ".SH NAME", ".SH SYNOPSIS", ".SH \"EXAMPLES\"\n.nf\n"]);
        assert!(!page.contains("demo\\-client"), "{name}");
    }
    assert_says(&text(quintet().arg("man")), &[".TH QUINTET 1"]);
}

#[test]
fn a_file_in_place_of_the_directory_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    assert_says(&refusal(quintet().arg("man").arg(&file), 1), &["cannot create the directory", "file"]);
}
