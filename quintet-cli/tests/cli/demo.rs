use crate::support::{assert_says, program, quintet, refusal, text};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

#[test]
fn the_demo_plays_all_scenes_and_leaves_nothing() {
    let story = text(quintet().arg("demo"));
    assert_says(
        &story,
        &[
            "1. Two programs meet",
            "2. Parent and child",
            "3. Numbers pass",
            "4. Removed while in use",
            "5. A lock outlives its owner",
            "6. Work for two",
            "7. The kernel saw none",
            "held by     1 by pid ",
            "got the unit at once",
            "the other worker received both jobs, in order",
            "attached: pid ",
            "dest",
            "All values are correct.",
        ],
    );
    assert!(story.matches("display | number").count() >= 5, "{story}");
    let path = story.lines().find_map(|l| l.trim().strip_prefix('/')).unwrap();
    assert!(!Path::new("/").join(path).exists());
}

#[test]
fn an_interrupted_demo_leaves_nothing() {
    let mut child = Command::new(program()).arg("demo").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let path = lines.find_map(|l| l.unwrap().trim().strip_prefix('/').map(|path| format!("/{path}"))).unwrap();
    assert!(Path::new(&path).exists());
    lines.find(|l| l.as_ref().unwrap().contains("display | number")).unwrap().unwrap();
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::TERM).unwrap();
    lines.for_each(drop);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_says(&String::from_utf8(output.stderr).unwrap(), &["cannot continue the demo: a signal interrupted it"]);
    assert!(!Path::new(&path).exists());
}

#[test]
fn refuses_a_namespace() {
    assert_says(&refusal(quintet().args(["demo", "--kernel"]), 2), &["--kernel"]);
    assert_says(&refusal(quintet().args(["demo", "--namespace", "/tmp"]), 2), &["--namespace"]);
}
