//! Groups of stores that a signal handler cannot come between, without a system call.
//!
//! Blocking signals for the time of an operation costs more than the operation. For a few
//! instructions the kernel has a cheaper way: a restartable sequence (`rseq`), which the C library
//! registers for each thread since glibc 2.35. If a signal arrives or the thread is preempted
//! within the sequence, the thread continues at an abort address. An interrupted sequence therefore
//! makes no further store.
//!
//! The sequences here first check that a lock still has the value that the calling thread stored.
//! If a handler interrupts the thread and takes the lock over, the interrupted operation stores
//! nothing afterwards.
//!
//! Without `rseq` (another C library, an older kernel, another processor), [`is_available`] returns
//! `false`, and the caller blocks signals.
//!
//! # Safety
//!
//! - The sequences write to the addresses in [`Work`], for which the caller is responsible, to the
//!   thread's own `rseq` area, and nowhere else.
//! - The descriptors name labels in the same function.
//! - The four bytes before the abort address are the signature with which the C library registers.
#![allow(unsafe_code)]

use std::sync::atomic::{AtomicIsize, AtomicU64, Ordering::*};

/// A store to a word.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Store {
    /// The address of the word in this process.
    pub at: *const AtomicU64,
    /// The place of the word, as the journal names it.
    pub place: u64,
    /// The value.
    pub value: u64,
}

/// A copy of bytes to memory that no other thread reads yet.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct PlannedCopy {
    /// The destination.
    pub to: *mut u8,
    /// The source.
    pub from: *const u8,
    /// The number of bytes.
    pub len: usize,
}

/// The input of a sequence. The assembly uses the offsets of the fields.
#[repr(C)]
pub struct Work {
    /// The lock. The sequence stores only while `*lock == mine` and `*process_word ==
    /// process_value`.
    pub lock: *const AtomicU64,
    /// The value of the lock that the calling thread has stored.
    pub mine: u64,
    /// A word that has another value in a child.
    pub process_word: *const AtomicU64,
    /// The value of `process_word` in this process.
    pub process_value: u64,
    /// The copies to make first.
    pub copies: *const PlannedCopy,
    /// The number of copies.
    pub copy_count: usize,
    /// The stores to write down and make.
    pub stores: *const Store,
    /// The number of stores.
    pub store_count: usize,
    /// The entries of the journal: place and value, one after the other.
    pub journal: *const AtomicU64,
    /// The word that makes the journal valid: `sync::redo`.
    pub decided: *const AtomicU64,
    /// The value for `decided`.
    pub decision: u64,
    /// The number of completed changes.
    pub changes: *const AtomicU64,
    /// The value for `changes`.
    pub done: u64,
    /// The offset of the thread's `rseq` area from the thread pointer.
    area: isize,
}

impl Work {
    /// Creates an empty input; the calling thread holds the lock as `mine`.
    pub fn new(lock: &AtomicU64, mine: u64, process_word: (&AtomicU64, u64)) -> Work {
        Work {
            lock,
            mine,
            process_word: process_word.0,
            process_value: process_word.1,
            copies: std::ptr::null(),
            copy_count: 0,
            stores: std::ptr::null(),
            store_count: 0,
            journal: std::ptr::null(),
            decided: std::ptr::null(),
            decision: 0,
            changes: std::ptr::null(),
            done: 0,
            area: AREA.load(Relaxed),
        }
    }
}

/// The outcome of a sequence.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
// There are no sequences for other processors.
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
pub enum Outcome {
    /// All stores were made.
    Done,
    /// The calling thread does not hold the lock any more. This attempt stored nothing.
    Lost,
    /// A signal arrived or the thread was preempted. Some stores may have been made.
    Interrupted,
}

const UNKNOWN: isize = 0;
const NONE: isize = isize::MIN;

/// The offset of the area from the thread pointer, [`UNKNOWN`] before the first call, or [`NONE`].
static AREA: AtomicIsize = AtomicIsize::new(UNKNOWN);

/// Returns `true` if the calling thread can use the sequences.
#[inline(always)]
pub fn is_available() -> bool {
    // The thread sanitizer cannot see the order of the stores here.
    if cfg!(tsan) {
        return false;
    }
    let area = AREA.load(Relaxed);
    if area == UNKNOWN { look_for_area() } else { area != NONE && is_registered(area) }
}

#[cold]
fn look_for_area() -> bool {
    let area = find_area().unwrap_or(NONE);
    AREA.store(area, Relaxed);
    area != NONE && is_registered(area)
}

/// Asks the C library for the offset of the area. Returns `None` if it has not registered one.
#[cfg(all(target_arch = "x86_64", target_pointer_width = "64"))]
fn find_area() -> Option<isize> {
    // SAFETY: dlsym(3) gets a valid handle and NUL-terminated names.
    let (offset, size) = unsafe {
        (libc::dlsym(libc::RTLD_DEFAULT, c"__rseq_offset".as_ptr()), libc::dlsym(libc::RTLD_DEFAULT, c"__rseq_size".as_ptr()))
    };
    // SAFETY: each pointer is null or that of a constant of the C library, of this type.
    unsafe { (*size.cast::<u32>().as_ref()? != 0).then_some(*offset.cast::<isize>().as_ref()?) }
}

#[cfg(not(all(target_arch = "x86_64", target_pointer_width = "64")))]
fn find_area() -> Option<isize> {
    None
}

/// Returns `true` if the kernel knows the calling thread's area: it then stores the number of the
/// processor there, which is not negative.
#[cfg(all(target_arch = "x86_64", target_pointer_width = "64"))]
#[inline(always)]
fn is_registered(area: isize) -> bool {
    let cpu: i32;
    // SAFETY: the instruction reads the thread's own area, which the C library provides for each
    // thread.
    unsafe {
        core::arch::asm!("mov {cpu:e}, dword ptr fs:[{area} + 4]", cpu = out(reg) cpu, area = in(reg) area,
            options(nostack, readonly, preserves_flags));
    }
    cpu >= 0
}

#[cfg(not(all(target_arch = "x86_64", target_pointer_width = "64")))]
fn is_registered(_: isize) -> bool {
    false
}

/// Defines a sequence that runs `$body` if the thread still holds the lock.
///
/// `$body` ends with its last visible store. It can jump to `7f` if the lock is lost.
#[cfg(all(target_arch = "x86_64", target_pointer_width = "64"))]
macro_rules! sequence {
    ($work:ident, $($body:literal),* $(,)?) => {{
        let outcome: u64;
        // SAFETY: the addresses are valid by the contract of the functions below. All registers
        // that the instructions change are declared, and they use no stack.
        unsafe {
            core::arch::asm!(
                ".pushsection __rseq_cs, \"aw\"",
                ".balign 32",
                "66: .long 0, 0",
                ".quad 3f, 5f - 3f, 6f",
                ".popsection",
                "mov {area}, qword ptr [{work} + 104]",
                "lea {a}, [rip + 66b]",
                "mov qword ptr fs:[{area} + 8], {a}",
                // The sequence begins: an interruption continues at label 6.
                "3:",
                "mov {a}, qword ptr [{work}]",
                "mov {b}, qword ptr [{work} + 8]",
                "cmp qword ptr [{a}], {b}",
                "jne 7f",
                "mov {a}, qword ptr [{work} + 16]",
                "mov {b}, qword ptr [{work} + 24]",
                "cmp qword ptr [{a}], {b}",
                "jne 7f",
                $($body,)*
                // The sequence ends.
                "5:",
                "mov {outcome:e}, 0",
                "jmp 8f",
                // The signature, encoded as an instruction that is never executed.
                ".byte 0x0f, 0xb9, 0x3d",
                ".long 0x53053053",
                "6:",
                "mov {outcome:e}, 2",
                "jmp 8f",
                "7:",
                "mov {outcome:e}, 1",
                "8:",
                "mov qword ptr fs:[{area} + 8], 0",
                work = in(reg) $work,
                area = out(reg) _,
                a = out(reg) _,
                b = out(reg) _,
                outcome = out(reg) outcome,
                out("rsi") _,
                out("rdi") _,
                out("rcx") _,
                out("rdx") _,
                options(nostack),
            );
        }
        match outcome {
            0 => Outcome::Done,
            1 => Outcome::Lost,
            _ => Outcome::Interrupted,
        }
    }};
}

/// Commits a change of a queue and releases the lock, as `sync::redo` describes:
///
/// 1. makes the copies
/// 2. writes the stores down in the journal
/// 3. makes the journal valid
/// 4. makes the stores
/// 5. counts the change
/// 6. releases the lock
///
/// After `Interrupted`, the journal shows how far the change went, if the caller still holds the
/// lock. After `Lost`, the handler that took the lock over tells the caller.
///
/// # Safety
///
/// - All addresses in `work` are mapped, and the journal has room for the stores.
/// - No thread accesses the destinations of the copies without the lock.
#[cfg(all(target_arch = "x86_64", target_pointer_width = "64"))]
#[inline(never)]
pub unsafe fn commit(work: &Work) -> Outcome {
    sequence!(
        work,
        "mov {a}, qword ptr [{work} + 32]",
        "mov {b}, qword ptr [{work} + 40]",
        "21:",
        "test {b}, {b}",
        "jz 22f",
        "mov rdi, qword ptr [{a}]",
        "mov rsi, qword ptr [{a} + 8]",
        "mov rcx, qword ptr [{a} + 16]",
        "cmp rcx, 256",
        "ja 23f",
        // Up to 256 bytes, copying words is faster than the processor's string instruction.
        "24:",
        "sub rcx, 8",
        "jb 25f",
        "mov rdx, qword ptr [rsi]",
        "mov qword ptr [rdi], rdx",
        "add rsi, 8",
        "add rdi, 8",
        "jmp 24b",
        "25:",
        "add rcx, 8",
        "jz 28f",
        "23:",
        "rep movsb",
        "28:",
        "add {a}, 24",
        "dec {b}",
        "jmp 21b",
        "22:",
        "mov {a}, qword ptr [{work} + 48]",
        "mov {b}, qword ptr [{work} + 56]",
        "mov rdi, qword ptr [{work} + 64]",
        "mov rcx, {b}",
        "26:",
        "test rcx, rcx",
        "jz 27f",
        "mov rdx, qword ptr [{a} + 8]",
        "mov qword ptr [rdi], rdx",
        "mov rdx, qword ptr [{a} + 16]",
        "mov qword ptr [rdi + 8], rdx",
        "add {a}, 24",
        "add rdi, 16",
        "dec rcx",
        "jmp 26b",
        "27:",
        "mov {a}, qword ptr [{work} + 72]",
        "mov rdx, qword ptr [{work} + 80]",
        "mov qword ptr [{a}], rdx",
        // The journal is valid: a process that takes the lock over from here on completes the
        // change.
        "mov {a}, qword ptr [{work} + 48]",
        "31:",
        "test {b}, {b}",
        "jz 32f",
        "mov rsi, qword ptr [{a}]",
        "mov rdx, qword ptr [{a} + 16]",
        "mov qword ptr [rsi], rdx",
        "add {a}, 24",
        "dec {b}",
        "jmp 31b",
        "32:",
        "mov {a}, qword ptr [{work} + 88]",
        "mov rdx, qword ptr [{work} + 96]",
        "mov qword ptr [{a}], rdx",
        "mov {a}, qword ptr [{work}]",
        "mov qword ptr [{a}], 0",
    )
}

/// Releases the lock.
///
/// # Safety
///
/// The words `lock` and `process_word` of `work` are mapped.
#[cfg(all(target_arch = "x86_64", target_pointer_width = "64"))]
#[inline(never)]
pub unsafe fn release(work: &Work) -> Outcome {
    sequence!(work, "mov {a}, qword ptr [{work}]", "mov qword ptr [{a}], 0")
}

/// Is never called, because [`is_available`] returns `false`.
///
/// # Safety
///
/// None: this does nothing.
#[cfg(not(all(target_arch = "x86_64", target_pointer_width = "64")))]
pub unsafe fn commit(_: &Work) -> Outcome {
    Outcome::Interrupted
}

/// Is never called, because [`is_available`] returns `false`.
///
/// # Safety
///
/// None: this does nothing.
#[cfg(not(all(target_arch = "x86_64", target_pointer_width = "64")))]
pub unsafe fn release(_: &Work) -> Outcome {
    Outcome::Interrupted
}

const _: () = {
    assert!(std::mem::offset_of!(Work, process_word) == 16 && std::mem::offset_of!(Work, copies) == 32);
    assert!(size_of::<usize>() != 8 || std::mem::offset_of!(Work, stores) == 48 && std::mem::offset_of!(Work, journal) == 64);
    assert!(size_of::<usize>() != 8 || std::mem::offset_of!(Work, changes) == 88 && std::mem::offset_of!(Work, area) == 104);
};

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;

    static LOCK: AtomicU64 = AtomicU64::new(0);
    static HANDLED: AtomicU64 = AtomicU64::new(0);
    static ALIVE: AtomicU64 = AtomicU64::new(1);
    static WORDS: [AtomicU64; 16] = [const { AtomicU64::new(0) }; 16];
    static JOURNAL: [AtomicU64; 32] = [const { AtomicU64::new(0) }; 32];
    static DECIDED: AtomicU64 = AtomicU64::new(u64::MAX);
    static CHANGES: AtomicU64 = AtomicU64::new(0);
    static TAKEN_OVER: AtomicU64 = AtomicU64::new(0);
    /// The number of changes that the handler found after it had completed the journal.
    static FOUND: AtomicU64 = AtomicU64::new(0);

    /// Does what a handler that calls the library does: takes the lock over from its own thread,
    /// completes the journal, and makes its own change.
    extern "C" fn handler(_: i32) {
        HANDLED.fetch_add(1, SeqCst);
        if LOCK.load(SeqCst) != 7 {
            return;
        }
        TAKEN_OVER.fetch_add(1, SeqCst);
        if DECIDED.load(SeqCst) == CHANGES.load(SeqCst) {
            for entry in JOURNAL.chunks_exact(2) {
                WORDS[entry[0].load(SeqCst) as usize].store(entry[1].load(SeqCst), SeqCst);
            }
            CHANGES.fetch_add(1, SeqCst);
        }
        FOUND.store(CHANGES.load(SeqCst), SeqCst);
        WORDS.iter().for_each(|word| word.store(word.load(SeqCst) + 1, SeqCst));
        LOCK.store(0, SeqCst);
    }

    /// Each operation and each handler increments every word exactly once, all words or none.
    #[test]
    fn handler_runs_before_or_after_sequence() {
        if !is_available() {
            println!("skipped: the C library has no rseq area");
            return;
        }
        // SAFETY: the handler has the right type, and zeroes are a valid sigaction.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = handler as *const () as usize;
            assert_eq!(libc::sigaction(libc::SIGRTMIN(), &raw const action, std::ptr::null_mut()), 0);
        }
        // SAFETY: the call has no requirements. The calling thread outlives the scope below.
        let thread = unsafe { libc::pthread_self() };
        let stop = AtomicU64::new(0);
        let (mut done, mut interrupted) = (0u64, 0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while stop.load(SeqCst) == 0 {
                    let before = HANDLED.load(SeqCst);
                    // SAFETY: the thread lives as long as the scope.
                    unsafe { libc::pthread_kill(thread, libc::SIGRTMIN()) };
                    while HANDLED.load(SeqCst) == before && stop.load(SeqCst) == 0 {
                        std::hint::spin_loop();
                    }
                }
            });
            while TAKEN_OVER.load(SeqCst) < 2000 && done < 200_000_000 {
                LOCK.store(7, SeqCst);
                let value = WORDS[0].load(SeqCst) + 1;
                let store = |nth: usize| Store { at: &WORDS[nth], place: nth as u64, value };
                let stores: [Store; 16] = std::array::from_fn(store);
                let mut work = Work::new(&LOCK, 7, (&ALIVE, 1));
                (work.stores, work.store_count, work.journal) = (stores.as_ptr(), stores.len(), JOURNAL.as_ptr());
                let before = CHANGES.load(SeqCst);
                (work.decided, work.decision, work.changes, work.done) = (&DECIDED, before, &CHANGES, before + 1);
                let outcome = loop {
                    // SAFETY: all addresses are of statics or of locals that outlive the call.
                    match unsafe { commit(&work) } {
                        Outcome::Interrupted => interrupted += 1,
                        other => break other,
                    }
                };
                if outcome == Outcome::Lost && FOUND.load(SeqCst) == before {
                    continue;
                }
                done += 1;
                let now = WORDS[0].load(SeqCst);
                assert!(WORDS.iter().all(|word| word.load(SeqCst) >= now), "{WORDS:?}");
            }
            stop.store(1, SeqCst);
        });
        let expected = done + TAKEN_OVER.load(SeqCst);
        assert_eq!(WORDS.each_ref().map(|word| word.load(SeqCst)), [expected; 16]);
        assert_eq!((LOCK.load(SeqCst), CHANGES.load(SeqCst)), (0, done));
        assert!(interrupted > 0, "{interrupted}");
    }

    #[test]
    fn copies_are_complete() {
        if !is_available() {
            println!("skipped: the C library has no rseq area");
            return;
        }
        let lock = AtomicU64::new(3);
        for len in [0, 1, 7, 8, 9, 64, 255, 256, 257, 5000] {
            let from: Vec<u8> = (0..len).map(|i| i as u8).collect();
            let mut to = vec![0xee; len + 8];
            let (decided, changes) = (AtomicU64::new(0), AtomicU64::new(0));
            let journal = [const { AtomicU64::new(0) }; 2];
            lock.store(3, SeqCst);
            let copy = PlannedCopy { to: to.as_mut_ptr(), from: from.as_ptr(), len };
            let mut work = Work::new(&lock, 3, (&ALIVE, 1));
            (work.copies, work.copy_count, work.journal) = (&raw const copy, 1, journal.as_ptr());
            (work.decided, work.decision, work.changes, work.done) = (&decided, 5, &changes, 6);
            // SAFETY: all addresses are of statics or of locals that outlive the call.
            while unsafe { commit(&work) } == Outcome::Interrupted {}
            assert_eq!(to[..len], from[..]);
            assert_eq!(to[len..], [0xee; 8]);
            assert_eq!([&lock, &decided, &changes].map(|word| word.load(SeqCst)), [0, 5, 6]);
            lock.store(3, SeqCst);
            work.process_value = 2;
            // SAFETY: as above.
            assert_eq!(unsafe { commit(&work) }, Outcome::Lost);
        }
        let mut work = Work::new(&lock, 4, (&ALIVE, 1));
        // SAFETY: as above.
        assert_eq!((unsafe { release(&work) }, lock.load(SeqCst)), (Outcome::Lost, 3));
        work.mine = 3;
        // SAFETY: as above.
        while unsafe { release(&work) } == Outcome::Interrupted {}
        assert_eq!(lock.load(SeqCst), 0);
    }
}
