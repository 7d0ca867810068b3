//! The effect on a whole program: Debian's fakeroot processes a tree of files. Its clients and its
//! daemon communicate through two queues and a semaphore.
//!
//! `cargo bench -p quintet-preload --bench fakeroot`
//!
//! A session is a complete run: start of the daemon, work, end. Sessions alternate between the
//! kernel and Quintet on a private namespace in `/dev/shm`. Ratios are formed within a round.
#![allow(unsafe_code)]

mod common;

use common::Place;
use common::report;
use common::turns::{Figures, rounds};
use quintet::Kind;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

const ROUNDS: usize = 31;
const PARTS: usize = 4;
const FILES: usize = 500;

/// The commands that run under fakeroot in the tree, with the parts `c1` to `c4`.
const SESSIONS: [(&str, &str); 3] = [
    ("nothing", "true"),
    ("one client, 2000 files", "chown -R 1000:2000 . && ls -lnR . && tar -cf - ."),
    (
        "4 clients at once, 500 files each",
        "for i in 1 2 3 4; do (chown -R 1000:2000 c$i && ls -lnR c$i && tar -cf - c$i) & done; wait",
    ),
];

const FAKEROOT: &str = "fakeroot-sysv";

fn main() {
    if !common::is_bench() {
        return;
    }
    assert!(std::env::var_os("LD_PRELOAD").is_none(), "LD_PRELOAD is set: the kernel's side would not be the kernel's");
    if !is_there() {
        println!("skipped: {FAKEROOT} is not installed");
        return;
    }
    let library = common::library();
    common::own_ipc();
    let processors = common::processors();
    let place = Place::new(Path::new("/dev/shm"), Kind::Private);
    let tree = Tree::new();

    report::shape(&processors);
    println!();
    println!("| {:<50} | kernel ms | quintet ms | ratio |      5% .. 95% |", "fakeroot");
    println!("|{:-<52}|{:->10}:|{:->11}:|{:->6}:|{:->15}:|", "", "", "", "", "");
    let last = processors.last().copied().unwrap_or(0).to_string();
    let on: &[(&str, &[&str])] = &[("", &[]), (", one processor", &["taskset", "-c", &last])];
    for (session, work) in SESSIONS {
        for (where_, before) in &on[..if processors.len() > 1 { 2 } else { 1 }] {
            let live = |side: usize| {
                let words: Vec<&str> = before.iter().copied().chain([FAKEROOT, "sh", "-euc", work]).collect();
                let mut command = Command::new(words[0]);
                command.args(&words[1..]).current_dir(&tree.0).stdout(Stdio::null());
                if side == 1 {
                    command.env("LD_PRELOAD", &library).env("QUINTET_NAMESPACE", place.path());
                }
                let start = Instant::now();
                assert!(command.status().expect("fakeroot runs").success(), "{FAKEROOT} failed");
                start.elapsed().as_secs_f64() * 1e3
            };
            // The first ones warm up.
            let _ = [0, 1].map(live);
            let took = rounds(ROUNDS, 2, live);
            let figures = Figures::of(&took[0], &took[1]);
            println!(
                "| {:<50} | {:>9.1} | {:>10.1} | {:>5.2} | {:>14} |",
                format!("{session}{where_}"),
                figures.kernel,
                figures.quintet,
                figures.ratio,
                figures.range(),
            );
        }
    }
}

fn is_there() -> bool {
    Command::new(FAKEROOT).arg("--version").stdout(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// The files; removed when dropped.
struct Tree(PathBuf);

impl Tree {
    fn new() -> Tree {
        let tree = Tree(PathBuf::from(format!("/dev/shm/quintet-bench-{}-tree", std::process::id())));
        for part in 1..=PARTS {
            let directory = tree.0.join(format!("c{part}"));
            std::fs::create_dir_all(&directory).expect("room for a tree");
            (0..FILES).for_each(|file| std::fs::write(directory.join(format!("f{file}")), "").expect("room for a file"));
        }
        tree
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
