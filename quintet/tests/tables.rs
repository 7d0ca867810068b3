//! Each table of states has a model that explores it, or says why none.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The files of `src` that have tables, how many, and the models (file and test in `tests/model`), or why there is none.
const TABLES: [(&str, usize, &[&str]); 13] = [
    (
        "sync/robust_mutex.rs",
        1,
        &[
            "robust_mutex::two_never_hold_it_together",
            "robust_mutex::the_dead_are_relieved_once",
            "robust_mutex::a_holder_dies_at_each_step",
        ],
    ),
    ("sync/queue_lock.rs", 1, &["queue::a_sections_holder_dies", "queue::two_take_over", "queue::a_handler_comes_in_at_once"]),
    ("sync/redo.rs", 1, &["queue::a_caller_dies", "queue::successors_die", "queue::a_reader_looks_while_a_caller_dies"]),
    ("sync/journal.rs", 1, &["journal::a_holder_dies_under_a_readers_eyes", "journal::a_holder_and_its_successor_die"]),
    (
        "sync/waiter.rs",
        1,
        &[
            "journal::a_caller_dies_while_it_is_performed",
            "journal::a_call_is_given_up_without_the_lock",
            "journal::a_queues_call_is_given_up_without_the_lock",
            "journal::the_dead_do_not_consume",
        ],
    ),
    (
        "sync/word.rs",
        2,
        &["word::the_owner_dies", "word::the_owner_dies_against_another", "word::a_dead_ones_descriptor_is_used_again"],
    ),
    (
        "sync/attach_count.rs",
        1,
        &["attach_count::an_attacher_dies", "attach_count::a_remover_dies", "attach_count::a_detacher_dies"],
    ),
    ("sync/gate.rs", 1, &["gate::a_fork_waits_for_those_inside", "gate::two_fork"]),
    (
        "process/cancel.rs",
        1,
        &["-: a table of one process's threads, which ends with it; tests/queues_signal.rs, and the drop-in's of pthread_cancel"],
    ),
    ("shm/attachments.rs", 1, &["-: a list of one process, which ends with it; tests/race.rs"]),
    ("shm/cached_mapping.rs", 1, &["-: mappings of one process, which end with it; tests/race.rs"]),
    ("msg/lock.rs", 0, &["queue::handlers_come_in", "queue::a_caller_dies_in_its_handler"]),
    ("layout/rights.rs", 0, &["rights::whoever_looks_sees_them_whole"]),
];

fn sources(folder: &Path, all: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            sources(&entry, all);
        } else {
            all.push(entry);
        }
    }
}

/// How many lines of a text head a table of states.
fn tables(text: &str) -> usize {
    text.lines().filter(|line| line.starts_with("//!") && line.ends_with("| meaning | next |")).count()
}

#[test]
fn each_table_of_states_has_a_model() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    sources(&here.join("src"), &mut files);
    let found: BTreeMap<String, usize> = files
        .iter()
        .map(|file| {
            (file.strip_prefix(here.join("src")).unwrap().display().to_string(), tables(&std::fs::read_to_string(file).unwrap()))
        })
        .collect();
    let known = |file: &str| TABLES.iter().find(|(known, ..)| *known == file).map_or(0, |(_, tables, _)| *tables);
    for (file, tables) in &found {
        assert_eq!(
            *tables,
            known(file),
            "src/{file} has another number of tables of states than TABLES says: is there a model of each?"
        );
    }
    for (file, _, models) in TABLES {
        assert!(found.contains_key(file), "src/{file} is no more");
        for model in models.iter().filter(|model| !model.starts_with("-: ")) {
            let (module, test) = model.split_once("::").expect("file::test");
            let text = std::fs::read_to_string(here.join("tests/model").join(format!("{module}.rs"))).unwrap();
            assert!(text.contains(&format!("#[test]\nfn {test}()")), "tests/model/{module}.rs has no test {test}");
        }
    }
}
