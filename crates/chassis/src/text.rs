//! Checks of texts in requests: their length in characters, and that they contain no control characters.

use std::ops::RangeInclusive;

use crate::FieldError;

/// Checks a text; `None` if it is valid. Its length without surrounding white space must be in `range`, its length with it
/// at most the end of `range`. Line breaks and tabs are allowed, other control characters are not.
pub fn check_text(field: impl Into<String>, value: &str, range: RangeInclusive<usize>) -> Option<FieldError> {
    check(field.into(), value, range, |char| char.is_control() && !matches!(char, '\n' | '\r' | '\t'))
}

/// As [`check_text`], for a text of one line.
pub fn check_line(field: impl Into<String>, value: &str, range: RangeInclusive<usize>) -> Option<FieldError> {
    check(field.into(), value, range, char::is_control)
}

fn check(field: String, value: &str, range: RangeInclusive<usize>, refused: fn(char) -> bool) -> Option<FieldError> {
    let (least, most) = (*range.start(), *range.end());
    // The number of bytes needs no counting, and is an upper bound of the number of characters.
    let too_long = value.len() > most && value.chars().count() > most;
    if too_long || !range.contains(&value.trim().chars().count()) {
        return Some(FieldError::new(field, "length", format!("{least} to {most} characters")));
    }
    let message = if refused('\n') { "no line breaks or control characters" } else { "no control characters" };
    value.chars().any(refused).then(|| FieldError::new(field, "characters", message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_counted_in_characters() {
        assert_eq!(check_text("a", "ÄÖÜ", 1..=3), None);
        assert_eq!(check_text("a", " \n", 0..=3), None);
        let rule = |error: Option<FieldError>| error.map(|error| error.rule);
        for bad in ["", "   ", "ÄÖÜß", " ÄÖ "] {
            assert_eq!(rule(check_text("a", bad, 1..=3)).as_deref(), Some("length"), "{bad:?}");
        }
        assert_eq!(rule(check_text("a", "a\u{0}", 1..=3)).as_deref(), Some("characters"));
        assert_eq!(rule(check_line("a", "a\nb", 1..=3)).as_deref(), Some("characters"));
        assert_eq!(check_text("a", "a\nb", 1..=3), None);
    }
}
