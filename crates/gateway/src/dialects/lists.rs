//! What dialects share about lists: numbered pages of any size, whole lists, things found by their small number.

use serde_json::Value;

use super::api_client::{ApiRequest, ApiResponse};

/// Rows of one question to the house.
const AT_ONCE: u64 = 100;
/// Most rows of one answer: the older fleets had no limit, and no client that asked for more.
const MOST: u64 = 1_000;
/// How deep numbered pages of the house reach.
const FARTHEST: u64 = 10_000;
/// Most rows of a whole list.
const WHOLE: usize = 10_000;

/// A part of a list.
#[derive(Debug)]
pub(crate) struct Part {
    /// The rows.
    pub(crate) rows: Vec<Value>,
    /// All that there are.
    pub(crate) total: u64,
}

/// Rows `first..first + count` of a list; `ask` makes the question.
pub(crate) async fn part<'a>(
    request: impl Fn() -> ApiRequest<'a>,
    first: u64,
    count: u64,
) -> Result<Part, ApiResponse> {
    // Nobody has so many rows; what lies beyond is asked for nothing but the total.
    let first = first.min(FARTHEST);
    let count = count.min(MOST).min(FARTHEST - first);
    // A page of the house that holds them all, where there is one; else pages of a hundred.
    let size = if count > 0 && count <= AT_ONCE && first.is_multiple_of(count) { count } else { AT_ONCE };
    let (mut rows, mut total) = (Vec::new(), 0);
    let last = first.saturating_add(count.max(1)) - 1;
    let pages = if first == FARTHEST { 0..=0 } else { first / size..=last / size };
    for page in pages {
        let response =
            request().query("limit", size).query("page", page + 1).query("include_total", true).send().await.ok()?;
        total = response["total"].as_u64().unwrap_or_default();
        let Value::Array(data) = response["data"].clone() else { break };
        let begins = page * size;
        let wanted = |index: usize| (first..first + count).contains(&(begins + index as u64));
        let short = (data.len() as u64) < size;
        rows.extend(data.into_iter().enumerate().filter(|(index, _)| wanted(*index)).map(|(_, row)| row));
        if short {
            break;
        }
    }
    Ok(Part { rows, total })
}

/// All rows of a list, at most ten thousand.
pub(crate) async fn whole<'a>(request: impl Fn() -> ApiRequest<'a>) -> Result<Vec<Value>, ApiResponse> {
    let (mut rows, mut cursor) = (Vec::new(), None::<String>);
    loop {
        let response = request().query("limit", AT_ONCE).maybe("cursor", cursor.as_deref()).send().await.ok()?;
        if let Value::Array(data) = &response["data"] {
            rows.extend(data.iter().cloned());
        }
        match response["next_cursor"].as_str() {
            Some(next) if rows.len() < WHOLE => cursor = Some(next.to_owned()),
            _ => return Ok(rows),
        }
    }
}

/// The newest rows of a list that begins with them, at most ten thousand; the oldest of them first, as the older fleets told them.
pub(crate) async fn from_oldest<'a>(request: impl Fn() -> ApiRequest<'a>) -> Result<Vec<Value>, ApiResponse> {
    let mut rows = whole(request).await?;
    rows.reverse();
    Ok(rows)
}

/// The row that has this number; `ask` is for a list of such things.
pub(crate) async fn numbered(request: ApiRequest<'_>, number: i64) -> Result<Option<Value>, ApiResponse> {
    one(request.query("number", number)).await
}

/// The first row of a list.
pub(crate) async fn one(request: ApiRequest<'_>) -> Result<Option<Value>, ApiResponse> {
    let response = request.query("limit", 1).send().await.ok()?;
    Ok(response["data"].get(0).cloned())
}
