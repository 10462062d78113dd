//! An author's whole service: `cargo run --example greeter -- --settings examples/greeter`
use actix_web::{App, Responder, get, middleware::Compress, web::Path};
use everup::{Build, Findings, Lifecycle, Live, Service, Settings};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{collections::HashSet, error::Error, process::ExitCode};

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(default)]
struct Greeter {
    greeting: String,
    friends: Vec<String>,
}
struct Friends(HashSet<String>);

impl Default for Greeter {
    fn default() -> Self {
        let (greeting, friends) = ("Hello".into(), Vec::new());
        Self { greeting, friends }
    }
}

impl Settings for Greeter {
    const NAME: &'static str = "greeter";
    type State = Friends;
    fn check(&self, found: &mut Findings) {
        if self.greeting.is_empty() {
            found.at("greeting", "a text that is not empty");
        }
    }
    async fn build(&self, _: &Build) -> Result<Friends, Box<dyn Error>> {
        Ok(Friends(self.friends.iter().cloned().collect()))
    }
}

#[get("/{name}")]
async fn greet(name: Path<String>, set: Live<Greeter>, friends: Live<Friends>) -> impl Responder {
    let dear = friends.0.get(&*name).map_or("", |_| "dear ");
    let (greeting, generation) = (&set.greeting, set.generation());
    format!("{greeting} {dear}{name}! generation {generation}\n")
}
#[get("/")]
async fn fares(life: Lifecycle) -> impl Responder {
    format!("to be cut at {:?}\n", life.deadline())
}

fn main() -> ExitCode {
    Service::<Greeter>::new(|| App::new().wrap(Compress::default()).service((greet, fares))).main()
}
