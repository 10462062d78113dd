//! How many connections the descriptors of the process allow.

use std::fs;

use rustix::process::{Resource, getrlimit};

/// The descriptors that are left for connections when all else is open.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    connections: u64,
}

/// Connections that may be open at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Room {
    pub(crate) per_worker: usize,
    pub(crate) admin: usize,
}

/// Kept free for settings, logs and what an author's service opens: a reload needs some also when
/// clients have taken all the rest.
const RESERVE: u64 = 16;

/// What a worker's runtime opens.
const PER_WORKER: u64 = 4;

/// The admin listener's connections, at the most.
const ADMIN_MOST: u64 = 256;

impl Budget {
    /// Measured before the `workers` are started and the listeners shared among them.
    ///
    /// # Errors
    /// Where there are not descriptors enough to serve at all.
    pub(crate) fn measure(workers: usize, listeners: usize) -> Result<Self, String> {
        let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let in_use = fs::read_dir("/proc/self/fd").map_or(RESERVE, |open| open.count() as u64);
        let (workers, listeners) = (workers as u64, listeners as u64);
        // The admin listener is one worker and one listener more.
        let needed = (workers + 1) * PER_WORKER + workers * listeners + 1;
        let connections = limit.saturating_sub(in_use + needed + RESERVE);
        if connections <= workers {
            return Err(format!(
                "{limit} descriptors are not enough for {workers} workers (`ulimit -n`, `LimitNOFILE=`)"
            ));
        }
        Ok(Self { connections })
    }

    /// Room for `asked` connections a worker, or as many as the budget allows.
    pub(crate) fn room(&self, asked: usize, workers: usize) -> Room {
        let admin = (self.connections / 8).clamp(1, ADMIN_MOST);
        let share = (self.connections - admin) / workers.max(1) as u64;
        let share = usize::try_from(share).unwrap_or(usize::MAX);
        let per_worker = asked.min(share.max(1));
        Room {
            per_worker,
            admin: usize::try_from(admin).unwrap_or(usize::MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_capped_to_the_descriptors() {
        let budget = Budget { connections: 24 };
        let room = budget.room(25_600, 2);
        assert_eq!((room.per_worker, room.admin), (10, 3));
        assert_eq!(budget.room(4, 2).per_worker, 4);
    }
}
