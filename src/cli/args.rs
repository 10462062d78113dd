//! The command line: commands and flags, and the texts that teach them.
//!
//! What depends on the service's name is put in when the process starts: an author's service has
//! its own.

use std::path::PathBuf;

use clap::builder::NonEmptyStringValueParser;
use clap::error::ErrorKind;
use clap::{Args, Command as Clap, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use super::exit;

/// What the process is asked to do.
#[derive(Parser)]
#[command(version)]
struct Line {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: Serve,
}

/// The commands. `serve` is the one where none is named.
#[derive(Subcommand)]
pub(super) enum Command {
    /// Run the service in the foreground (the default command)
    Serve(Serve),
    /// Check the settings and report every error with its place, without serving
    Check(Where),
    /// Print the effective settings, secrets redacted
    Show(Show),
    /// Print what each signal does
    Signals(Format),
    /// Print the JSON Schema of the settings
    Schema,
}

/// `serve`.
#[derive(Args)]
pub(super) struct Serve {
    #[command(flatten)]
    pub(super) settings: Where,
    /// Write the process's id to this file while it serves
    ///
    /// The file is replaced in one step when the service serves, and removed at exit if it is
    /// still this process's. A file that a killed process left behind is replaced.
    #[arg(long, value_name = "PATH")]
    pub(super) pid_file: Option<PathBuf>,
}

/// `show`.
#[derive(Args)]
pub(super) struct Show {
    #[command(flatten)]
    pub(super) settings: Where,
    #[command(flatten)]
    pub(super) format: Format,
    /// Add where each value comes from
    #[arg(long)]
    pub(super) origin: bool,
}

/// Where the settings are.
#[derive(Args)]
pub(super) struct Where {
    #[arg(long = "settings", value_name = "PATH", help_heading = SETTINGS)]
    pub(super) path: Option<PathBuf>,
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new(), help_heading = SETTINGS)]
    pub(super) profile: Option<String>,
    /// Set one setting, over every other layer; may be repeated
    ///
    /// The key is dotted; a part in double quotes may hold any character. The value is a string,
    /// number or boolean as the setting requires, or an inline TOML array or table.
    #[arg(long, value_name = "KEY=VALUE", value_parser = assignment, help_heading = SETTINGS)]
    pub(super) set: Vec<(String, String)>,
}

/// For people, or for programs.
#[derive(Args)]
pub(super) struct Format {
    /// Print JSON, for programs
    #[arg(long)]
    pub(super) json: bool,
}

const SETTINGS: &str = "Where the settings come from";

/// Reads the process's arguments.
///
/// # Errors
/// Wrong usage; also a help text or version, which is a result.
pub(super) fn parse(name: &'static str) -> Result<Command, clap::Error> {
    let line = Line::from_arg_matches(&clap(name).try_get_matches()?)?;
    let Some(command) = line.command else {
        return Ok(Command::Serve(line.serve));
    };
    command.after(line.serve).ok_or_else(|| {
        let message = "the flags before this command are not its own";
        clap(name).error(ErrorKind::ArgumentConflict, message)
    })
}

impl Command {
    /// The command behind these flags, where it takes them.
    fn after(self, before: Serve) -> Option<Self> {
        let Serve { settings, pid_file } = before;
        match self {
            Self::Serve(own) => Some(Self::Serve(Serve {
                settings: own.settings.over(settings),
                pid_file: own.pid_file.or(pid_file),
            })),
            _ if pid_file.is_some() => None,
            Self::Check(own) => Some(Self::Check(own.over(settings))),
            Self::Show(own) => Some(Self::Show(Show {
                settings: own.settings.over(settings),
                ..own
            })),
            Self::Signals(_) | Self::Schema => settings.is_empty().then_some(self),
        }
    }
}

impl Where {
    /// The flags behind a command over those before it.
    fn over(self, before: Self) -> Self {
        Self {
            path: self.path.or(before.path),
            profile: self.profile.or(before.profile),
            set: [before.set, self.set].concat(),
        }
    }

    fn is_empty(&self) -> bool {
        self.path.is_none() && self.profile.is_none() && self.set.is_empty()
    }
}

/// What the variables of a service of this name begin with.
pub(super) fn variable(name: &str) -> String {
    name.to_uppercase().replace('-', "_")
}

/// The whole command line of a service of this name.
fn clap(name: &'static str) -> Clap {
    let variable = variable(name);
    let layers = layers(name, &variable);
    let with_settings = |command: Clap| {
        let path = format!(
            "The directory of the settings, or one file [default: `settings`, then `/etc/{name}`, \
             then the built-in defaults; looked for at start]"
        );
        let profile = format!("Read `NAME.*` over `default.*` [env: {variable}_PROFILE]");
        let command = command.mut_arg("path", |arg| arg.help(path));
        command.mut_arg("profile", |arg| arg.help(profile))
    };
    let version = match name {
        env!("CARGO_PKG_NAME") => env!("CARGO_PKG_VERSION"),
        _ => concat!("(everup ", env!("CARGO_PKG_VERSION"), ")"),
    };
    let clap = with_settings(Line::command())
        .name(name)
        .bin_name(name)
        .version(version)
        .about("Serves HTTP; reloads and stops without losing a request")
        .after_help(format!(
            "{}\n\n`{name} signals` prints what each signal does, `{name} --help` tells more",
            exit::HELP
        ))
        .after_long_help(format!("{layers}\n\n{}\n\n{}", examples(name), exit::HELP));
    let prints = [("signals", SIGNALS), ("schema", SCHEMA)];
    let clap = prints.into_iter().fold(clap, |clap, (name, about)| {
        clap.mut_subcommand(name, |command| {
            command.long_about(about).after_help(exit::OF_PRINTS)
        })
    });
    let of_settings = [
        ("serve", SERVE, exit::OF_SERVE),
        ("check", CHECK, exit::OF_CHECK),
        ("show", SHOW, exit::OF_SHOW),
    ];
    of_settings
        .into_iter()
        .fold(clap, |clap, (name, about, codes)| {
            clap.mut_subcommand(name, |command| {
                with_settings(command)
                    .long_about(about)
                    .after_help(codes)
                    .after_long_help(format!("{layers}\n\n{codes}"))
            })
        })
}

const SERVE: &str = "\
Run the service in the foreground (the default command)

The log goes to standard error and says first which settings are served, then where the service \
listens. SIGHUP reloads, SIGTERM and Ctrl-C stop: the requests in flight are finished first.";

const CHECK: &str = "\
Say what is wrong with the settings and where, without serving them

Loads, merges, checks and builds as serve would, and binds nothing: it may run beside the running \
service. All errors are reported at once, on standard error.";

const SHOW: &str = "\
Print the effective settings, secrets redacted

All layers merged, defaults included: what serve would serve, as TOML that may be read again, or \
as JSON.";

const SIGNALS: &str = "\
Print what each signal does

For every signal of POSIX.1-1990 and POSIX.1-2001: its number on this machine, what it does by \
default (Term, Core, Ign, Stop, Cont, as signal(7) calls it), and what it does here.";

const SCHEMA: &str = "\
Print the JSON Schema of the settings

For editors that complete and check settings files while they are written.";

/// Where settings come from, lowest layer first.
fn layers(name: &str, variable: &str) -> String {
    format!(
        "\
Settings, later ones win, tables merge key by key, arrays are replaced:
  built-in defaults
  default.*, then PROFILE.*, then local.* of the settings directory (toml, yaml, yml or json)
  variables: {variable}__SERVER__WORKERS=4
  flags: --set server.workers=4
A profile is named by --profile, or by {variable}_PROFILE. `{name} show --origin` tells where each \
value comes from, `{name} schema` which there are."
    )
}

fn examples(name: &str) -> String {
    format!(
        "\
Examples:
  {name}                                       serve `settings/`, or /etc/{name}, or the defaults
  {name} --settings /srv/a --set server.workers=4
  {name} check && pkill -HUP -x {name}         reload only valid settings
  {name} show --origin                         what is served, and where each value stands
  {name} show --json | jq .server"
    )
}

/// A key and a value, apart at the first `=` that no quotes of the key hold.
fn assignment(text: &str) -> Result<(String, String), String> {
    let mut in_quotes = false;
    let at = text.find(|character| {
        in_quotes ^= character == '"';
        character == '=' && !in_quotes
    });
    match at.filter(|at| *at > 0) {
        Some(at) => Ok((text[..at].to_owned(), text[at + 1..].to_owned())),
        None => Err("expected KEY=VALUE, such as server.workers=4".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_valid() {
        clap("greeter").debug_assert();
    }

    #[test]
    fn a_value_begins_behind_the_first_equals_sign_outside_of_quotes() {
        let pair = |key: &str, value: &str| Ok((key.to_owned(), value.to_owned()));
        assert_eq!(assignment("a.b=c=d"), pair("a.b", "c=d"));
        assert_eq!(assignment("a=\"x"), pair("a", "\"x"));
        assert_eq!(assignment("a="), pair("a", ""));
        let route = "app.routes.\"/a=b\".redirect";
        assert_eq!(assignment(&format!("{route}=/c")), pair(route, "/c"));
        for wrong in ["", "a", "=a", "\"a=b"] {
            assert!(assignment(wrong).is_err(), "{wrong}");
        }
    }
}
