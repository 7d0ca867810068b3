//! The cost of message queues: the kernel's and Quintet's, side by side, and the alternatives.
//!
//! `cargo bench -p quintet-preload --bench queues [-- PART-OF-A-CASE'S-NAME...]`
//!
//! The kernel is called with the C library's functions, Quintet through the preload library, opened
//! here, on a private namespace in `/dev/shm`. Other processes are unmodified processes of this
//! program. Compared cases alternate (`common/turns.rs`), each process on a processor of its own or
//! on the same one. With `--kernel-twice` the kernel is on both sides, which shows how far the
//! ratios can be trusted.
//!
//! # Safety
//!
//! The functions have the C library's signatures. Their arguments are numbers, locals and slices of
//! the right type.
#![allow(unsafe_code)]

#[path = "../common/mod.rs"]
mod common;

mod calls;
mod channel;
mod crowd;
mod depth;
mod passing;
mod side;

use common::report::{self, head, line, short};
use common::turns::{self, measure};
use common::{Copied, Place};
use quintet::{Kind, Namespace};
use side::Side;
use std::path::Path;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let number = |word: &str| word.parse::<i32>().expect("a number");
    match words[..] {
        [role @ ("--ping" | "--pong" | "--send" | "--receive"), means, len, cpu, ref channels @ ..] => {
            let channels: Vec<_> = channels.iter().map(|word| number(word)).collect();
            passing::live(role, means, number(len) as usize, number(cpu) as usize, &channels);
        }
        ["--crowd-send", id, cpu] => crowd::send(number(id), number(cpu) as usize),
        ["--crowd-receive", id, cpu] => crowd::receive(number(id), number(cpu) as usize),
        ["--attend", role, id, cpu] => crowd::attend(number(id), role == "send", number(cpu) as usize),
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
        side.private();
        side
    };
    let (private, shared) = (of(&library, &places[0]), of(&copy.0, &places[1]));

    report::shape(&processors);
    one_process(&kernel, &private, &shared, &chosen);
    let kernels = own_ipc.then(Namespace::kernel);
    let namespaces: Vec<&Namespace> = kernels.iter().chain([places[0].namespace()]).collect();
    depths(&kernel, &private, &namespaces, &chosen);
    let pair = [processors.first(), processors.last()].map(|cpu| *cpu.expect("this program runs on one"));
    let two = pair[0] != pair[1];
    if !two {
        println!("\nbetween processors: skipped: this program may use only one");
    }
    passings(&kernel, &private, pair, &|name: &str| chosen(name) && (two || name.contains("one")));
    round_trips(&kernel, &private, pair, &|name: &str| chosen(name) && (two || name.contains("one")));
    if two {
        contention(&kernel, &private, pair, &chosen);
    }
}

fn one_process(kernel: &Side, private: &Side, shared: &Side, chosen: &dyn Fn(&str) -> bool) {
    let cases = calls::cases(private, shared);
    let cases: Vec<_> = cases.iter().filter(|case| chosen(&case.name)).collect();
    if cases.is_empty() {
        return;
    }
    head("case", None);
    for case in cases {
        line(&case.name, &measure(&mut (case.set_up)(kernel), &mut (case.set_up)(case.side)), None);
    }
    println!("(medians of {} rounds; ratio: quintet / kernel within a round)", turns::ROUNDS);
}

fn depths(kernel: &Side, quintet: &Side, namespaces: &[&Namespace], chosen: &dyn Fn(&str) -> bool) {
    let searches: Vec<_> = depth::SEARCHES.iter().filter(|search| chosen(&format!("msgrcv of {}", search.name))).collect();
    if searches.is_empty() {
        return;
    }
    let _roomy: Vec<_> = namespaces.iter().copied().filter_map(depth::Roomy::of).collect();
    head("msgrcv, and msgsnd of the same", None);
    for search in searches {
        for depth in depth::DEPTHS {
            let name = format!("msgrcv of {}, among {depth}", search.name);
            match depth::compare([kernel, quintet], search, depth) {
                Some(figures) => line(&name, &figures, None),
                None => println!("{name}: skipped: msgmnb is too low, and this process may not raise it"),
            }
        }
    }
}

fn passings(kernel: &Side, quintet: &Side, pair: [usize; 2], chosen: &dyn Fn(&str) -> bool) {
    for (at, passing) in passing::PASSINGS.iter().filter(|passing| chosen(passing.name)).enumerate() {
        if at == 0 {
            println!();
            print!("| {:<34} | kernel ns | quintet ns | ratio |      5% .. 95% |", "a message");
            channel::MEANS[2..].iter().for_each(|means| print!(" {:>12} |", format!("{means} ns")));
            print!("\n|{:-<36}|{:->10}:|{:->11}:|{:->6}:|{:->15}:|", "", "", "", "", "");
            channel::MEANS[2..].iter().for_each(|_| print!("{:->13}:|", ""));
            println!();
        }
        let compared = passing::compare(passing, kernel, quintet, pair);
        let figures = &compared.figures;
        print!(
            "| {:<34} | {:>9} | {:>10} | {:>5.2} | {:>14} |",
            passing.name,
            short(figures.kernel),
            short(figures.quintet),
            figures.ratio,
            figures.range()
        );
        compared.others.iter().for_each(|ns| print!(" {:>12} |", short(*ns)));
        println!();
    }
}

fn round_trips(kernel: &Side, quintet: &Side, pair: [usize; 2], chosen: &dyn Fn(&str) -> bool) {
    let games = [("ping-pong of 64 B, two processors", pair), ("ping-pong of 64 B, one processor", [pair[1]; 2])];
    for (at, (name, processors)) in games.iter().filter(|game| chosen(game.0)).enumerate() {
        if at == 0 {
            report::trips_head();
        }
        for (means, trips) in channel::MEANS.iter().zip(passing::trips(64, kernel, quintet, *processors)) {
            report::trips_line(&format!("{name}: {means}"), &trips);
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
    let name = "4 send 64 B, 4 receive";
    if !chosen(name) {
        return;
    }
    let found = crowd::contend([kernel, quintet], pair);
    let [per_ms, quintet_per_ms] = [found.figures.kernel, found.figures.quintet].map(|ns| 1e6 / ns);
    println!();
    println!("| {name:<23} | messages 1000/s | senders' max/min | receivers' max/min |");
    println!("|{:-<25}|{:->16}:|{:->17}:|{:->19}:|", "", "", "", "");
    for (side, rate, [senders, receivers]) in [("kernel", per_ms, found.shares[0]), ("quintet", quintet_per_ms, found.shares[1])]
    {
        println!("| {side:<23} | {rate:>15.0} | {senders:>16.2} | {receivers:>18.2} |");
    }
    println!("(ratio of the time from one message to the next: {:.2}, {})", found.figures.ratio, found.figures.range());
}
