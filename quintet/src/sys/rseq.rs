//! Stores that no signal handler comes in between of, without a system call.
//!
//! To hold signals off for the time of an operation costs more than the operation. The kernel offers something cheaper for a few instructions: a
//! restartable sequence (`rseq`, registered for each thread by the C library since glibc 2.35). If a signal comes in, or the thread is put
//! aside, while it is within the sequence, it goes on behind it, at an address of its own choice: so an interrupted sequence stores nothing
//! more. What is stored here is only stored while a lock has the value that the caller's thread has given it; so if a handler has come in
//! anywhere and has taken the lock over from its own thread, nothing of what was interrupted is stored afterwards.
//!
//! Without `rseq` (another C library, an older kernel, another processor) [`is_available`] says so, and the caller holds signals off.
//!
//! # Safety
//!
//! The addresses are the caller's to vouch for. The sequences write to them, to the thread's own `rseq` area, and nowhere else. What the descriptors name are
//! labels in the same function; the four bytes before the abort address are the signature with which the C library registers.
#![allow(unsafe_code)]

use std::sync::atomic::{AtomicIsize, AtomicU64, Ordering::*};

/// One word to be stored.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Store {
    /// Where, in this process.
    pub at: *const AtomicU64,
    /// Where, as others know it.
    pub place: u64,
    pub value: u64,
}

/// Bytes to be copied to where nobody looks yet.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct PlannedCopy {
    pub to: *mut u8,
    pub from: *const u8,
    pub len: usize,
}

/// What the sequences work with.
#[repr(C)]
pub struct Work {
    /// Stored only while `*lock == mine` and `*life == alive`.
    pub lock: *const AtomicU64,
    pub mine: u64,
    /// A word that is another one in a child.
    pub life: *const AtomicU64,
    pub alive: u64,
    pub copies: *const PlannedCopy,
    pub copy_count: usize,
    pub stores: *const Store,
    pub store_count: usize,
    /// Where the stores are written down: place and value, one after the other.
    pub journal: *const AtomicU64,
    /// Where it is said that what is written down holds, and how.
    pub decided: *const AtomicU64,
    pub decision: u64,
    /// Where it is said that it is done, and how.
    pub changes: *const AtomicU64,
    pub done: u64,
    /// Where the thread's `rseq` area is, from the thread pointer.
    area: isize,
}

impl Work {
    /// Nothing to be done, with the lock held as `mine`.
    pub fn new(lock: &AtomicU64, mine: u64, life: (&AtomicU64, u64)) -> Work {
        Work {
            lock,
            mine,
            life: life.0,
            alive: life.1,
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

/// What has become of a sequence.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
// Elsewhere there are no sequences.
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
pub enum Outcome {
    Done,
    /// The lock is not the caller's any more. Nothing was stored this time.
    Lost,
    /// A signal came in, or the thread was put aside. Some of it may have been stored.
    Interrupted,
}

const UNKNOWN: isize = 0;
const NONE: isize = isize::MIN;

/// Where the area is; [`UNKNOWN`] as long as nobody has asked.
static AREA: AtomicIsize = AtomicIsize::new(UNKNOWN);

/// Whether the calling thread can use what is here.
#[inline(always)]
pub fn is_available() -> bool {
    // The thread sanitizer does not see what the instructions here order.
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

/// The C library says where the area is, and whether it has registered it.
#[cfg(all(target_arch = "x86_64", target_pointer_width = "64"))]
fn find_area() -> Option<isize> {
    // SAFETY: NUL-terminated names.
    let (offset, size) = unsafe {
        (libc::dlsym(libc::RTLD_DEFAULT, c"__rseq_offset".as_ptr()), libc::dlsym(libc::RTLD_DEFAULT, c"__rseq_size".as_ptr()))
    };
    // SAFETY: null, or the C library's constants of these types.
    unsafe { (*size.cast::<u32>().as_ref()? != 0).then_some(*offset.cast::<isize>().as_ref()?) }
}

#[cfg(not(all(target_arch = "x86_64", target_pointer_width = "64")))]
fn find_area() -> Option<isize> {
    None
}

/// Whether the kernel knows of the calling thread's area: then it keeps the number of the processor there.
#[cfg(all(target_arch = "x86_64", target_pointer_width = "64"))]
#[inline(always)]
fn is_registered(area: isize) -> bool {
    let cpu: i32;
    // SAFETY: reads the thread's own area, which the C library has for each thread.
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

/// Makes a sequence: `$body` ends with its only visible instruction, and jumps to `7f` if the lock is lost.
#[cfg(all(target_arch = "x86_64", target_pointer_width = "64"))]
macro_rules! sequence {
    ($work:ident, $($body:literal),* $(,)?) => {{
        let outcome: u64;
        // SAFETY: see the module; the registers are declared.
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
                // From here on it is all or nothing.
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
                // And up to here.
                "5:",
                "mov {outcome:e}, 0",
                "jmp 8f",
                // The signature: an instruction that nobody executes.
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

/// Copies the fills, writes the stores down, says that they hold, does them, says that they are done, and frees the lock.
///
/// `Interrupted`: as far as it went is told by the journal, if the lock is still the caller's. `Lost`: by who has taken it over.
///
/// # Safety
///
/// All that `work` names is mapped, the journal has room for the stores, and nobody looks at where the fills go but under the lock.
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
        // In words as long as there are any: for so little it takes less time than the processor's own copying.
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
        // Decided: whoever takes the lock over from now on does the rest.
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

/// Frees the lock.
///
/// # Safety
///
/// The lock's word and that of the process's life are mapped.
#[cfg(all(target_arch = "x86_64", target_pointer_width = "64"))]
#[inline(never)]
pub unsafe fn free(work: &Work) -> Outcome {
    sequence!(work, "mov {a}, qword ptr [{work}]", "mov qword ptr [{a}], 0")
}

/// # Safety
///
/// Nobody calls it: [`is_available`] says no.
#[cfg(not(all(target_arch = "x86_64", target_pointer_width = "64")))]
pub unsafe fn commit(_: &Work) -> Outcome {
    Outcome::Interrupted
}

/// # Safety
///
/// As for [`commit`].
#[cfg(not(all(target_arch = "x86_64", target_pointer_width = "64")))]
pub unsafe fn free(_: &Work) -> Outcome {
    Outcome::Interrupted
}

const _: () = {
    assert!(std::mem::offset_of!(Work, life) == 16 && std::mem::offset_of!(Work, copies) == 32);
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
    /// How many changes the handler found when it had done what was decided.
    static FOUND: AtomicU64 = AtomicU64::new(0);

    /// What a handler does that calls us: takes the lock over from its own thread, does what was decided on, and something of its own.
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

    /// Every word is raised by each operation and by each handler that has come in between: all of them whole, and none twice.
    #[test]
    fn a_handler_comes_before_or_after() {
        if !is_available() {
            println!("skipped: the C library has no rseq area");
            return;
        }
        // SAFETY: a valid handler; zeroes are a valid sigaction.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = handler as *const () as usize;
            assert_eq!(libc::sigaction(libc::SIGRTMIN(), &raw const action, std::ptr::null_mut()), 0);
        }
        // SAFETY: of the calling thread, which outlives the scope below.
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
                    // SAFETY: all of it is static, or lives as long.
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
    fn fills_are_copied_whole() {
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
            let fill = PlannedCopy { to: to.as_mut_ptr(), from: from.as_ptr(), len };
            let mut work = Work::new(&lock, 3, (&ALIVE, 1));
            (work.copies, work.copy_count, work.journal) = (&raw const fill, 1, journal.as_ptr());
            (work.decided, work.decision, work.changes, work.done) = (&decided, 5, &changes, 6);
            // SAFETY: locals that live as long.
            while unsafe { commit(&work) } == Outcome::Interrupted {}
            assert_eq!(to[..len], from[..]);
            assert_eq!(to[len..], [0xee; 8]);
            assert_eq!([&lock, &decided, &changes].map(|word| word.load(SeqCst)), [0, 5, 6]);
            lock.store(3, SeqCst);
            work.alive = 2;
            // SAFETY: as above.
            assert_eq!(unsafe { commit(&work) }, Outcome::Lost);
        }
        let mut work = Work::new(&lock, 4, (&ALIVE, 1));
        // SAFETY: as above.
        assert_eq!((unsafe { free(&work) }, lock.load(SeqCst)), (Outcome::Lost, 3));
        work.mine = 3;
        // SAFETY: as above.
        while unsafe { free(&work) } == Outcome::Interrupted {}
        assert_eq!(lock.load(SeqCst), 0);
    }
}
