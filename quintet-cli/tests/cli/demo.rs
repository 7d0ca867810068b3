use crate::support::{assert_says, quintet, refusal, text};

#[test]
fn all_scenes_are_played_and_nothing_is_left() {
    let start = std::time::Instant::now();
    let story = text(quintet().arg("demo"));
    assert_says(
        &story,
        &[
            "1. Two programs meet",
            "2. Parent and child",
            "3. Numbers pass",
            "4. Removed while in use",
            "5. The kernel saw none",
            "attached: pid ",
            "dest",
            "All values were right.",
        ],
    );
    assert!(story.matches("display | number").count() >= 5, "{story}");
    let path = story.lines().find_map(|l| l.trim().strip_prefix('/')).unwrap();
    assert!(!std::path::Path::new("/").join(path).exists());
    assert!(start.elapsed().as_secs() < 20);
}

#[test]
fn makes_no_sense_elsewhere() {
    assert_says(&refusal(quintet().args(["demo", "--kernel"]), 2), &["--kernel"]);
    assert_says(&refusal(quintet().args(["demo", "--namespace", "/tmp"]), 2), &["--namespace"]);
}
