//! A check of a query's text before it is parsed: the parser takes one stack frame per bracket, and time and memory per token.

/// Far deeper than any query that the depth limit lets through, far shallower than the stack.
const MAX_BRACKETS: usize = 64;
/// Longer than a query that names a thousand ids.
const MAX_BYTES: usize = 256 * 1024;
/// Names, numbers, strings and punctuators. A query that names a thousand ids has 1,000 and a few.
const MAX_TOKENS: usize = 15_000;
/// Bytes of a name. Error messages repeat names, each as often as it stands in the query.
const MAX_WORD: usize = 200;

/// Refuses a query that would overflow the parser's stack, keep it busy for long, or be repeated by error messages.
pub(super) fn check(query: &str) -> Result<(), &'static str> {
    if query.len() > MAX_BYTES {
        return Err("The query is too long.");
    }
    let (mut open, mut tokens, mut rest) = (0usize, 0usize, query.as_bytes());
    while let Some((byte, tail)) = rest.split_first() {
        let token = rest;
        rest = tail;
        match byte {
            b' ' | b'\t' | b'\r' | b'\n' | b',' => continue,
            b'#' => {
                rest = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')).map_or(&[][..], |end| &rest[end..]);
                continue;
            }
            b'{' | b'[' | b'(' => open += 1,
            b'}' | b']' | b')' => open = open.saturating_sub(1),
            b'"' => rest = after_string(rest),
            b'.' => rest = after(token, |byte| byte == b'.'),
            byte if is_word(*byte) => {
                rest = after(token, is_word);
                if token.len() - rest.len() > MAX_WORD {
                    return Err("The query has a name or a number that is too long.");
                }
            }
            _ => {}
        }
        tokens += 1;
        if open > MAX_BRACKETS {
            return Err("The query is nested too deep.");
        }
        if tokens > MAX_TOKENS {
            return Err("The query has more than 15000 tokens.");
        }
    }
    Ok(())
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// What follows the bytes of a kind.
fn after(text: &[u8], kind: impl Fn(u8) -> bool) -> &[u8] {
    text.iter().position(|byte| !kind(*byte)).map_or(&[][..], |end| &text[end..])
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

    #[test]
    fn tokens_and_the_bytes_of_a_name_are_bounded() {
        let ids = r#"{productsByIds(ids:["#.to_owned() + &r#""TEA-ASSAM-250", "#.repeat(1_000) + "]){id}}";
        assert_eq!(check(&ids), Ok(()));
        assert_eq!(check(&("{a(x:\"".to_owned() + &"a ".repeat(MAX_TOKENS) + "\")}")), Ok(()), "a string is one token");
        assert_eq!(check(&("#".to_owned() + &"a ".repeat(MAX_TOKENS))), Ok(()), "a comment is none");
        assert_eq!(check(&"...a ".repeat(MAX_TOKENS / 2)), Ok(()), "a spread is two");
        for long in ["a ", "...", ":,", "\"\" ", "1 "] {
            let text = long.repeat(MAX_TOKENS + 1);
            assert!(check(&text.replace("...", "... ")).is_err(), "{long}");
        }
        assert_eq!(check(&"a".repeat(MAX_WORD)), Ok(()));
        assert!(check(&"a".repeat(MAX_WORD + 1)).is_err());
        assert!(check(&"1".repeat(MAX_WORD + 1)).is_err());
    }
}
