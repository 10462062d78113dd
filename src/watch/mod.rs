//! Changed files ask for a reload, as SIGHUP does: `quiet` decides when, `actor` is WatchActor, which
//! asks. Compares nothing: the attempt itself finds what differs. What is watched is `config`'s.

mod actor;
mod quiet;

pub(crate) use actor::WatchActor;
