//! The program's table `[app]`: a message, and routes.

use std::{collections::BTreeMap, error::Error, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::table::{Complaint, Table};
use crate::settings::{Build, Findings, Settings, duration};

/// What the program `everup` answers.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Site {
    /// Answered at `/`, where no route `/` takes its place; default `"Before hot reload"`.
    pub message: String,
    /// Routes by their pattern: `{name}` matches one segment, `{name}*` at the end the rest, the
    /// empty rest too. Default: none.
    pub routes: BTreeMap<String, Route>,
}

/// One route.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Route {
    /// The answer. No default.
    pub respond: Respond,
}

/// An answer that is always the same, but for the pattern's own names in it.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Respond {
    /// From 200 to 599; default 200.
    pub status: u16,
    /// `{name}` stands for what the pattern's `{name}` matched, escaped as the content type
    /// demands; other braces stay. Default: empty.
    pub body: String,
    /// Default: a `content-type` of plain text.
    pub headers: BTreeMap<String, String>,
    /// Waited for before the answer; default `"0s"`.
    #[serde(with = "duration")]
    #[schemars(with = "String")]
    pub delay: Duration,
}

impl Default for Site {
    fn default() -> Self {
        Self {
            message: "Before hot reload".into(),
            routes: BTreeMap::new(),
        }
    }
}

impl Default for Respond {
    fn default() -> Self {
        Self {
            status: 200,
            body: String::new(),
            headers: BTreeMap::new(),
            delay: Duration::ZERO,
        }
    }
}

impl Settings for Site {
    const NAME: &'static str = "everup";
    type State = Table;

    fn check(&self, found: &mut Findings) {
        let complaints = Table::build(self).err().unwrap_or_default();
        for Complaint { key, expected } in complaints {
            found.at(&key, expected);
        }
    }

    async fn build(&self, _: &Build) -> Result<Table, Box<dyn Error>> {
        Table::build(self).map_err(|_| "the routes were checked, and yet are wrong".into())
    }
}
