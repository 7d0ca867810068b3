//! The options of calls that can block: `--timeout` and `--no-wait`.

use crate::args::duration;
use quintet::Errno;
use std::time::{Duration, Instant};

#[derive(clap::Args)]
pub struct WaitOptions {
    /// Timeout for each message: seconds, or with ms, s, m, h [default: none]
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    timeout: Option<Duration>,

    /// Fail instead of blocking
    #[arg(long, conflicts_with = "timeout")]
    no_wait: bool,
}

impl WaitOptions {
    /// Returns the timeout of a call. It is 0 if the call must not block.
    pub fn limit(&self) -> Option<Duration> {
        if self.no_wait { Some(Duration::ZERO) } else { self.timeout }
    }

    /// Returns " within 5s", or an empty text without a timeout.
    pub fn within(&self) -> String {
        let time = self.timeout.filter(|time| !time.is_zero());
        time.map_or(String::new(), |time| format!(" within {time:?}"))
    }

    /// Makes a call. Repeats it with the remaining time if a signal interrupts it, unless `stop`
    /// returns `true`.
    pub fn call<T>(
        &self,
        mut call: impl FnMut(Option<Duration>) -> Result<T, Errno>,
        stop: impl Fn() -> bool,
    ) -> Result<T, Errno> {
        let (start, limit) = (Instant::now(), self.limit());
        loop {
            match call(limit.map(|limit| limit.saturating_sub(start.elapsed()))) {
                Err(Errno::INTR) if !stop() => {}
                result => return result,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interrupted_call_is_repeated_with_the_remaining_time() {
        let options = WaitOptions { timeout: Some(Duration::from_secs(100)), no_wait: false };
        let mut left = Vec::new();
        let mut call = |time: Option<Duration>| {
            left.push(time.unwrap());
            if left.len() < 3 { Err(Errno::INTR) } else { Ok(7) }
        };
        assert_eq!(options.call(&mut call, || false), Ok(7));
        assert!(left.is_sorted_by(|a, b| a >= b) && left[0] <= Duration::from_secs(100), "{left:?}");
        assert_eq!(options.call(|_| Err::<(), _>(Errno::INTR), || true), Err(Errno::INTR));
        let options = WaitOptions { timeout: None, no_wait: true };
        assert_eq!(options.call(Ok, || false), Ok(Some(Duration::ZERO)));
    }
}
