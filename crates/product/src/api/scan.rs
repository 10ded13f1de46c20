//! A check of a query before it is parsed: the parser takes one stack frame per bracket.

/// Far deeper than any query that the depth limit lets through, far shallower than the stack.
const MAX_BRACKETS: usize = 64;
/// Longer than a query that names a thousand ids.
const MAX_BYTES: usize = 256 * 1024;

/// Refuses a query that would overflow the parser's stack.
pub(super) fn check(query: &str) -> Result<(), &'static str> {
    if query.len() > MAX_BYTES {
        return Err("The query is too long.");
    }
    let (mut open, mut rest) = (0usize, query.as_bytes());
    while let Some((byte, tail)) = rest.split_first() {
        rest = tail;
        match byte {
            b'{' | b'[' | b'(' => open += 1,
            b'}' | b']' | b')' => open = open.saturating_sub(1),
            b'"' => rest = after_string(rest),
            b'#' => {
                rest = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')).map_or(&[][..], |end| &rest[end..])
            }
            _ => {}
        }
        if open > MAX_BRACKETS {
            return Err("The query is nested too deep.");
        }
    }
    Ok(())
}

/// Skips a string after its opening quote; brackets in it have no meaning.
fn after_string(rest: &[u8]) -> &[u8] {
    if let Some(block) = rest.strip_prefix(b"\"\"") {
        let mut at = 0;
        while at + 3 <= block.len() {
            match &block[at..] {
                [b'\\', b'"', b'"', b'"', ..] => at += 4,
                [b'"', b'"', b'"', ..] => return &block[at + 3..],
                _ => at += 1,
            }
        }
        // Either an unfinished block string, or an empty string at the end.
        return block;
    }
    let mut escaped = false;
    for (at, byte) in rest.iter().enumerate() {
        match byte {
            // A string ends with its line; the parser reports it.
            b'\n' => return &rest[at..],
            b'"' if !escaped => return &rest[at + 1..],
            b'\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    &[]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_real_nesting_is_refused() {
        let brackets = "{".repeat(100);
        for fine in [
            "{products{id}}".to_owned(),
            format!("{{a(x: \"{brackets}\")}}"),
            format!("{{a(x: \"\\\"{brackets}\")}}"),
            format!("{{a(x: \"\"\"{brackets} \\\"\"\" {brackets}\"\"\")}}"),
            format!("# {brackets}\n{{a}}"),
            "{a(x: \"\")}".repeat(100),
        ] {
            assert_eq!(check(&fine), Ok(()), "{fine}");
        }
        for deep in [
            brackets.clone(),
            format!("\"\" {brackets}"),
            format!("\"\n{brackets}"),
            format!("#\n{brackets}"),
            "[".repeat(1000),
            format!("\"\"\"{brackets}"),
        ] {
            assert!(check(&deep).is_err(), "{deep}");
        }
        assert!(check(&" ".repeat(MAX_BYTES + 1)).is_err());
    }
}
