//! What may come between taking a message and handing it on: a signal that ends us, or a reader who goes away.
//!
//! Until a message is taken both end the waiting, and no message is lost. Once it is taken it is first handed on; if that fails, that
//! is said.

use crate::child;
use crate::failure::{Failure, reason};
use crate::process::WATCH;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Signal, getpid, kill_process};
use signal_hook::consts::SIGURG;
use signal_hook::low_level::{emulate_default_handler, pipe};
use std::io::{self, Stdout};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::time::Duration;

/// Why no more is to be taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stop {
    /// A signal that ends programs has come.
    Signal(i32),
    /// Nobody reads our output any more.
    ReaderGone,
}

/// The watch, which lasts until this process ends.
pub struct Watch {
    signal: Arc<AtomicUsize>,
    output: Arc<Option<Stdout>>,
}

impl Watch {
    /// Watches for signals, and the reader of `output` if that is given.
    pub fn start(output: Option<Stdout>) -> Result<Watch, Failure> {
        let watch = Watch { signal: Arc::new(AtomicUsize::new(0)), output: Arc::new(output) };
        let signals = watch.catch().map_err(|e| Failure::new(format!("cannot catch signals: {}", reason(&e))))?;
        let output = watch.output.clone();
        let started = Arc::new(Barrier::new(2));
        let starts = started.clone();
        let watching = std::thread::Builder::new().name(WATCH.to_owned()).spawn(move || {
            starts.wait();
            until_something_comes(&signals, (*output).as_ref());
            // Whoever has asked whether to stop and does not sleep yet misses one interruption, and hardly all.
            loop {
                let _ = kill_process(getpid(), Signal::URG);
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        watching.map_err(|e| Failure::new(format!("cannot start a thread: {}", reason(&e))))?;
        // It has its name, by which others know it.
        started.wait();
        Ok(watch)
    }

    /// From now on signals are noted, and the stream tells of them.
    fn catch(&self) -> io::Result<UnixStream> {
        let (read, write) = UnixStream::pair()?;
        for signal in child::heeded() {
            signal_hook::flag::register_usize(signal, self.signal.clone(), signal as usize)?;
            pipe::register(signal, write.try_clone()?)?;
        }
        // It interrupts a call that waits, and does nothing else.
        signal_hook::flag::register(SIGURG, Arc::new(AtomicBool::new(false)))?;
        Ok(read)
    }

    /// Whether, and why, no more is to be taken.
    pub fn stop(&self) -> Option<Stop> {
        match self.signal.load(Ordering::SeqCst) {
            0 => (*self.output).as_ref().is_some_and(reader_is_gone).then_some(Stop::ReaderGone),
            signal => Some(Stop::Signal(signal as i32)),
        }
    }
}

fn reader_is_gone(output: &Stdout) -> bool {
    // Errors are told without being asked for.
    let mut watched = [PollFd::new(output, PollFlags::empty())];
    poll(&mut watched, Some(&Timespec::default())).is_ok() && watched[0].revents().intersects(GONE)
}

/// Of a pipe, and of a socket.
const GONE: PollFlags = PollFlags::ERR.union(PollFlags::HUP);

/// Waits until there is a signal, or the reader has gone.
fn until_something_comes(signals: &UnixStream, output: Option<&Stdout>) {
    let mut watched = vec![PollFd::new(signals, PollFlags::IN)];
    watched.extend(output.map(|output| PollFd::new(output, PollFlags::empty())));
    while poll(&mut watched, None) == Err(rustix::io::Errno::INTR) {}
}

/// Ends this process as the signal would have.
pub fn end_by(signal: i32) {
    let _ = emulate_default_handler(signal);
}
