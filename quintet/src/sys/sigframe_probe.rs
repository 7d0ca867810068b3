//! A sleep that notices each signal handler that runs meanwhile.
//!
//! The system call returns `EINTR` only if a signal ends the sleep. If a signal arrives just before
//! the sleep, or just after it, its handler runs, but the system call does not report it. A caller
//! that then sleeps again might never return.
//!
//! Therefore signals are unblocked only for the sleep and a few instructions around it. A handler
//! that runs in this window leaves a trace: the signal frame that the kernel writes below the stack
//! pointer, or at the top of the alternate signal stack. A pattern is written there before the
//! window and checked after it.
//!
//! # Safety
//!
//! - Memory below the stack pointer, beyond the red zone if there is one, is unused.
//! - The top of an alternate stack is unused while the thread is not on that stack. The kernel is
//!   asked to write there first, so it is known to be writable.
//! - No other memory is written.
#![allow(unsafe_code)]

use crate::sys::futex::WakeReason;
#[cfg(target_arch = "x86_64")]
use crate::sys::signal;
use crate::sys::signal::Blocked;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

const PATTERN: usize = 0x5145_7177_b00b_1e55_u64 as usize;

/// The number of words of the pattern, which is more than the padding above a frame.
const WORDS: usize = 24;

/// Sleeps as [`crate::sys::futex::wait`] does, with signals unblocked for the sleep only.
///
/// Returns `Interrupted` also if a handler ran just before or after the sleep. The signals are
/// blocked again on return if the second value is `Some`. It is `None` if the word has changed or a
/// handler ran.
pub fn wait(word: &AtomicU32, value: u32, timeout: Duration, signals: Blocked) -> (WakeReason, Option<Blocked>) {
    let alternate = Alternate::mark();
    let own = [PATTERN; WORDS];
    let at = alternate.as_ref().map_or(own.as_ptr(), |stack| stack.at.cast_const());
    let (woken, ran, signals) = wait_on_marked_stack(word, value, timeout, signals, at);
    let ran = alternate.is_some_and(|stack| stack.is_changed()) || ran;
    (if ran { WakeReason::Interrupted } else { woken }, signals)
}

/// The pattern at the top of the thread's alternate signal stack.
struct Alternate {
    at: *mut usize,
    before: [usize; WORDS],
}

impl Alternate {
    /// Writes the pattern. Returns `None` if there is no alternate stack, or the thread is on it.
    fn mark() -> Option<Alternate> {
        // SAFETY: zeroes are a valid stack_t, and the call writes to it.
        let stack = unsafe {
            let mut stack: libc::stack_t = std::mem::zeroed();
            libc::sigaltstack(std::ptr::null(), &raw mut stack);
            stack
        };
        let bytes = WORDS * size_of::<usize>();
        if stack.ss_flags != 0 || stack.ss_size < 4 * bytes {
            return None;
        }
        let top = (stack.ss_sp as usize + stack.ss_size) & !15;
        let at = (top - bytes) as *mut usize;
        // SAFETY: rt_sigpending(2) writes 8 bytes to `at`, or fails if they are not writable. They
        // are in the unused top of the alternate stack.
        if unsafe { libc::syscall(libc::SYS_rt_sigpending, at, 8) } != 0 {
            return None;
        }
        let mut before = [0; WORDS];
        for (nth, word) in before.iter_mut().enumerate() {
            // SAFETY: the words are within the alternate stack, as computed above; see the module.
            unsafe {
                *word = at.add(nth).read_volatile();
                at.add(nth).write_volatile(PATTERN);
            }
        }
        Some(Alternate { at, before })
    }

    /// Returns `true` if the pattern has changed, and otherwise restores the words.
    fn is_changed(&self) -> bool {
        // SAFETY: the words are those that `mark` wrote.
        let changed = (0..WORDS).any(|nth| unsafe { self.at.add(nth).read_volatile() } != PATTERN);
        if !changed {
            for (nth, word) in self.before.iter().enumerate() {
                // SAFETY: the words are those that `mark` wrote.
                unsafe { self.at.add(nth).write_volatile(*word) };
            }
        }
        changed
    }
}

/// The arguments of the system calls below. The assembly uses the offsets of the fields.
#[cfg(target_arch = "x86_64")]
#[repr(C)]
struct Arguments {
    word: *const AtomicU32,
    value: usize,
    timeout: *const libc::timespec,
    mask: *const libc::sigset_t,
    /// The pattern at the top of the alternate stack, or a copy of the pattern if there is none.
    alternate: *const usize,
    all: *const libc::sigset_t,
    /// 1 if signals are blocked again.
    held_off: usize,
}

#[cfg(target_arch = "x86_64")]
#[inline(never)]
fn wait_on_marked_stack(
    word: &AtomicU32,
    value: u32,
    timeout: Duration,
    signals: Blocked,
    alternate: *const usize,
) -> (WakeReason, bool, Option<Blocked>) {
    let timeout = libc::timespec { tv_sec: timeout.as_secs().min(i64::MAX as u64) as _, tv_nsec: timeout.subsec_nanos() as _ };
    let (mask, all) = (signals.into_mask(), signal::all());
    let mut arguments = Arguments {
        word,
        value: value as usize,
        timeout: &raw const timeout,
        mask: &raw const mask,
        alternate,
        all: &raw const all,
        held_off: 0,
    };
    let result: isize;
    let difference: usize;
    // SAFETY: the masks are the thread's own mask and the set of all signals; the kernel reads
    // their first eight bytes. FUTEX_WAIT reads the word and the timeout. The loop at 2 writes 24
    // unused words below the red zone. The kernel skips the red zone and puts the end of a frame,
    // with its last magic number, into the topmost 132 bytes below it. On the alternate stack, only
    // the 24 words that `mark` wrote are read.
    unsafe {
        core::arch::asm!(
            "mov {count}, -24",
            "2:",
            "mov qword ptr [rsp + {count} * 8 - 128], {pattern}",
            "inc {count}",
            "jnz 2b",
            // Restore the mask: handlers can run from here on.
            "mov eax, {sigprocmask}",
            "mov edi, {setmask}",
            "mov rsi, qword ptr [{arguments} + 24]",
            "xor edx, edx",
            "mov r10d, 8",
            "syscall",
            "mov rax, qword ptr [{arguments} + 32]",
            "mov {count}, -24",
            "3:",
            "mov {word}, qword ptr [rsp + {count} * 8 - 128]",
            "xor {word}, {pattern}",
            "or {difference}, {word}",
            "mov {word}, qword ptr [rax + {count} * 8 + 192]",
            "xor {word}, {pattern}",
            "or {difference}, {word}",
            "inc {count}",
            "jnz 3b",
            "mov rax, {interrupted}",
            "test {difference}, {difference}",
            "jnz 5f",
            "mov rdi, qword ptr [{arguments}]",
            "mov esi, {wait}",
            "mov rdx, qword ptr [{arguments} + 8]",
            "mov r10, qword ptr [{arguments} + 16]",
            "mov eax, {futex}",
            "syscall",
            "mov {word}, qword ptr [{arguments}]",
            "mov {word:e}, dword ptr [{word}]",
            "cmp {word:e}, dword ptr [{arguments} + 8]",
            "jne 5f",
            "mov r8, rax",
            "mov eax, {sigprocmask}",
            "mov edi, {setmask}",
            "mov rsi, qword ptr [{arguments} + 40]",
            "xor edx, edx",
            "mov r10d, 8",
            "syscall",
            // Signals are blocked again: handlers can run up to here.
            "mov rax, r8",
            "mov qword ptr [{arguments} + 48], 1",
            "mov {count}, -24",
            "4:",
            "mov {word}, qword ptr [rsp + {count} * 8 - 128]",
            "xor {word}, {pattern}",
            "or {difference}, {word}",
            "inc {count}",
            "jnz 4b",
            "5:",
            sigprocmask = const libc::SYS_rt_sigprocmask,
            setmask = const libc::SIG_SETMASK,
            interrupted = const -libc::EINTR,
            wait = const libc::FUTEX_WAIT,
            futex = const libc::SYS_futex,
            count = out(reg) _,
            word = out(reg) _,
            pattern = in(reg) PATTERN,
            arguments = in(reg) &raw mut arguments,
            difference = inout(reg) 0usize => difference,
            out("rax") result,
            out("rdi") _,
            out("rsi") _,
            out("rdx") _,
            out("r10") _,
            out("r8") _,
            out("rcx") _,
            out("r11") _,
        );
    }
    let woken = match -result as i32 {
        libc::ETIMEDOUT => WakeReason::TimedOut,
        libc::EINTR => WakeReason::Interrupted,
        _ => WakeReason::WokenOrChanged,
    };
    (woken, difference != 0, (arguments.held_off != 0).then(|| Blocked::with_mask(mask)))
}

/// On other processors, a handler that runs just before or after the sleep is not noticed.
#[cfg(not(target_arch = "x86_64"))]
fn wait_on_marked_stack(
    word: &AtomicU32,
    value: u32,
    timeout: Duration,
    signals: Blocked,
    _: *const usize,
) -> (WakeReason, bool, Option<Blocked>) {
    drop(signals);
    (crate::sys::futex::wait(word, value, timeout), false, None)
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;
    use std::sync::atomic::Ordering::SeqCst;

    /// The number of handlers that ran after the sleep had timed out, which the system call does
    /// not report.
    static TOO_LATE: AtomicU32 = AtomicU32::new(0);
    static RAN: AtomicU32 = AtomicU32::new(0);

    extern "C" fn handler(_: i32, _: *mut libc::siginfo_t, context: *mut libc::c_void) {
        // SAFETY: the kernel passes the interrupted context.
        let result = unsafe { (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs[libc::REG_RAX as usize] };
        if result == -i64::from(libc::ETIMEDOUT) {
            TOO_LATE.fetch_add(1, SeqCst);
        }
        RAN.fetch_add(1, SeqCst);
    }

    /// Sends signals to a thread that sleeps for short times, until some arrive too late to end a
    /// sleep.
    #[test]
    fn late_handler_is_noticed() {
        const ENOUGH: usize = 20;
        // SAFETY: the call has no requirements. The calling thread outlives the scope below.
        let thread = unsafe { libc::pthread_self() };
        // The thread's alternate stack is the standard library's.
        for flags in [0, libc::SA_ONSTACK] {
            // SAFETY: the handler has the right type, and zeroes are a valid sigaction.
            unsafe {
                let mut action: libc::sigaction = std::mem::zeroed();
                action.sa_sigaction = handler as *const () as usize;
                action.sa_flags = flags | libc::SA_SIGINFO | libc::SA_RESTART;
                assert_eq!(libc::sigaction(libc::SIGUSR2, &raw const action, std::ptr::null_mut()), 0);
            }
            let (stop, mut late) = (AtomicU32::new(0), Vec::new());
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    while stop.load(SeqCst) == 0 {
                        let ran = RAN.load(SeqCst);
                        // SAFETY: the thread lives as long as the scope.
                        unsafe { libc::pthread_kill(thread, libc::SIGUSR2) };
                        while RAN.load(SeqCst) == ran {
                            std::hint::spin_loop();
                        }
                    }
                });
                let word = AtomicU32::new(0);
                for _ in 0..1_000_000 {
                    let before = TOO_LATE.load(SeqCst);
                    let (woken, _) = wait(&word, 0, Duration::from_micros(1), Blocked::all());
                    if TOO_LATE.load(SeqCst) != before {
                        late.push(woken);
                    }
                    if late.len() == ENOUGH {
                        break;
                    }
                }
                stop.store(1, SeqCst);
            });
            assert_eq!(late, vec![WakeReason::Interrupted; late.len()]);
        }
    }

    #[test]
    fn nothing_is_noticed_without_handler() {
        let word = AtomicU32::new(0);
        assert_eq!(wait(&word, 0, Duration::from_millis(1), Blocked::all()).0, WakeReason::TimedOut);
        assert_eq!(wait(&word, 1, Duration::from_secs(1), Blocked::all()).0, WakeReason::WokenOrChanged);
    }
}
