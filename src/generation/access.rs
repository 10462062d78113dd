//! Who may use the admin API, by the settings of a generation. `admin` applies it to requests.

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

/// `[admin]`, as far as each request is held to it.
pub(crate) struct Access {
    /// What `Authorization` must bear, where anything.
    pub(crate) token: Option<Token>,
    /// Names that `Host` may carry beside those that are nobody else's.
    pub(crate) hosts: Vec<String>,
}

/// The admin API's token. Only its hash is kept: it cannot be shown by mistake, and tokens of
/// different lengths take the same time to compare.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Token([u8; 32]);

/// Bytes that a token has at least: fewer can be guessed.
const LEAST: usize = 16;

/// And at the most: more than fit into a request's head.
const MOST: usize = 4096;

impl Token {
    /// The token that a file holds.
    ///
    /// # Errors
    /// What was expected, and what was found.
    pub(crate) fn of(content: &[u8]) -> Result<Self, String> {
        let end = content.iter().rposition(|byte| !b"\r\n".contains(byte));
        let token = &content[..end.map_or(0, |last| last + 1)];
        if !token.iter().all(u8::is_ascii_graphic) {
            return Err("expected a token of visible ASCII characters on one line".to_owned());
        }
        if !(LEAST..=MOST).contains(&token.len()) {
            let found = token.len();
            return Err(format!(
                "expected a token of {LEAST} to {MOST} bytes, found {found}"
            ));
        }
        Ok(Self(Sha256::digest(token).into()))
    }

    /// Whether these are its bytes; takes as long either way.
    pub(crate) fn is(&self, presented: &[u8]) -> bool {
        let presented: [u8; 32] = Sha256::digest(presented).into();
        self.0.ct_eq(&presented).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_its_line_without_the_end() {
        let Ok(token) = Token::of(b"0123456789abcdef\r\n") else {
            panic!("it is long enough");
        };
        assert!(token.is(b"0123456789abcdef"));
        for other in [
            "",
            "0123456789abcde",
            "0123456789abcdef\n",
            "0123456789abcdeg",
        ] {
            assert!(!token.is(other.as_bytes()), "{other:?}");
        }
    }

    #[test]
    fn what_can_be_guessed_or_not_be_sent_is_no_token() {
        let long = "a".repeat(MOST + 1);
        for (text, reason) in [
            ("", "found 0"),
            ("0123456789abcde\n\n\n", "found 15"),
            ("0123456789abcdef\n0123456789abcdef", "on one line"),
            ("0123456789 abcdef", "visible"),
            ("0123456789abcdéf", "visible"),
            (&long, "found 4097"),
        ] {
            let error = Token::of(text.as_bytes()).map(drop).expect_err(text);
            assert!(error.contains(reason), "{error}");
        }
    }
}
