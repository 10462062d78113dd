//! everup keeps an actix-web service up.
#![forbid(unsafe_code)]

pub mod settings;
