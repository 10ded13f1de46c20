//! Keys that are made of several texts.

use aws_lc_rs::digest::{Context, SHA256};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};

/// A key made of texts that clients may choose: other texts, or other boundaries between them, make another key. It is the SHA-256
/// of the texts, each after its length in bytes, in URL-safe base64 (43 characters, letters, digits, `-` and `_`).
pub fn compound_key<'a>(parts: impl IntoIterator<Item = &'a str>) -> String {
    let mut hash = Context::new(&SHA256);
    for part in parts {
        hash.update(&(part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    BASE64_URL_SAFE_NO_PAD.encode(hash.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_boundaries_make_another_key() {
        let splits: [&[&str]; 5] = [&["a:b", "c"], &["a", "b:c"], &["a:b:c"], &["a", "b", "c"], &["a:b", "c", ""]];
        let keys: std::collections::BTreeSet<String> =
            splits.iter().map(|parts| compound_key(parts.iter().copied())).collect();
        assert_eq!(keys.len(), splits.len());
        assert_eq!(compound_key(["a", "b"]), compound_key(["a", "b"]));
        assert!(keys.iter().all(|key| key.len() == 43));
    }
}
