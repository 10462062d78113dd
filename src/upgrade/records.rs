//! Passes the history to the new process in shared memory, so neither process waits for the other to read
//! it.

use std::{
    fs::File,
    io::{self, BufRead as _, BufReader, Read as _, Seek as _, Write as _},
    os::fd::OwnedFd,
    sync::Arc,
};

use rustix::fs::{MemfdFlags, memfd_create};

use crate::config::Attempt;

/// Bytes of all of them at the most: the oldest are left behind.
const MOST: usize = 4 * 1024 * 1024;

/// Writes them, newest first.
///
/// # Errors
/// Where descriptors or memory are used up.
pub(super) fn write(attempts: &[Arc<Attempt>]) -> io::Result<OwnedFd> {
    let mut lines = Vec::new();
    for attempt in attempts {
        let before = lines.len();
        serde_json::to_writer(&mut lines, &**attempt)?;
        lines.push(b'\n');
        if lines.len() > MOST {
            lines.truncate(before);
            break;
        }
    }
    let mut memory = File::from(memfd_create("everup-history", MemfdFlags::CLOEXEC)?);
    memory.write_all(&lines)?;
    Ok(memory.into())
}

/// Reads them, newest first. What another version has written otherwise is passed over: records
/// hinder no start.
pub(super) fn read(memory: OwnedFd) -> Vec<Attempt> {
    let mut memory = File::from(memory);
    if memory.rewind().is_err() {
        return Vec::new();
    }
    let lines = BufReader::new(memory.take(MOST as u64)).lines();
    lines
        .map_while(Result::ok)
        .filter_map(|line| serde_json::from_str(&line).ok())
        .collect()
}
