//! The tables that every service has, their defaults and what each setting means.
//! Owns no parsing: how values are written is `units.rs`.

use super::units::{self, Address, AdminAddress, ListenerName};
use log::LevelFilter;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

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
    /// Connections per worker, at least 1; default 25600.
    #[serde(deserialize_with = "units::positive")]
    #[schemars(range(min = 1))]
    pub max_connections: u32,
    /// The listeners by name; `public` on `127.0.0.1:8080` where none is named.
    #[serde(deserialize_with = "listeners")]
    pub listeners: BTreeMap<String, Listener>,
}

/// A socket that requests come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Listener {
    /// An IP address and a port such as `"127.0.0.1:8080"`; port 0 picks one. Or `"unix:PATH"`, a
    /// socket that every local user may connect to whom its directory lets through; a relative
    /// path starts at `$RUNTIME_DIRECTORY`, else where the process works. No default.
    #[schemars(with = "String")]
    pub address: Address,
    /// Whether HTTP/2 is spoken too, without TLS, to clients that begin with it; default `false`.
    #[serde(default)]
    pub h2c: bool,
}

/// The admin API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Admin {
    /// A loopback address and a port, `"unix:PATH"`, or `""` for none; default
    /// `"127.0.0.1:8081"`.
    #[schemars(with = "String")]
    pub address: AdminAddress,
}

/// How settings are reloaded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Reload {
    /// To load, prepare and publish; default `"10s"`.
    #[serde(with = "units::positive_duration")]
    #[schemars(with = "String")]
    pub timeout: Duration,
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

/// What is logged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Logging {
    /// `"off"`, `"error"`, `"warn"`, `"info"`, `"debug"` or `"trace"`; default `"info"`.
    #[serde(with = "units::level")]
    #[schemars(with = "String")]
    pub level: LevelFilter,
}

impl Default for Server {
    fn default() -> Self {
        Server {
            workers: 0,
            keep_alive: Duration::from_secs(75),
            client_request_timeout: Duration::from_secs(5),
            body_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(30),
            max_connections: 25_600,
            listeners: built_in_listeners(),
        }
    }
}

impl Default for Admin {
    fn default() -> Self {
        Admin {
            address: AdminAddress::Tcp((Ipv4Addr::LOCALHOST, 8081).into()),
        }
    }
}

impl Default for Reload {
    fn default() -> Self {
        Reload {
            timeout: Duration::from_secs(10),
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
        }
    }
}

fn built_in_listeners() -> BTreeMap<String, Listener> {
    let address = Address::Tcp((Ipv4Addr::LOCALHOST, 8080).into());
    let h2c = false;
    BTreeMap::from([("public".to_owned(), Listener { address, h2c })])
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
