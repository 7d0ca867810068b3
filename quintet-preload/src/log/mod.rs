//! What the library reports: why it does not work and, on request, what it does.
//!
//! | variable | meaning |
//! |---|---|
//! | `QUINTET_LOG` | `off`, `error`, `warn` (the default), `info`, or `debug` |
//! | `QUINTET_LOG_FILE` | the file for the lines; the default is descriptor 2 |
//!
//! A `%p` in the name of the file stands for the process id.
//!
//! The program must not notice the log. Therefore:
//!
//! - the log allocates nothing, keeps no descriptor open, preserves `errno`, and consumes a signal
//!   that a write raises;
//! - it writes to descriptor 2 only while that is a terminal, or still the file that it was at
//!   load: a program may open a file of its own there;
//! - each line is one `write`, so that lines of several processes do not mix.

pub mod arguments;
mod line;
pub mod listener;
mod messages;
mod output;
pub mod trace;

pub use line::{Bytes, Line};
pub use messages::{changed_credentials, warn};
