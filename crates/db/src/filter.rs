//! Conditions that are composed at run time.

use crate::{Query, Result, Tx, Value, query};

/// The `where` clause of a list: conditions joined by `and`, with their parameters.
///
/// ```
/// let mut filter = db::Filter::new("archived = 0");
/// filter.and("place_id in {list ?}", vec!["a".to_owned()]);
/// filter.and("number > ?", 7);
/// let query = filter.query("select id from orders where {where} order by number limit ?", [20.into()]);
/// assert_eq!(
///     format!("{query:?}").contains(
///         "select id from orders where archived = 0 and place_id in {list $1} and number > $2 order by number limit $3"
///     ),
///     true
/// );
/// ```
#[derive(Debug, Clone)]
pub struct Filter {
    text: String,
    values: Vec<Value>,
}

impl Filter {
    /// Starts with a condition without parameters, such as `1 = 1`.
    pub fn new(condition: &str) -> Self {
        Self { text: condition.to_owned(), values: Vec::new() }
    }

    /// Adds a condition with one parameter, written `?`.
    pub fn and(&mut self, condition: &str, value: impl Into<Value>) {
        self.and_all(condition, [value.into()]);
    }

    /// Adds a condition with several parameters, each written `?`.
    pub fn and_all(&mut self, condition: &str, values: impl IntoIterator<Item = Value>) {
        self.text.push_str(" and ");
        append(&mut self.text, &mut self.values, condition, values);
    }

    /// Adds a condition without parameters.
    pub fn and_plain(&mut self, condition: &str) {
        self.text.push_str(" and ");
        self.text.push_str(condition);
    }

    /// Adds the condition that a lower-case column contains a text; wildcards in the text are escaped.
    pub fn and_contains(&mut self, column: &str, text: &str) {
        let mut pattern = String::from("%");
        for char in text.to_lowercase().chars() {
            if matches!(char, '%' | '_' | '\\') {
                pattern.push('\\');
            }
            pattern.push(char);
        }
        pattern.push('%');
        self.and(&format!("{column} like ? escape '\\'"), pattern);
    }

    /// Counts the rows of a table that match.
    pub async fn count(&self, table: &str, tx: &mut Tx) -> Result<u64> {
        let row = self.query(&format!("select count(*) as n from {table} where {{where}}"), []).fetch_one(tx).await?;
        Ok(u64::try_from(row.get::<i64>("n")?).unwrap_or(0))
    }

    /// Builds a statement: `{where}` becomes the conditions, each `?` after it a parameter from `more`.
    pub fn query(&self, text: &str, more: impl IntoIterator<Item = Value>) -> Query {
        let (head, tail) = text.split_once("{where}").unwrap_or((text, ""));
        let mut values = self.values.clone();
        let mut out = format!("{head}{}", self.text);
        append(&mut out, &mut values, tail, more);
        values.into_iter().fold(query(out), Query::bind)
    }
}

/// Appends a text and numbers its parameters, written `?`, after the existing ones.
fn append(out: &mut String, values: &mut Vec<Value>, text: &str, more: impl IntoIterator<Item = Value>) {
    let mut parts = text.split('?');
    out.push_str(parts.next().unwrap_or_default());
    for (part, value) in parts.zip(more) {
        values.push(value);
        out.push_str(&format!("${}{part}", values.len()));
    }
}
