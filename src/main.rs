//! The program everup: the library's first user.

use std::process::ExitCode;

use actix_web::{App, web};
use everup::{
    Service,
    site::{Site, answer},
};

fn main() -> ExitCode {
    Service::<Site>::new(|| App::new().default_service(web::to(answer))).main()
}
