//! Kills and stops processes at every instruction of every operation. Prints the results as a
//! table.
#![allow(unsafe_code)]

use crash::campaign::{Plan, Report, Run, Selection};
use crash::operations;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsRawFd, FromRawFd};
use std::process::ExitCode;
use std::time::Instant;

const USAGE: &str = "\
usage: crash [--operation NAME] [--every N | --sample N] [--plan PLAN]... [--deaths N] [--list]

  --operation NAME  run operations with NAME in their name
  --every N         run at every N-th instruction, not at one for each distinct state
  --sample N        also run at every N-th of the other instructions (default 50)
  --plan PLAN       kill       kill with SIGKILL
                    broken     the same after a signal has aborted a restartable sequence (queues)
                    stop       stop while other processes try to proceed
                    recover    kill at some stores, then kill the process that repairs
                    (default: all four)
  --deaths N        first kills per operation in plan 'recover' (default 4)
  --list            list the operations
";

struct Options {
    operation: String,
    selection: Selection,
    plans: Vec<String>,
    deaths: usize,
    list: bool,
}

fn options() -> Option<Options> {
    let mut options =
        Options { operation: String::new(), selection: Selection::Distinct(50), plans: Vec::new(), deaths: 4, list: false };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let number = |arg: String| arg.parse().ok().filter(|n| *n > 0);
        match arg.as_str() {
            "--operation" => options.operation = args.next()?,
            "--every" => options.selection = Selection::Every(number(args.next()?)?),
            "--sample" => options.selection = Selection::Distinct(number(args.next()?)?),
            "--deaths" => options.deaths = number(args.next()?)?,
            "--plan" => options.plans.push(args.next().filter(|plan| PLANS.contains(&plan.as_str()))?),
            "--list" => options.list = true,
            _ => return None,
        }
    }
    if options.plans.is_empty() {
        options.plans = PLANS.map(str::to_owned).to_vec();
    }
    Some(options)
}

const PLANS: [&str; 4] = ["kill", "broken", "stop", "recover"];

fn plan(name: &str, options: &Options) -> Plan {
    match name {
        "kill" => Plan::Kill(options.selection),
        "broken" => Plan::KillBroken(options.selection),
        "stop" => Plan::Stop(options.selection),
        _ => Plan::Recover(options.deaths, options.selection),
    }
}

/// Redirects the output of this process and its children to a log. Returns the log and the original
/// standard output.
fn redirect() -> (File, File) {
    let log = tempfile::tempfile().expect("a temporary file");
    // SAFETY: plain descriptors of this process.
    unsafe {
        let terminal = libc::fcntl(1, libc::F_DUPFD_CLOEXEC, 3);
        libc::fcntl(log.as_raw_fd(), libc::F_SETFL, libc::O_APPEND);
        libc::dup2(log.as_raw_fd(), 1);
        libc::dup2(log.as_raw_fd(), 2);
        // Makes this process the parent of orphaned grandchildren.
        libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
        (log, File::from_raw_fd(terminal))
    }
}

fn main() -> ExitCode {
    let Some(options) = options() else {
        eprint!("{USAGE}");
        return ExitCode::from(2);
    };
    let chosen = operations::all().into_iter().filter(|operation| operation.name.contains(&options.operation));
    if options.list {
        chosen.for_each(|operation| println!("{}", operation.name));
        return ExitCode::SUCCESS;
    }
    let (log, mut terminal) = redirect();
    let mut say = |line: String| _ = writeln!(terminal, "{line}");
    say(format!(
        "| {:48} | {:8} | {:>9} | {:>5} | {:>8} | {:>8} | {:>9} | {:>9} | {:>10} | {:>10} | {:>5} |",
        "operation", "plan", "instr.", "calls", "distinct", "runs", "with lock", "elsewhere", "violations", "longest ms", "s"
    ));
    say("|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|".to_owned());
    let mut all = Report::default();
    for operation in chosen {
        for name in &options.plans {
            // Only queues have restartable sequences.
            if name == "broken" && !operation.name.starts_with("queues") {
                continue;
            }
            let directory = tempfile::Builder::new().prefix("quintet-crash-").tempdir_in(place()).expect("a directory");
            let begin = Instant::now();
            let run = Run::new(operation.name, plan(name, &options), directory.path(), log.try_clone().ok());
            run.guarded("all places", || (operation.run)(&run));
            let report = run.report.take();
            report.violations.iter().take(3).for_each(|violation| say(violation.clone()));
            say(row(operation.name, name, &report, begin.elapsed().as_secs()));
            all.instructions += report.instructions;
            all.calls += report.calls;
            all.distinct += report.distinct;
            all.runs += report.runs;
            all.with_lock += report.with_lock;
            all.elsewhere += report.elsewhere;
            all.longest = all.longest.max(report.longest);
            all.violations.extend(report.violations);
        }
    }
    say(row("all", "", &all, 0));
    if all.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn row(name: &str, plan: &str, report: &Report, seconds: u64) -> String {
    format!(
        "| {name:48} | {plan:8} | {:9} | {:5} | {:8} | {:8} | {:9} | {:9} | {:10} | {:10.1} | {seconds:5} |",
        report.instructions,
        report.calls,
        report.distinct,
        report.runs,
        report.with_lock,
        report.elsewhere,
        report.violations.len(),
        f64::from(report.longest) / 1000.0,
    )
}

fn place() -> std::path::PathBuf {
    let memory = std::path::Path::new("/dev/shm");
    if tempfile::tempfile_in(memory).is_ok() { memory.to_path_buf() } else { std::env::temp_dir() }
}
