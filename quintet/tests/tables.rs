//! Each table of states has a model, or a reason why it has none.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The files of `src` with tables, the number of tables, and the models as `file::test` of
/// `tests/model`. An entry that begins with "-: " is the reason why there is no model.
const TABLES: [(&str, usize, &[&str]); 14] = [
    (
        "sync/robust_mutex.rs",
        1,
        &[
            "robust_mutex::owners_exclude_each_other",
            "robust_mutex::one_waiter_takes_over_from_dead_owner",
            "robust_mutex::owner_dies_at_each_step",
        ],
    ),
    (
        "sync/queue_lock.rs",
        1,
        &["queue::guard_holder_dies", "queue::two_processes_take_over", "queue::handler_interrupts_right_after_acquire"],
    ),
    ("sync/redo.rs", 1, &["queue::caller_dies", "queue::successors_die", "queue::reader_during_death"]),
    ("sync/journal.rs", 1, &["journal::holder_dies_while_read", "journal::holder_and_successor_die"]),
    (
        "sync/waiter.rs",
        1,
        &[
            "journal::caller_dies_while_performed",
            "journal::call_is_abandoned_without_lock",
            "journal::queue_call_is_withdrawn_without_lock",
            "journal::dead_caller_consumes_nothing",
        ],
    ),
    (
        "sync/word.rs",
        2,
        &["word::owner_dies", "word::owner_dies_against_another_change", "word::descriptor_of_dead_owner_is_reused"],
    ),
    (
        "sync/attach_count.rs",
        1,
        &["attach_count::attaching_process_dies", "attach_count::removing_process_dies", "attach_count::detaching_process_dies"],
    ),
    ("sync/gate.rs", 1, &["gate::fork_waits_for_operations", "gate::two_threads_fork"]),
    (
        "process/cancel.rs",
        1,
        &["-: a table of one process's threads, which ends with it; tests/queues_signal.rs, quintet-preload/tests/c/cancel.c"],
    ),
    ("shm/attachments.rs", 1, &["-: a list of one process, which ends with it; tests/race.rs"]),
    ("shm/cached_mapping.rs", 1, &["-: mappings of one process, which end with it; tests/race.rs"]),
    (
        "sem/undo.rs",
        1,
        &["-: changed only under the set's mutex, whose journal has models; the crash campaign kills processes with undo"],
    ),
    ("msg/lock.rs", 0, &["queue::handlers_interrupt_call", "queue::caller_dies_in_handler"]),
    ("layout/permissions.rs", 0, &["permissions::reader_sees_one_change"]),
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

/// Returns the number of lines that are the head of a table of states.
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
        assert_eq!(*tables, known(file), "src/{file} does not have the number of state tables in TABLES; add a model for each");
    }
    for (file, _, models) in TABLES {
        assert!(found.contains_key(file), "src/{file} does not exist");
        for model in models.iter().filter(|model| !model.starts_with("-: ")) {
            let (module, test) = model.split_once("::").expect("file::test");
            let text = std::fs::read_to_string(here.join("tests/model").join(format!("{module}.rs"))).unwrap();
            assert!(text.contains(&format!("#[test]\nfn {test}()")), "tests/model/{module}.rs has no test {test}");
        }
    }
}
