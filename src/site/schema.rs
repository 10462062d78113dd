//! The program's table `[app]`: a message, and routes.

use std::{collections::BTreeMap, error::Error, fmt, path::PathBuf, sync::Mutex, time::Duration};

use schemars::JsonSchema;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::table::{Plan, Table};
use crate::settings::{Build, Findings, Settings, duration};

/// What the program `everup` answers.
// The fields are not public: `checked` must be what was made of them.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Site {
    /// Answered at `/`, where no route `/` takes its place; default `"Before hot reload"`.
    pub(super) message: String,
    /// Routes by their pattern: `{name}` matches one segment, `{name}*` at the end the rest, the
    /// empty rest too. Default: none.
    #[serde(deserialize_with = "routes")]
    #[schemars(with = "BTreeMap<String, Route>")]
    pub(super) routes: BTreeMap<String, Route>,
    #[serde(skip)]
    checked: Checked,
}

/// One route: exactly one of `respond`, `redirect` and `files`. A later layer that gives it another
/// one replaces the first.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(
    extend("oneOf" = exactly_one(&["respond", "redirect", "files"])),
    extend("dependentRequired" = { "status": ["redirect"] })
)]
pub struct Route {
    /// An answer that is always the same, but for the pattern's own names in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) respond: Option<Respond>,
    /// Where to go instead: a path that begins with `/`, or an absolute address. `{name}` in it
    /// stands for what the pattern's `{name}` matched, percent-encoded. The request's query is not
    /// passed on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) redirect: Option<String>,
    /// A directory whose files are served, never what leads out of it; dotfiles and all that is no
    /// regular file are 404. The pattern must end in `{name}*`. A relative path starts at the
    /// settings directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) files: Option<PathBuf>,
    /// Of a redirect: 301, 302, 303, 307 or 308; default 308.
    #[serde(
        skip_serializing_if = "Option::is_none",
        deserialize_with = "status::of_redirect"
    )]
    #[schemars(extend("enum" = status::REDIRECTS))]
    pub(super) status: Option<u16>,
    /// Such as `["GET"]`, which HEAD goes with; others are answered with 405, OPTIONS with what is
    /// allowed. Default: every method; of `files`, GET.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) methods: Option<Vec<String>>,
}

/// An answer that is always the same, but for the pattern's own names in it. At most one of `body`,
/// `json` and `body_file`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(extend("oneOf" = at_most_one(&["body", "json", "body_file"])))]
pub struct Respond {
    /// From 200 to 599; default 200.
    #[serde(deserialize_with = "status::of_answer")]
    #[schemars(range(min = 200, max = 599))]
    pub(super) status: u16,
    /// `{name}` stands for what the pattern's `{name}` matched, escaped as the content type
    /// demands; other braces stay. Default: empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) body: Option<String>,
    /// Any value, sent as JSON; `{name}` in its texts as in `body`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) json: Option<Value>,
    /// A file that holds the body, as `body` if it is text; it is read with the settings, and
    /// counts as part of them. A relative path starts at the settings directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) body_file: Option<PathBuf>,
    /// Default: a `content-type`: plain text, `application/json` for `json`, by its extension for
    /// `body_file`.
    pub(super) headers: BTreeMap<String, String>,
    /// Waited for before the answer; default `"0s"`.
    #[serde(with = "duration")]
    #[schemars(with = "String")]
    pub(super) delay: Duration,
}

/// Collected first: a map that grows one by one, in the order of its keys, is half empty.
fn routes<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<String, Route>, D::Error> {
    struct Routes;
    impl<'de> Visitor<'de> for Routes {
        type Value = BTreeMap<String, Route>;

        fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
            out.write_str("a map")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let entries = std::iter::from_fn(|| map.next_entry().transpose());
            let routes: Vec<_> = entries.collect::<Result<_, _>>()?;
            Ok(routes.into_iter().collect())
        }
    }
    from.deserialize_map(Routes)
}

/// For `oneOf`: exactly one of these keys is there.
fn exactly_one(keys: &[&str]) -> Vec<Value> {
    let required = keys.iter().map(|key| json!({ "required": [key] }));
    required.collect()
}

/// For `oneOf`: one of these keys is there, or none.
fn at_most_one(keys: &[&str]) -> Vec<Value> {
    let one = exactly_one(keys);
    let none = json!({ "not": { "anyOf": one } });
    one.into_iter().chain([none]).collect()
}

/// Which statuses there are. Read as what they may be, so that whoever writes no number at all is
/// told of these too.
mod status {
    use std::fmt;

    use serde::de::{Deserializer, Error, Unexpected, Visitor};

    /// What a redirect may say: others mean something else, or nothing to a client.
    pub(super) const REDIRECTS: [u16; 5] = [301, 302, 303, 307, 308];

    pub(super) fn of_answer<'de, D: Deserializer<'de>>(from: D) -> Result<u16, D::Error> {
        from.deserialize_u16(Status {
            expected: "a number from 200 to 599",
            is_one: |status| (200..600).contains(status),
        })
    }

    pub(super) fn of_redirect<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u16>, D::Error> {
        let read = from.deserialize_u16(Status {
            expected: "301, 302, 303, 307 or 308",
            is_one: |status| REDIRECTS.contains(status),
        });
        read.map(Some)
    }

    struct Status {
        expected: &'static str,
        is_one: fn(&u16) -> bool,
    }

    impl Visitor<'_> for Status {
        type Value = u16;

        fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
            out.write_str(self.expected)
        }

        fn visit_u64<E: Error>(self, number: u64) -> Result<u16, E> {
            let status = u16::try_from(number).ok().filter(self.is_one);
            status.ok_or_else(|| E::invalid_value(Unexpected::Unsigned(number), &self))
        }

        // As formats have it whose numbers all have a sign.
        fn visit_i64<E: Error>(self, number: i64) -> Result<u16, E> {
            match u64::try_from(number) {
                Ok(number) => self.visit_u64(number),
                Err(_) => Err(E::invalid_value(Unexpected::Signed(number), &self)),
            }
        }
    }
}

/// The plan that `check` has made, for the `build` that follows it: a hundred thousand routes are
/// planned once per reload, not twice.
#[derive(Debug, Default)]
struct Checked(Mutex<Option<Plan>>);

impl Clone for Checked {
    /// A plan is used once: the clone's `build` makes its own.
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl Checked {
    fn put(&self, plan: Option<Plan>) {
        // Whoever panicked with the lock had nothing half done.
        *self.0.lock().unwrap_or_else(|lock| lock.into_inner()) = plan;
    }

    fn take(&self) -> Option<Plan> {
        let mut plan = self.0.lock().unwrap_or_else(|lock| lock.into_inner());
        plan.take()
    }
}

impl Default for Site {
    fn default() -> Self {
        Self {
            message: "Before hot reload".into(),
            routes: BTreeMap::new(),
            checked: Checked::default(),
        }
    }
}

impl Default for Respond {
    fn default() -> Self {
        Self {
            status: 200,
            body: None,
            json: None,
            body_file: None,
            headers: BTreeMap::new(),
            delay: Duration::ZERO,
        }
    }
}

impl Settings for Site {
    const NAME: &'static str = "everup";
    type State = Table;

    fn check(&self, found: &mut Findings) {
        let complaints = match Plan::new(self, found.probes()) {
            Ok((plan, warnings)) => {
                self.checked.put(Some(plan));
                warnings
            }
            Err(complaints) => complaints,
        };
        for complaint in complaints {
            complaint.report(found);
        }
    }

    async fn build(&self, with: &Build) -> Result<Table, Box<dyn Error>> {
        // Built again, where a file has changed meanwhile, it is planned again too.
        let plan = match self.checked.take() {
            Some(plan) => plan,
            None => {
                let planned = Plan::new(self, &[]);
                planned
                    .map_err(|_| "the routes were checked, and yet are wrong")?
                    .0
            }
        };
        Ok(plan.open(with)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_one_that_can_be_sent() {
        let is_read = |route: &str| toml::from_str::<Route>(route).is_ok();
        for (status, of_answer, of_redirect) in [
            ("-1", false, false),
            ("199", false, false),
            ("200", true, false),
            ("301", true, true),
            ("304", true, false),
            ("308", true, true),
            ("599", true, false),
            ("600", false, false),
            ("65736", false, false),
            ("\"200\"", false, false),
        ] {
            let answer = format!("respond.status = {status}");
            assert_eq!(is_read(&answer), of_answer, "{answer}");
            let redirect = format!("redirect = \"/\"\nstatus = {status}");
            assert_eq!(is_read(&redirect), of_redirect, "{redirect}");
        }
    }
}
