//! The tables of docs/operations.md say of every setting what the code says: its name, and its default.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

const DOCS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/operations.md");

/// Field and default of each row under a heading.
fn rows(text: &str, heading: &str) -> BTreeMap<String, String> {
    let section = text.split("\n### ").find(|section| section.starts_with(heading)).unwrap_or_default();
    let cells = section.lines().filter_map(|line| line.strip_prefix("| `")).filter_map(|line| line.split_once("` | "));
    cells.filter_map(|(field, rest)| Some((field.to_owned(), rest.split(" | ").next()?.to_owned()))).collect()
}

/// A default as the tables write it.
fn written(value: &Value) -> String {
    match value {
        Value::Null => "none".to_owned(),
        Value::String(text) if text.is_empty() => "none".to_owned(),
        Value::String(text) => format!("`{text}`"),
        Value::Array(items) => match items.as_slice() {
            [] => "empty".to_owned(),
            items => items.iter().map(written).collect::<Vec<_>>().join(", "),
        },
        Value::Object(fields) if fields.is_empty() => "`{}`".to_owned(),
        Value::Bool(_) => format!("`{value}`"),
        other => other.as_f64().map_or_else(|| other.to_string(), |number| number.to_string()),
    }
}

fn differences<C: Default + Serialize>(text: &str, service: &str) -> Vec<String> {
    let (common, own) = (rows(text, "Every service"), rows(text, service));
    let Ok(Value::Object(fields)) = serde_json::to_value(C::default()) else { panic!("{service} has no settings") };
    let mut wrong = Vec::new();
    for (field, value) in &fields {
        // These differ from service to service, and the table says so.
        if ["port", "database_url"].contains(&field.as_str()) {
            continue;
        }
        let said = own.get(field).or_else(|| common.get(field));
        let Some(said) = said else {
            wrong.push(format!("{service}.{field} is not in docs/operations.md"));
            continue;
        };
        // What is in brackets is said of other ways to run it.
        let plain = said.split(" (").next().unwrap_or_default().split("; ").next().unwrap_or_default();
        if plain != written(value) {
            wrong.push(format!("{service}.{field} is {}, and docs/operations.md says {said}", written(value)));
        }
    }
    wrong.extend(
        own.keys().filter(|field| !fields.contains_key(*field)).map(|field| format!("{service} has no {field}")),
    );
    wrong
}

#[test]
fn every_setting_stands_in_the_tables_with_its_default() {
    let text = std::fs::read_to_string(DOCS).expect("docs/operations.md");
    let wrong = [
        differences::<gateway::Config>(&text, "gateway"),
        differences::<customer::Config>(&text, "customer"),
        differences::<product::Config>(&text, "product"),
        differences::<order::Config>(&text, "order"),
        differences::<stock::Config>(&text, "stock"),
        differences::<payment::Config>(&text, "payment"),
        differences::<notification::Config>(&text, "notification"),
    ]
    .concat();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
