//! The promises, from outside: the built program, real signals, real connections, many clients at once.
//!
//! Each test waits for an event, never for a time, and runs alone or beside others.
mod activation;
mod actors;
mod admin;
mod books;
mod burst;
mod certificates;
mod cli;
mod dependencies;
mod documentation;
mod examples;
mod framing;
mod http1;
mod http2;
mod library;
mod limits;
mod live;
mod logging;
mod named_files;
mod rejected;
mod reload;
mod settings;
mod signals;
mod site;
mod standstill;
mod stop;
mod support;
mod terminal;
mod timers;
mod tls;
mod unix;
mod upgrade;
mod upgrade_fails;
mod upgrade_limits;
mod upgrade_versions;
mod watch;
