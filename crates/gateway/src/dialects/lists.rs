//! Lists of the API for dialects: numbered pages of any size, whole lists, resources by their number.

use serde::de::DeserializeOwned;

use super::{
    api_client::{ApiRequest, ApiResponse},
    model::Page,
};

/// Rows of one request to the API.
const PAGE_ROWS: u64 = 100;
/// Most rows of one response of a dialect. The older fleets had no limit.
const MAX_ROWS: u64 = 1_000;
/// The number of rows that numbered pages of the API reach.
const MAX_DEPTH: u64 = 10_000;
/// Most rows of a whole list.
const MAX_LIST: usize = 10_000;

/// A range of a list.
#[derive(Debug)]
pub(crate) struct Range<T> {
    /// The rows of the range.
    pub(crate) rows: Vec<T>,
    /// The number of rows in the whole list.
    pub(crate) total: u64,
}

/// Rows `first..first + count` of a list; `request` makes a request for the list.
pub(crate) async fn range<'a, T: DeserializeOwned>(
    request: impl Fn() -> ApiRequest<'a>,
    first: u64,
    count: u64,
) -> Result<Range<T>, ApiResponse> {
    // Beyond the depth of numbered pages only the total is needed.
    let first = first.min(MAX_DEPTH);
    let count = count.min(MAX_ROWS).min(MAX_DEPTH - first);
    // One page of the API that is the whole range, if there is one; else pages of a hundred.
    let size = if count > 0 && count <= PAGE_ROWS && first.is_multiple_of(count) { count } else { PAGE_ROWS };
    let (mut rows, mut total) = (Vec::new(), 0);
    let last = first.saturating_add(count.max(1)) - 1;
    let pages = if first == MAX_DEPTH { 0..=0 } else { first / size..=last / size };
    for number in pages {
        let request = request().query("limit", size).query("page", number + 1).query("include_total", true);
        let page: Page<T> = request.send().await.ok()?;
        total = page.total;
        let begin = number * size;
        let is_wanted = |index: usize| (first..first + count).contains(&(begin + index as u64));
        let is_last = (page.data.len() as u64) < size;
        rows.extend(page.data.into_iter().enumerate().filter(|(index, _)| is_wanted(*index)).map(|(_, row)| row));
        if is_last {
            break;
        }
    }
    Ok(Range { rows, total })
}

/// All rows of a list, at most ten thousand.
pub(crate) async fn all<'a, T: DeserializeOwned>(request: impl Fn() -> ApiRequest<'a>) -> Result<Vec<T>, ApiResponse> {
    let (mut rows, mut cursor) = (Vec::new(), None::<String>);
    loop {
        let request = request().query("limit", PAGE_ROWS).maybe("cursor", cursor.as_deref());
        let page: Page<T> = request.send().await.ok()?;
        rows.extend(page.data);
        match page.next_cursor {
            Some(next) if rows.len() < MAX_LIST => cursor = Some(next),
            _ => return Ok(rows),
        }
    }
}

/// The newest rows of a list that begins with them, at most ten thousand, in ascending order as the older fleets listed them.
pub(crate) async fn all_oldest_first<'a, T: DeserializeOwned>(
    request: impl Fn() -> ApiRequest<'a>,
) -> Result<Vec<T>, ApiResponse> {
    let mut rows = all(request).await?;
    rows.reverse();
    Ok(rows)
}

/// The row with this number; `request` is for a list with the filter `number`.
pub(crate) async fn by_number<T: DeserializeOwned>(
    request: ApiRequest<'_>,
    number: i64,
) -> Result<Option<T>, ApiResponse> {
    first(request.query("number", number)).await
}

/// The first row of a list.
pub(crate) async fn first<T: DeserializeOwned>(request: ApiRequest<'_>) -> Result<Option<T>, ApiResponse> {
    let page: Page<T> = request.query("limit", 1).send().await.ok()?;
    Ok(page.data.into_iter().next())
}
