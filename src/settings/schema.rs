//! The tables that every service has, their defaults and what each setting means.
//! Owns no parsing: how values are written is `units.rs`.

use super::address::{Address, AdminAddress};
use super::units::{self, Level, ListenerName, LogTarget};
use bytesize::ByteSize;
use log::LevelFilter;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

/// What probes are called beneath a listener's `probes`: whether the process lives.
pub(crate) const LIVEZ: &str = "livez";

/// And whether it serves.
pub(crate) const READYZ: &str = "readyz";

/// All settings of a service: everup's own tables and the author's.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, bound(deserialize = "A: DeserializeOwned + Default"))]
#[schemars(bound = "A: JsonSchema + Default + Serialize")]
pub struct Tables<A> {
    /// Workers, limits and listeners.
    pub server: Server,
    /// The admin API.
    pub admin: Admin,
    /// How settings are reloaded.
    pub reload: Reload,
    /// How the service stops.
    pub shutdown: Shutdown,
    /// What is logged.
    pub logging: Logging,
    /// The service's own settings.
    pub app: A,
}

impl<A> Tables<A> {
    /// everup's own tables, and the author's.
    pub(crate) fn split(self) -> (Tables<()>, A) {
        let tables = Tables {
            server: self.server,
            admin: self.admin,
            reload: self.reload,
            shutdown: self.shutdown,
            logging: self.logging,
            app: (),
        };
        (tables, self.app)
    }
}

/// Workers, limits and listeners.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Server {
    /// Worker threads, at most 512; 0, the default: as many as affinity and the cgroup's quota
    /// allow.
    #[serde(deserialize_with = "units::workers")]
    #[schemars(range(max = 512))]
    pub workers: u16,
    /// How long a connection may be idle before it is closed; default `"75s"`. Set it above your
    /// load balancer's.
    #[serde(with = "units::positive_duration")]
    #[schemars(with = "String")]
    pub keep_alive: Duration,
    /// From the first byte of a request's head to its last; default `"5s"`.
    #[serde(with = "units::positive_duration")]
    #[schemars(with = "String")]
    pub client_request_timeout: Duration,
    /// Between two pieces of a request's body; default `"30s"`.
    #[serde(with = "units::positive_duration")]
    #[schemars(with = "String")]
    pub body_timeout: Duration,
    /// How long a client may take no byte of a response; default `"30s"`.
    #[serde(with = "units::positive_duration")]
    #[schemars(with = "String")]
    pub write_timeout: Duration,
    /// How many bytes a second a client must bring of a request's body and take of a response, while it
    /// is waited for, once `min_rate_grace` is over; default `"64B"`; `"0B"`: as few as it likes.
    #[serde(
        serialize_with = "units::write_size",
        deserialize_with = "units::body_size"
    )]
    #[schemars(with = "String")]
    pub min_rate: ByteSize,
    /// How long a client may be slower than `min_rate` with one body; default `"60s"`.
    #[serde(with = "units::positive_duration")]
    #[schemars(with = "String")]
    pub min_rate_grace: Duration,
    /// For a handshake of TLS, from accept to end; default `"5s"`.
    #[serde(with = "units::positive_duration")]
    #[schemars(with = "String")]
    pub tls_handshake_timeout: Duration,
    /// Connections per worker, at least 1; default 25600.
    #[serde(deserialize_with = "units::positive")]
    #[schemars(range(min = 1))]
    pub max_connections: u32,
    /// How large a request's body may be, up to `"1TiB"`; one that is larger is answered with 413;
    /// default `"1MiB"`. (An App's extractors have limits of their own.)
    #[serde(
        serialize_with = "units::write_size",
        deserialize_with = "units::body_size"
    )]
    #[schemars(with = "String")]
    pub max_body: ByteSize,
    /// A header that every response carries, with the number of its request's generation, such as
    /// `"x-config-generation"`; default `""`: none.
    #[serde(deserialize_with = "units::generation_header")]
    pub generation_header: String,
    /// The listeners by name; `public` on `127.0.0.1:8080` where none is named.
    #[serde(deserialize_with = "listeners")]
    pub listeners: BTreeMap<String, Listener>,
}

/// A socket that requests come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Listener {
    /// An IP address and a port such as `"127.0.0.1:8080"`; port 0 picks one. Or `"unix:PATH"`, a
    /// socket that every local user may connect to whom its directory lets through; a relative
    /// path starts at `$RUNTIME_DIRECTORY`, else where the process works. Or `"systemd:NAME"`, the
    /// listening socket that the service manager passes by this name (`FileDescriptorName=` in
    /// systemd.socket(5)). No default.
    #[schemars(with = "String")]
    pub address: Address,
    /// TLS, with HTTP/2 and HTTP/1.1 by ALPN. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// A path such as `"/-/"`, beneath which `livez` and `readyz` are answered here too, for load
    /// balancers that cannot reach the admin API; `""` is none. Default: none.
    #[serde(
        default,
        deserialize_with = "units::probes",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(with = "Option<String>")]
    pub probes: Option<String>,
    /// Whether HTTP/2 is spoken too, without TLS, to clients that begin with it; default `false`.
    #[serde(default)]
    pub h2c: bool,
}

/// What a listener proves itself by. Relative paths start at the settings directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Tls {
    /// A file with the certificate and those that vouch for it, in PEM. No default.
    pub certificate: PathBuf,
    /// A file with its private key, in PEM, not encrypted. No default.
    pub key: PathBuf,
}

/// The admin API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Admin {
    /// An IP address and a port, `"unix:PATH"`, or `""` for none; default `"127.0.0.1:8081"`.
    /// Beyond loopback it needs `token_file`.
    #[schemars(with = "String")]
    pub address: AdminAddress,
    /// A file that holds the token which requests must bear, of at least 16 bytes. A relative path
    /// starts at the settings directory; `""` is none. Default: none.
    #[serde(
        deserialize_with = "units::optional_path",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(with = "Option<PathBuf>")]
    pub token_file: Option<PathBuf>,
    /// Names that `Host` may carry, beside IP addresses and `localhost`. Default: none.
    #[serde(deserialize_with = "units::hosts")]
    #[schemars(with = "Vec<String>")]
    pub hosts: Vec<String>,
}

/// How settings are reloaded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Reload {
    /// Whether a changed source, or a file that the settings name, asks for a reload; default `false`.
    pub watch: bool,
    /// The quiet time between the last such change and its reload, which comes after ten times this in
    /// any case. Above zero, at most `"1m"`; default `"100ms"`.
    #[serde(with = "units::debounce")]
    #[schemars(with = "String")]
    pub debounce: Duration,
    /// To load, prepare and publish; default `"10s"`.
    #[serde(with = "units::positive_duration")]
    #[schemars(with = "String")]
    pub timeout: Duration,
    /// Generations kept for a rollback, beside the one that is served, at most 1000; default 16.
    /// Fewer where they were read from more than 8 MiB together, but always the newest.
    #[serde(deserialize_with = "units::history")]
    #[schemars(range(max = 1000))]
    pub history: u16,
}

/// How the service stops.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Shutdown {
    /// How long readiness says no while everything is still served; default `"0s"`.
    #[serde(with = "units::duration")]
    #[schemars(with = "String")]
    pub delay: Duration,
    /// How long an idle kept-alive connection may still bring a request; default `"1s"`.
    #[serde(with = "units::duration")]
    #[schemars(with = "String")]
    pub linger: Duration,
    /// From the end of the delay, to finish what is in flight; default `"25s"`.
    #[serde(with = "units::duration")]
    #[schemars(with = "String")]
    pub timeout: Duration,
}

/// What is logged, and where. The log facade is the process's: in a service that another program
/// embeds, all but `access` is that program's concern.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Logging {
    /// `"off"`, `"error"`, `"warn"`, `"info"`, `"debug"` or `"trace"`; default `"info"`.
    #[serde(with = "units::level")]
    #[schemars(with = "String")]
    pub level: LevelFilter,
    /// Levels of single targets and all beneath them, such as `"everup::http" = "warn"`; default:
    /// none, but that `actix_http` and `h2` are off unless they are named.
    #[serde(with = "levels")]
    #[schemars(with = "BTreeMap<String, String>")]
    pub targets: BTreeMap<String, LevelFilter>,
    /// The file that lines are appended to; default `""`, which is standard error. A relative path
    /// starts at `$LOGS_DIRECTORY` where that is set, else at the working directory.
    #[serde(deserialize_with = "units::log_file")]
    pub file: String,
    /// The file is renamed to `FILE.1`, and a new one begun, before it becomes larger: `"64KiB"` to
    /// `"1TiB"`; default `"10MiB"`.
    #[serde(
        serialize_with = "units::write_size",
        deserialize_with = "units::log_size"
    )]
    #[schemars(with = "String")]
    pub max_size: ByteSize,
    /// How many renamed files are kept, `FILE.1` the newest: 0 to 100; default 5.
    #[serde(deserialize_with = "units::log_keep")]
    #[schemars(range(max = 100))]
    pub keep: u32,
    /// `"text"`, or `"json"`: an object a line; default `"text"`.
    pub format: LogFormat,
    /// Whether each request has a line, of target `everup::access`, whatever `level` says; default
    /// `false`.
    pub access: bool,
}

/// How a line of the log looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// Time, level, target, message.
    #[default]
    Text,
    /// The same as an object.
    Json,
}

impl Default for Server {
    fn default() -> Self {
        Server {
            workers: 0,
            keep_alive: Duration::from_secs(75),
            client_request_timeout: Duration::from_secs(5),
            body_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(30),
            min_rate: ByteSize::b(64),
            min_rate_grace: Duration::from_secs(60),
            tls_handshake_timeout: Duration::from_secs(5),
            max_connections: 25_600,
            max_body: ByteSize::mib(1),
            generation_header: String::new(),
            listeners: built_in_listeners(),
        }
    }
}

impl Default for Admin {
    fn default() -> Self {
        Admin {
            address: AdminAddress::Tcp((Ipv4Addr::LOCALHOST, 8081).into()),
            token_file: None,
            hosts: Vec::new(),
        }
    }
}

impl Default for Reload {
    fn default() -> Self {
        Reload {
            watch: false,
            debounce: Duration::from_millis(100),
            timeout: Duration::from_secs(10),
            history: 16,
        }
    }
}

impl Default for Shutdown {
    fn default() -> Self {
        Shutdown {
            delay: Duration::ZERO,
            linger: Duration::from_secs(1),
            timeout: Duration::from_secs(25),
        }
    }
}

impl Default for Logging {
    fn default() -> Self {
        Logging {
            level: LevelFilter::Info,
            targets: BTreeMap::new(),
            file: String::new(),
            max_size: ByteSize::mib(10),
            keep: 5,
            format: LogFormat::Text,
            access: false,
        }
    }
}

fn built_in_listeners() -> BTreeMap<String, Listener> {
    let listener = Listener {
        address: Address::Tcp((Ipv4Addr::LOCALHOST, 8080).into()),
        tls: None,
        probes: None,
        h2c: false,
    };
    BTreeMap::from([("public".to_owned(), listener)])
}

/// The listeners that are named; the built-in one only where none is.
fn listeners<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<String, Listener>, D::Error> {
    let named = BTreeMap::<ListenerName, Listener>::deserialize(from)?;
    if named.is_empty() {
        return Ok(built_in_listeners());
    }
    Ok(named
        .into_iter()
        .map(|(name, listener)| (name.0, listener))
        .collect())
}

/// The levels of log targets, for `#[serde(with = "…")]`.
mod levels {
    use super::*;

    pub(super) fn serialize<S: Serializer>(
        levels: &BTreeMap<String, LevelFilter>,
        out: S,
    ) -> Result<S::Ok, S::Error> {
        out.collect_map(levels.iter().map(|(target, level)| (target, Level(*level))))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<BTreeMap<String, LevelFilter>, D::Error> {
        let named = BTreeMap::<LogTarget, Level>::deserialize(from)?;
        Ok(named
            .into_iter()
            .map(|(target, level)| (target.0, level.0))
            .collect())
    }
}
