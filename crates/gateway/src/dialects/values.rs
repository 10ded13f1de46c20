//! Single values in requests of older fleets, whose clients send numbers as texts and texts as numbers.

use serde_json::Value;

/// A text without surrounding space, or a number as a text. `None` for an empty text.
pub(crate) fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if !text.trim().is_empty() => Some(text.trim().to_owned()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// A whole number, or a text that is one.
pub(crate) fn whole(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn ids_are_texts_and_counts_are_numbers_however_they_are_sent() {
        let texts = [json!(7), json!(" 7 "), json!("TEA"), json!(" "), json!(null), json!([7]), json!(true)];
        let read = texts.iter().map(text).collect::<Vec<_>>();
        assert_eq!(read, [Some("7".into()), Some("7".into()), Some("TEA".into()), None, None, None, None]);
        let numbers = [json!(7), json!(" 7 "), json!("-7"), json!(7.5), json!("seven"), json!(null)];
        assert_eq!(numbers.each_ref().map(whole), [Some(7), Some(7), Some(-7), None, None, None]);
    }
}
