//! What the process was born with: signals that it ignores, catches or blocks before we have a say.

use std::{fs, io};

use nix::sys::signal::{SigSet, Signal as System, raise};

use super::table::{Action, By, Signal, TABLE};

/// Makes of it what the table says of signals that get no handler of ours. Threads inherit what
/// their maker blocks, so this is for the first one, before it makes another.
///
/// # Errors
/// None that Linux has.
pub(crate) fn normalize() -> io::Result<()> {
    let known = TABLE.iter().map(|signal| System::try_from(signal.number));
    known.collect::<nix::Result<SigSet>>()?.thread_unblock()?;
    // Rust's runtime catches SIGSEGV and SIGBUS, to tell stack overflows apart, and so would
    // survive the first that somebody sends. It lets go for good at one that is no overflow.
    let is_crash = |signal: &&Signal| {
        (signal.by_default, signal.action) == (By::Core, Action::Default) && catches(signal.number)
    };
    for crash in TABLE.iter().filter(is_crash) {
        raise(System::try_from(crash.number)?)?;
    }
    Ok(())
}

pub(super) fn ignores(signal: i32) -> bool {
    is_in("SigIgn:", signal)
}

fn catches(signal: i32) -> bool {
    is_in("SigCgt:", signal)
}

/// Whether a mask of the process's status (proc(5)) has a signal.
fn is_in(mask: &str, signal: i32) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix(mask));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask & 1 << (signal - 1) != 0)
}
