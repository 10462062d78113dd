//! Requests a reload after files change, as SIGHUP does. `quiet` decides when, `actor` asks. It compares
//! nothing: the attempt finds the differences. `config` decides what is watched.

mod actor;
mod quiet;

pub(crate) use actor::WatchActor;
