//! Comments in JSON: from `#` to the end of the line, outside texts. Two documented requests of the old fleet have them.

/// The state of the scanner.
#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    Code,
    Text,
    /// In a text, behind a backslash.
    Escape,
    Comment,
}

/// The same bytes with blanks for comments, so that positions in parse errors stay correct.
pub(super) fn blanked(json: &[u8]) -> Vec<u8> {
    let mut at = At::Code;
    json.iter()
        .map(|byte| {
            at = match (at, byte) {
                (At::Code, b'#') => At::Comment,
                (At::Code, b'"') | (At::Escape, _) => At::Text,
                (At::Text, b'\\') => At::Escape,
                (At::Text, b'"') | (At::Comment, b'\n' | b'\r') => At::Code,
                (same, _) => same,
            };
            if at == At::Comment { b' ' } else { *byte }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::blanked;

    fn read(text: &str) -> Value {
        let blanked = blanked(text.as_bytes());
        assert_eq!(blanked.len(), text.len());
        serde_json::from_slice(&blanked).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn comments_are_blanks() {
        assert_eq!(read("{\"a\": 1} # at the end"), json!({"a": 1}));
        assert_eq!(read("# before\n{\"a\": 1, # \"b\": 2\n\"c\": 3}"), json!({"a": 1, "c": 3}));
        assert_eq!(read("{\"a\": # one\r\n1}\r\n"), json!({"a": 1}));
        assert_eq!(read("{\"a\": # one\r1}"), json!({"a": 1}));
        assert_eq!(read("{#\n}"), json!({}));
        assert_eq!(read("{\"a\": 1 # a # again \" ' \\ é\n}"), json!({"a": 1}));
    }

    #[test]
    fn what_stands_in_a_text_is_no_comment() {
        assert_eq!(read("{\"a\": \"x # y\"}"), json!({"a": "x # y"}));
        assert_eq!(read("{\"#a\": \"#\" # one\n}"), json!({"#a": "#"}));
        assert_eq!(read(r##"{"a": "say \"#\" # \\"} # \" end"##), json!({"a": "say \"#\" # \\"}));
        assert_eq!(read("{\"a\": \"\\\\\"} # a text that ends with a backslash"), json!({"a": "\\"}));
    }

    #[test]
    fn what_has_none_stays_as_it_is() {
        let plain = br#"{"produits":[{"id":"produit_1","qte":1}]}"#;
        assert_eq!(blanked(plain), plain);
        assert_eq!(blanked(b""), b"");
    }
}
