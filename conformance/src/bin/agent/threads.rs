//! Threads that make one call each.

use crate::{Answer, c_sem, number};
use std::cell::RefCell;
use std::thread::JoinHandle;

thread_local! {
    /// Running threads by thread id.
    static THREADS: RefCell<Vec<(i32, JoinHandle<Answer>)>> = const { RefCell::new(Vec::new()) };
}

/// Starts a thread that makes a call. Returns the thread id.
pub fn spawn(args: &[&str], call: impl FnOnce(&[&str]) -> Answer + Send + 'static) -> String {
    let args: Vec<String> = args.iter().map(|a| (*a).to_owned()).collect();
    let (sender, receiver) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        sender.send(c_sem::gettid()).expect("the spawner waits for it");
        call(&args.iter().map(String::as_str).collect::<Vec<_>>())
    });
    let tid = receiver.recv().expect("the thread's id");
    THREADS.with_borrow_mut(|threads| threads.push((tid, thread)));
    tid.to_string()
}

/// Joins a thread. Returns the answer of its call.
pub fn join(tid: &str) -> Answer {
    let tid = number::<i32>(tid);
    let thread = THREADS.with_borrow_mut(|threads| {
        let at = threads.iter().position(|(t, _)| *t == tid).expect("a thread of ours");
        threads.remove(at).1
    });
    thread.join().expect("a thread that does not panic")
}
