//! The printed tables.

use super::trips::Trips;
use super::turns::Figures;

/// Prints the machine.
pub fn shape(processors: &[usize]) {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let info = read("/proc/cpuinfo");
    let field = |name: &str| {
        let line = info.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split_once(": ")).map_or("?", |(_, value)| value).to_owned()
    };
    let virt = if field("flags").contains("hypervisor") { ", virtual" } else { "" };
    println!("Linux {}, {}{virt}, {}", read("/proc/sys/kernel/osrelease"), std::env::consts::ARCH, field("model name"));
    println!("processors {processors:?}; load before: {}", read("/proc/loadavg"));
}

/// Prints a row of a table that compares times; some tables have a last column.
fn row(name: &str, figures: [&str; 4], last: Option<&str>) {
    let [kernel, quintet, ratio, spread] = figures;
    print!("| {name:<54} | {kernel:>9} | {quintet:>10} | {ratio:>5} | {spread:>14} |");
    println!("{}", last.map_or_else(String::new, |last| format!(" {last:>12} |")));
}

pub fn head(name: &str, last: Option<&str>) {
    println!();
    row(name, ["kernel ns", "quintet ns", "ratio", "5% .. 95%"], last);
    print!("|{:-<56}|{:->10}:|{:->11}:|{:->6}:|{:->15}:|", "", "", "", "", "");
    println!("{}", last.map_or_else(String::new, |_| format!("{:->13}:|", "")));
}

pub fn line(name: &str, figures: &Figures, last: Option<&str>) {
    let (kernel, quintet) = (short(figures.kernel), short(figures.quintet));
    row(name, [&kernel, &quintet, &format!("{:.2}", figures.ratio), &figures.range()], last);
}

/// Formats nanoseconds with the significant decimals.
pub fn short(ns: f64) -> String {
    let places = if ns < 10.0 { 1 } else { 0 };
    format!("{ns:.places$}")
}

pub fn trips_head() {
    println!();
    println!("| {:<45} | mean ns | p50 ns | p99 ns | p99.9 ns | ratio |      5% .. 95% |", "round trip");
    println!("|{:-<47}|{:->8}:|{:->7}:|{:->7}:|{:->9}:|{:->6}:|{:->15}:|", "", "", "", "", "", "", "");
}

pub fn trips_line(name: &str, trips: &Trips) {
    let [middle, most, nearly_all] = trips.quantiles.map(short);
    println!(
        "| {name:<45} | {:>7} | {middle:>6} | {most:>6} | {nearly_all:>8} | {:>5.2} | {:>14} |",
        short(trips.mean),
        trips.figures.ratio,
        trips.figures.range(),
    );
}
