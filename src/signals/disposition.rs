//! The signals that the parent process made this one ignore or block.

use std::{fs, io};

use nix::sys::signal::{SigSet, Signal as System};

use super::table::{Action, TABLE};

/// Unblocks the signals that the table gives a meaning; those of crashes are left as they are.
/// Threads inherit the mask of the thread that starts them, so this must run on the first one, before
/// it starts another.
///
/// # Errors
/// None that Linux has.
pub(crate) fn unblock() -> io::Result<()> {
    let ours = TABLE.iter().filter(|it| it.action != Action::NotOurs);
    let numbers = ours.map(|signal| System::try_from(signal.number));
    Ok(numbers.collect::<nix::Result<SigSet>>()?.thread_unblock()?)
}

/// Whether the process ignores the signal.
pub(super) fn ignores(signal: i32) -> bool {
    is_in("SigIgn:", signal)
}

/// Whether a mask of the process's status (proc(5)) has a signal.
fn is_in(mask: &str, signal: i32) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix(mask));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask & 1 << (signal - 1) != 0)
}
