//! `redirect`: another address, with the pattern's own names filled in.

use actix_http::StatusCode;
use actix_web::{
    HttpResponse,
    http::{Uri, header},
};
use matchit::Params;

use super::{
    table::Complaint,
    template::{Escape, Template, Text, unknown_names},
};

/// Where to go instead.
#[derive(Debug)]
pub(super) struct Redirect {
    status: StatusCode,
    /// Up to the query.
    path: Template,
    /// The rest, with its `?` or `#`.
    query: Template,
    /// Whether the path is on this server, whatever is filled in.
    is_local: bool,
}

impl Redirect {
    /// From its settings; what is wrong with them is added.
    pub(super) fn new(
        to: &str,
        status: Option<u16>,
        names: &[String],
        wrong: &mut Vec<Complaint>,
    ) -> Option<Self> {
        let status = StatusCode::from_u16(status.unwrap_or(308));
        let status = status.expect("`schema` reads none but those of redirects");
        let (path, query) = to.split_at(to.find(['?', '#']).unwrap_or(to.len()));
        let is_local = path.starts_with('/') && !path.starts_with("//") && !path.starts_with("/\\");
        let is_valid = to.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_valid || !(is_local || is_absolute(path)) {
            // A name there would let the client choose where it is sent: an open redirect.
            let expected = "a path that begins with `/`, or an absolute address without names \
                            before its path, in ASCII without spaces";
            wrong.push(Complaint::new(".redirect", expected));
            return None;
        }
        wrong.extend(unknown_names(".redirect", to, names, Text::Line));
        Some(Self {
            status,
            path: Template::new(path, names),
            query: Template::new(query, names),
            is_local,
        })
    }

    pub(super) fn response(&self, params: &Params<'_, '_>) -> HttpResponse {
        let mut to = self.path.fill(params, Escape::Path).into_owned();
        if self.is_local && to.starts_with("//") {
            // `//name` would lead to another host, by the client's choice.
            to = format!("/{}", to.trim_start_matches('/'));
        }
        to.push_str(&self.query.fill(params, Escape::Query));
        HttpResponse::build(self.status)
            .insert_header((header::LOCATION, to))
            .finish()
    }
}

/// Whether it has a scheme and a host of its own, both spelt out.
fn is_absolute(path: &str) -> bool {
    let Some((scheme, rest)) = path.split_once("://") else {
        return false;
    };
    let (authority, _) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let is_scheme = scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https");
    let host: Option<Uri> = format!("{scheme}://{authority}/").parse().ok();
    is_scheme && !authority.contains(['{', '\\', '@']) && host.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_leads_where_its_settings_say_and_nowhere_else() {
        let names = ["a".to_owned()];
        for good in [
            "/new",
            "/",
            "/x/{a}",
            "/{a}",
            "/n?x={a}#y",
            "https://example.com",
            "http://[::1]:8/{a}",
        ] {
            let mut wrong = Vec::new();
            assert!(
                Redirect::new(good, None, &names, &mut wrong).is_some(),
                "{good}"
            );
        }
        for bad in [
            "",
            "new",
            "{a}",
            "//example.com/",
            "/\\example.com",
            "https://{a}/",
            "https://",
            "https://example.com{a}",
            "{a}://example.com/",
            "javascript://x/",
            "/a b",
            "/caf\u{e9}",
            "/a\r\nb",
        ] {
            let mut wrong = Vec::new();
            assert!(
                Redirect::new(bad, None, &names, &mut wrong).is_none(),
                "{bad}"
            );
            assert_eq!(wrong.len(), 1, "{bad}");
        }
    }

    #[test]
    fn a_client_cannot_choose_another_host() {
        let mut router = matchit::Router::new();
        router.insert("/old/{*a}", ()).expect("a good pattern");
        let redirect = Redirect::new("/{a}", None, &["a".to_owned()], &mut Vec::new());
        let redirect = redirect.expect("a good one");
        for (path, expected) in [
            ("/old/x%20y", "/x%20y"),
            ("/old//evil.example/", "/evil.example/"),
            ("/old/\\evil.example", "/%5Cevil.example"),
        ] {
            let found = router.at(path).expect("it matches");
            let response = redirect.response(&found.params);
            assert_eq!(
                response.headers().get("location").expect("a redirect"),
                expected,
                "{path}"
            );
        }
    }
}
