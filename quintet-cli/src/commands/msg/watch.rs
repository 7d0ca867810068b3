//! Watches for two events while messages are received: a signal that terminates the tool, and the
//! exit of the reader.
//!
//! While the receiving call is blocked, both interrupt it, and no message is lost. A message that
//! has been received is written before the tool reacts. A failed write is reported.

use crate::failure::Failure;
use crate::system::child;
use crate::system::process::WATCH_THREAD;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Signal, getpid, kill_process};
use signal_hook::consts::SIGURG;
use signal_hook::low_level::{emulate_default_handler, pipe};
use std::io::{self, Stdout};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::time::Duration;

/// The reason to receive no further message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stop {
    /// A signal that terminates programs was caught.
    Signal(i32),
    /// The reader of standard output has exited.
    ReaderGone,
}

/// A watch, which lasts until the process exits.
pub struct Watch {
    signal: Arc<AtomicUsize>,
    output: Arc<Option<Stdout>>,
}

impl Watch {
    /// Starts to watch for signals, and for the exit of the reader of `output`.
    pub fn start(output: Option<Stdout>) -> Result<Watch, Failure> {
        let watch = Watch { signal: Arc::new(AtomicUsize::new(0)), output: Arc::new(output) };
        let signals = watch.catch_signals().map_err(|e| Failure::system("catch signals", &e))?;
        let output = watch.output.clone();
        let started = Arc::new(Barrier::new(2));
        let starts = started.clone();
        let watching = std::thread::Builder::new().name(WATCH_THREAD.to_owned()).spawn(move || {
            starts.wait();
            until_event(&signals, (*output).as_ref());
            // The interruption is lost if the receiving thread has checked `stop` but is not yet
            // blocked, so it is repeated.
            loop {
                let _ = kill_process(getpid(), Signal::URG);
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        watching.map_err(|e| Failure::system("start a thread", &e))?;
        // The thread has set its name, by which `quintet why` recognises it.
        started.wait();
        Ok(watch)
    }

    /// Installs the signal handlers. The stream becomes readable when a signal is caught.
    fn catch_signals(&self) -> io::Result<UnixStream> {
        let (read, write) = UnixStream::pair()?;
        for signal in child::terminating_signals() {
            signal_hook::flag::register_usize(signal, self.signal.clone(), signal as usize)?;
            pipe::register(signal, write.try_clone()?)?;
        }
        // The handler of SIGURG does nothing; the signal only interrupts a blocked call.
        signal_hook::flag::register(SIGURG, Arc::new(AtomicBool::new(false)))?;
        Ok(read)
    }

    /// Returns the reason to receive no further message, if there is one.
    pub fn stop(&self) -> Option<Stop> {
        match self.signal.load(Ordering::SeqCst) {
            0 => (*self.output).as_ref().is_some_and(reader_is_gone).then_some(Stop::ReaderGone),
            signal => Some(Stop::Signal(signal as i32)),
        }
    }
}

fn reader_is_gone(output: &Stdout) -> bool {
    // `poll` always reports errors, even if no event is requested.
    let mut watched = [PollFd::new(output, PollFlags::empty())];
    poll(&mut watched, Some(&Timespec::default())).is_ok() && watched[0].revents().intersects(GONE)
}

/// The events that report the exit of the reader of a pipe or of a socket.
const GONE: PollFlags = PollFlags::ERR.union(PollFlags::HUP);

/// Blocks until a signal is caught or the reader exits.
fn until_event(signals: &UnixStream, output: Option<&Stdout>) {
    let mut watched = vec![PollFd::new(signals, PollFlags::IN)];
    watched.extend(output.map(|output| PollFd::new(output, PollFlags::empty())));
    while poll(&mut watched, None) == Err(rustix::io::Errno::INTR) {}
}

/// Terminates the process as the signal would without a handler.
pub fn terminate_by(signal: i32) {
    let _ = emulate_default_handler(signal);
}
