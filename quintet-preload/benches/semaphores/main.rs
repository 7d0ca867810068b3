//! The cost of semaphores: the kernel's and Quintet's, side by side, and the least that the machine
//! can do.
//!
//! `cargo bench -p quintet-preload --bench semaphores [-- PART-OF-A-CASE'S-NAME...]`
//!
//! The kernel is called with the C library's functions, Quintet through the preload library, opened
//! here, on a private namespace in `/dev/shm`. Other processes are unmodified processes of this
//! program. Compared cases alternate (`common/turns.rs`), each process on a processor of its own or
//! on the same one. With `--kernel-twice` the kernel is on both sides, which shows how far the
//! ratios can be trusted.
//!
//! # Safety
//!
//! The functions have the C library's signatures. Their arguments are numbers, locals, slices and
//! statics of the right type.
#![allow(unsafe_code)]

#[path = "../common/mod.rs"]
mod common;

mod calls;
mod crowd;
mod many;
mod side;
mod turn;

use common::report::{self, head, line};
use common::turns::{self, measure};
use common::{Copied, Place, instructions};
use quintet::Kind;
use side::Side;
use std::path::Path;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let number = |word: &str| word.parse::<i32>().expect("a number");
    match words[..] {
        [role @ ("--ping" | "--pong"), means, what, cpu] => turn::play(role, means, number(what), number(cpu) as usize),
        ["--take", id, flags, busy, cpu] => crowd::take(number(id), number(flags), number(busy) as u64, number(cpu) as usize),
        ["--operate", id, by, flags, cpu] => {
            crowd::operate(number(id), number(by) as i16, number(flags), number(cpu) as usize);
        }
        ["--hold", id] => calls::hold(number(id)),
        ["--visit"] => many::visit(),
        ["--count", name, times] => calls::repeat(name, number(times) as u32),
        _ if common::is_bench() => bench(&words),
        _ => {}
    }
}

fn bench(words: &[&str]) {
    assert!(std::env::var_os("LD_PRELOAD").is_none(), "LD_PRELOAD is set: the kernel's side would not be the kernel's");
    let twice = words.contains(&"--kernel-twice");
    let wanted: Vec<&&str> = words.iter().filter(|word| !word.starts_with("--")).collect();
    let chosen = |name: &str| wanted.is_empty() || wanted.iter().any(|part| name.contains(**part));

    let library = common::library();
    let own_ipc = common::own_ipc();
    let processors = common::processors();
    common::pin();
    let places = [Kind::Private, Kind::Shared].map(|kind| Place::new(Path::new("/dev/shm"), kind));
    let copy = Copied::of(&library);
    let kernel = Side::plain();
    let of = |library: &Path, place: &Place| {
        let side = if twice { Side::plain() } else { Side::preload(library, place.path()) };
        // The first call opens the namespace.
        side.private(1);
        side
    };
    let (private, shared) = (of(&library, &places[0]), of(&copy.0, &places[1]));

    report::shape(&processors);
    one_process(&kernel, &private, &shared, &chosen);
    let pair = [processors.first(), processors.last()].map(|cpu| *cpu.expect("this program runs on one"));
    if pair[0] == pair[1] {
        println!("\nbetween processors: skipped: this program may use only one");
    }
    round_trips(&kernel, &private, pair, &chosen);
    if pair[0] != pair[1] {
        contention(&kernel, &private, pair, &chosen);
    }
    match own_ipc {
        true => many_sets(&kernel, &private, &chosen),
        false => println!("\nmany sets: skipped: they would fill the machine's own IPC namespace"),
    }
}

fn one_process(kernel: &Side, private: &Side, shared: &Side, chosen: &dyn Fn(&str) -> bool) {
    let cases = calls::cases(private, shared);
    let cases: Vec<_> = cases.iter().filter(|case| chosen(&case.name)).collect();
    if cases.is_empty() {
        return;
    }
    let uncounted = instructions::missing().or_else(|| private.preload.is_none().then(|| "not the preload library".into()));
    let mut failures = Vec::new();
    head("case", Some("instructions"));
    for case in cases {
        let figures = measure(&mut (case.set_up)(kernel), &mut (case.set_up)(case.side));
        let preload = case.side.preload.as_ref().filter(|_| case.is_call && uncounted.is_none());
        let count = preload.map(|preload| instructions::count(&case.name, preload));
        let instructions = count.and_then(|count| count.map_err(|why| failures.push(why)).ok());
        line(&case.name, &figures, Some(&instructions.map_or("-".into(), |count| format!("{count:.0}"))));
    }
    println!(
        "(medians of {} rounds; ratio: quintet / kernel within a round; instructions: quintet's, in user space)",
        turns::ROUNDS
    );
    uncounted.iter().chain(&failures).for_each(|why| println!("instructions skipped: {why}"));
}

fn round_trips(kernel: &Side, quintet: &Side, pair: [usize; 2], chosen: &dyn Fn(&str) -> bool) {
    let games = [
        ("ping-pong, two processors", pair, &["futex", "line"][..]),
        ("ping-pong, one processor", [pair[1]; 2], &["futex", "yield"][..]),
    ];
    let games = games.iter().filter(|game| chosen(game.0) && (game.1[0] != game.1[1] || game.0.contains("one")));
    for (at, (name, processors, floors)) in games.enumerate() {
        if at == 0 {
            report::trips_head();
        }
        for (side, trips) in turn::measure(kernel, quintet, *processors, floors) {
            report::trips_line(&format!("{name}: {side}"), &trips);
        }
    }
}

fn contention(kernel: &Side, quintet: &Side, pair: [usize; 2], chosen: &dyn Fn(&str) -> bool) {
    for (at, (name, batch)) in crowd::ENCOUNTERS.iter().filter(|encounter| chosen(encounter.0)).enumerate() {
        if at == 0 {
            head("two processors", None);
        }
        line(name, &measure(&mut batch(kernel, pair[0]), &mut batch(quintet, pair[0])), None);
    }
    let cases: Vec<_> = crowd::CASES.iter().filter(|case| chosen(case.name)).collect();
    if cases.is_empty() {
        return;
    }
    println!();
    println!(
        "| {:<38} | kernel 1000/s | quintet 1000/s | ratio |      5% .. 95% | kernel max/min | quintet max/min |",
        "4 processes"
    );
    println!("|{:-<40}|{:->14}:|{:->15}:|{:->6}:|{:->15}:|{:->15}:|{:->16}:|", "", "", "", "", "", "", "");
    for case in cases {
        let found = crowd::contend(case, [kernel, quintet], pair);
        let [per_ms, quintet_per_ms] = [found.figures.kernel, found.figures.quintet].map(|ns| 1e6 / ns);
        let [share, quintet_share] = found.shares;
        println!(
            "| {:<38} | {per_ms:>13.0} | {quintet_per_ms:>14.0} | {:>5.2} | {:>14} | {share:>14.2} | {quintet_share:>15.2} |",
            case.name,
            found.figures.ratio,
            found.figures.range(),
        );
    }
    println!("(ratio: of the time between acquisitions; max/min: of the acquisitions of the four processes)");
}

fn many_sets(kernel: &Side, quintet: &Side, chosen: &dyn Fn(&str) -> bool) {
    if !chosen("many sets") {
        return;
    }
    let n = many::most();
    head(&format!("many sets: {n}"), None);
    for (name, figures) in many::STEPS.iter().zip(many::measure([kernel, quintet], n)) {
        line(name, &figures, None);
    }
}
