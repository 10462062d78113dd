//! An event of the log: one line, defined in the module where it happens.

use std::fmt::Display;

use log::Level;

/// Something that the operator is to know; its text is its line.
pub(crate) trait Event: Display {
    fn level(&self) -> Level;

    /// Which part of the service says it: `everup::…`.
    fn target(&self) -> &'static str;
}

/// Says it in the log.
pub(crate) fn emit(event: &impl Event) {
    let (level, target) = (event.level(), event.target());
    if log::log_enabled!(target: target, level) {
        log::log!(target: target, level, "{event}");
    }
}
