//! How many connections and open files the process's descriptor limit allows.

use std::{
    fs,
    os::fd::{AsRawFd as _, OwnedFd},
};

use rustix::process::{Resource, getrlimit};

/// The descriptors that there are when nothing is served yet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    limit: u64,
    in_use: u64,
}

/// Connections, and files held open for them, that there may be at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Room {
    pub(crate) per_worker: usize,
    /// For each worker too.
    pub(crate) files: usize,
    pub(crate) admin: usize,
}

/// Kept free for settings, logs and what an author's service opens: a reload needs some also when
/// clients have taken all the rest.
const RESERVE: u64 = 16;

/// What the runtime of a worker's thread opens.
const PER_THREAD: u64 = 4;

/// The admin listener's connections, at the most.
const ADMIN_MOST: u64 = 256;

/// Of a worker's descriptors, one of so many is for files.
const FILES: u64 = 4;

/// A connection that is accepted before another has left for it.
const EXTRA: u64 = 1;

/// Whether so many descriptors as are kept free are free beside this one, which was opened just now: the
/// kernel gives the lowest number that is free.
pub(crate) fn leaves_reserve(newest: &OwnedFd) -> bool {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let number = u64::try_from(newest.as_raw_fd()).unwrap_or_default();
    number + RESERVE < limit
}

impl Budget {
    /// To be measured before listeners are bound and workers started.
    pub(crate) fn measure() -> Self {
        Self {
            limit: getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX),
            in_use: fs::read_dir("/proc/self/fd").map_or(RESERVE, |open| open.count() as u64),
        }
    }

    /// Descriptors that the process may have.
    pub(crate) fn limit(&self) -> u64 {
        self.limit
    }

    /// Room for `asked` connections a worker, or as many as the budget allows. So many threads of workers
    /// there are already, used or parked.
    ///
    /// # Errors
    /// Where there are not descriptors enough to serve at all.
    pub(crate) fn room(
        &self,
        asked: usize,
        workers: usize,
        threads: usize,
        listeners: usize,
    ) -> Result<Room, String> {
        let (workers, listeners) = (workers as u64, listeners as u64);
        // The admin listener is one worker and one listener more.
        let (listening, shared) = (listeners + 1, workers * listeners + 1);
        let threads = (workers + 1).max(threads as u64);
        let needed = threads * PER_THREAD + listening + shared;
        let taken = self.in_use + needed + RESERVE;
        let connections = self.limit.saturating_sub(taken);
        let admin = (connections / 8).clamp(1, ADMIN_MOST);
        let share = connections.saturating_sub(admin + EXTRA) / workers.max(1);
        let files = (share / FILES).max(1);
        let Some(most @ 1..) = share.checked_sub(files + EXTRA) else {
            let limit = self.limit;
            return Err(format!(
                "{limit} descriptors are not enough for {workers} workers that share {listeners} \
                 listeners (`ulimit -n`, `LimitNOFILE=`)"
            ));
        };
        let count = |count| usize::try_from(count).unwrap_or(usize::MAX);
        Ok(Room {
            per_worker: asked.min(count(most)),
            files: count(files),
            admin: count(admin),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_capped_to_the_descriptors() {
        let taken = 3 * PER_THREAD + (1 + 1) + (2 + 1) + RESERVE;
        let (limit, in_use) = (taken + 40 + 5, 5);
        let budget = Budget { limit, in_use };
        let room = budget.room(25_600, 2, 0, 1).expect("it is enough");
        // Five for the admin API and one extra, then 17 for each worker: four files and one extra.
        assert_eq!((room.per_worker, room.files, room.admin), (12, 4, 5));
        assert_eq!(budget.room(4, 2, 3, 1).map(|room| room.per_worker), Ok(4));
        assert!(budget.room(1, 8, 0, 1).is_err(), "each worker costs some");
        let more = budget.room(25_600, 2, 0, 2).expect("it is enough");
        assert_eq!(
            more.per_worker, 11,
            "a listener costs its socket and its shares"
        );
    }
}
