use std::time::{Duration, Instant};

use proptest::prelude::*;
use serde_json::json;

use super::*;

/// Much longer than the check takes, much shorter than following each spread.
const SOON: Duration = Duration::from_secs(2);

fn measured(query: &str, variables: serde_json::Value) -> Result<usize, String> {
    let begun = Instant::now();
    let variables = serde_json::from_value(variables).unwrap();
    let checked = check(query, &variables, true).map(|checked| checked.cost).map_err(|error| error.message);
    assert!(begun.elapsed() < SOON, "{:?} for {query:.100}", begun.elapsed());
    checked
}

fn cost(query: &str) -> usize {
    measured(query, json!({})).unwrap_or_else(|error| panic!("{query:.200}: {error}"))
}

#[track_caller]
fn refused(query: &str, why: &str) {
    let error = measured(query, json!({})).expect_err(&query[..query.len().min(200)]);
    assert!(error.contains(why), "{error}");
}

/// Fragments that each spread the next one so many times.
fn fragments(deep: usize, times: usize) -> String {
    let each = |n: usize| format!("fragment f{n} on Query {{{}}}", format!("...f{} ", n + 1).repeat(times));
    (0..deep).map(each).collect::<String>() + &format!("fragment f{deep} on Query {{__typename}}")
}

#[test]
fn fragments_that_double_are_refused_at_once() {
    refused(&("{...f0}".to_owned() + &fragments(25, 2)), "comes to too much");
    refused(&("{products{id}}".to_owned() + &fragments(25, 2)), "comes to too much");
    refused(&("{...f0}".to_owned() + &fragments(3, 100)), "comes to too much");
    refused(&("query a{...f0}query b{...f0}".to_owned() + &fragments(11, 2)), "comes to too much");
    cost(&("{...f0}".to_owned() + &fragments(8, 2)));
}

#[test]
fn fragments_that_lead_far_or_back_are_refused() {
    refused(&("{...f0}".to_owned() + &fragments(40, 1)), "levels deep");
    // The fragments that nothing spreads are followed by validation, too.
    refused(&("{products{id}}".to_owned() + &fragments(40, 1)), "levels deep");
    refused(&("{products{id}}".to_owned() + &fragments(1_500, 1)), "more than 100 fragments");
    refused("{...a} fragment a on Query{...a}", "spreads itself");
    refused(
        "{...a} fragment a on Query{...b} fragment b on Query{products{...c}} fragment c on Product{...a}",
        "spreads itself",
    );
    cost(&("{...f0}".to_owned() + &fragments(20, 1)));
    // As deep from the root as from the fragment that is measured first.
    let levels = "products{".repeat(20);
    refused(&format!("{{{levels}...f0{}}}{}", "}".repeat(20), fragments(15, 1)), "levels deep");
    // The scanner of brackets and the parser's own limit come before.
    assert!(measured(&("{a".repeat(60) + &"}".repeat(60)), json!({})).is_err());
}

#[test]
fn fields_beside_each_other_count_as_often_as_they_are_compared() {
    let set = "id ".repeat(1_000);
    let spreads = |count: usize| (0..count).map(|n| format!("p{n}:product(id:1){{...f}}")).collect::<String>();
    refused(&format!("{{{}}} fragment f on Product {{{set}}}", spreads(400)), "comes to too much");
    // Arguments are compared with those of each field of the same name.
    let arguments = (0..32).map(|n| format!("a{n}:1 ")).collect::<String>();
    refused(&format!("{{products{{id({arguments}) {}}}}}", "id ".repeat(700)), "comes to too much");
    refused(&format!("{{products({}){{id}}}}", "a:1 ".repeat(33)), "more than 32 arguments");
    // Each inline fragment is looked at again from each that it stands in.
    refused(
        &format!("{{products{{{}{}{}}}}}", "...{".repeat(28), "id ".repeat(900), "}".repeat(28)),
        "comes to too much",
    );
}

#[test]
fn directives_and_fields_of_the_root_are_bounded() {
    refused(&format!("{{products{}{{id}}}}", "@skip(if:false)".repeat(33)), "more than 32 directives");
    let fields = format!("id{} ", "@a(b:1)".repeat(32)).repeat(60);
    refused(&format!("{{products{{...f ...f ...f}}}} fragment f on Product{{{fields}}}"), "comes to too much");
    refused(&format!("query {} {{products{{id}}}}", "@a".repeat(33)), "directives");
    refused(&format!("{{...f}} fragment f on Query {} {{products{{id}}}}", "@a".repeat(33)), "directives");
    let aliases = |count: usize| (0..count).map(|n| format!("a{n}:product(id:1){{id}}")).collect::<String>();
    refused(&format!("{{{}}}", aliases(501)), "fields of the root");
    refused(
        &format!("{{...f ...g}} fragment f on Query{{{0}}} fragment g on Query{{{0}}}", aliases(260)),
        "fields of the root",
    );
    cost(&format!("{{{}}}", aliases(500)));
}

#[test]
fn a_variable_counts_wherever_it_is_used() {
    let uses = |count: usize| (0..count).map(|n| format!("a{n}:productsByIds(ids:$ids){{id}}")).collect::<String>();
    let query = |count: usize| format!("query($ids:[ID!]!){{{}}}", uses(count));
    let ids = json!({ "ids": vec!["TEA-ASSAM-250"; 1_000] });
    assert!(measured(&query(15), ids.clone()).is_ok());
    assert!(measured(&query(30), ids.clone()).unwrap_err().contains("comes to too much"));
    // Validation copies also one that is not declared.
    assert!(measured(&format!("{{{}}}", uses(30)), ids).unwrap_err().contains("comes to too much"));
    assert!(measured(&query(200), json!({ "ids": ["x".repeat(100_000)] })).is_err(), "a long text");
    let list = r#""TEA" "#.repeat(1_000);
    refused(&format!("query($ids:[ID!]=[{list}]){{{}}}", uses(30)), "comes to too much");
    refused(&format!("query a($ids:[ID!]=[{list}]){{products{{id}}}} query b($ids:[ID!]){{{}}}", uses(30)), "too much");
    // What is not used is not copied.
    assert!(measured("{products{id}}", json!({ "ids": vec![1; 100_000] })).is_ok());
}

#[test]
fn a_type_of_a_variable_that_does_not_exist_is_an_error() {
    for query in [
        "query($a:[Bogus]=[1]){products{id}}",
        "query($a:[[Bogus!]!]){products{id}}",
        "query($a:products=1){products{id}}",
    ] {
        refused(query, "Unknown input type");
    }
    let sdl = super::super::sdl();
    assert!(
        !sdl.contains("\ninput ") && !sdl.contains("\nenum ") && !sdl.contains("\nscalar "),
        "add it to INPUT_TYPES"
    );
}

#[test]
fn lists_of_the_schema_within_each_other_multiply() {
    let wide = (0..600).map(|n| format!("a{n}:name ")).collect::<String>();
    refused(&format!("{{__schema{{types{{fields{{{wide}}}}}}}}}"), "of the schema");
    refused("{__schema{types{fields{type{ofType{fields{type{fields{type{fields{name}}}}}}}}}}}", "of the schema");
    cost("{__schema{types{fields{type{ofType{fields{name}}}}}}}");
    for (list, _) in INTROSPECTED_LISTS {
        assert!(
            !super::super::sdl().contains(&format!("\t{list}")),
            "{list} is a field of the schema, and costs too much"
        );
    }
}

#[test]
fn the_schema_is_told_only_where_that_is_on() {
    for query in [
        "{__schema{queryType{name}}}",
        "{a:__type(name:\"Product\"){name}}",
        "{...f} fragment f on Query{...{__schema{types{name}}}}",
    ] {
        let off = check(query, &Variables::default(), false).unwrap_err();
        assert_eq!(off.message, "Introspection is off here.");
        cost(query);
    }
    assert!(check("{__typename products{__typename id}}", &Variables::default(), false).is_ok());
}

#[test]
fn what_the_fleet_asks_is_small_and_is_handled_without_another_thread() {
    for query in [
        "{products{id name price description}}",
        "query($ids:[ID!]!){productsByIds(ids:$ids){id name price currency active}}",
        "query($id:ID!){product(id:$id){id number name description category price currency active version}}",
        "mutation($id:ID!,$name:String!,$price:Float!){addProduct(id:$id,name:$name,price:$price){id}}",
        "query($s:String,$f:Int!){catalog(search:$s,first:$f){edges{cursor node{id name}} pageInfo{hasNextPage endCursor} totalCount}}",
    ] {
        assert!(cost(query) < 200, "{query}: {}", cost(query));
    }
    let query = "query($ids:[ID!]!){productsByIds(ids:$ids){id name price currency active}}";
    let most = measured(query, json!({ "ids": vec!["x".repeat(64); 1_000] })).unwrap();
    assert!(most < super::super::endpoint::SMALL_COST, "{most}");
}

#[test]
fn the_operation_that_is_executed_decides_whether_it_is_a_query() {
    let document = |query: &str| check(query, &Variables::default(), true).unwrap().document;
    let two = document("query a{products{id}} mutation b{deleteProduct(id:1){id}}");
    assert!(is_query(&two, Some("a")));
    assert!(!is_query(&two, Some("b")));
    assert!(!is_query(&two, None));
    assert!(is_query(&two, Some("c")), "there is none; the schema says so");
    assert!(is_query(&document("{products{id}}"), None));
    assert!(!is_query(&document("mutation{deleteProduct(id:1){id}}"), None));
    assert!(!is_query(&document("subscription{products}"), None));
}
#[tokio::test]
async fn the_schema_is_estimated_at_no_less_than_it_is() {
    let query = include_str!("../../tests/it/introspection.graphql");
    let schema = super::super::schema(None, true);
    let answer = schema.execute(query).await.data.into_json().unwrap();
    assert!(values(&answer) > 1_000 && values(&answer) < cost(query), "{} {}", values(&answer), cost(query));
}

fn values(value: &serde_json::Value) -> usize {
    match value {
        serde_json::Value::Array(items) => items.iter().map(values).sum(),
        serde_json::Value::Object(members) => members.len() + members.values().map(values).sum::<usize>(),
        _ => 0,
    }
}

proptest! {
    /// Fragments are measured once each, and come to what following every spread comes to.
    #[test]
    fn measuring_is_the_same_as_following_every_spread(
        spreads in prop::collection::vec(prop::collection::vec((1usize..4, 0usize..3), 0..3), 1..8),
    ) {
        let last = spreads.len();
        let fragments: String = (0..=last).map(|n| {
            let inner: String = spreads.get(n).into_iter().flatten().map(|(step, wraps)| {
                let spread = format!("...f{} ", (n + step).min(last));
                "a{x ".repeat(*wraps) + &spread + &"}".repeat(*wraps)
            }).collect();
            format!("fragment f{n} on Query{{x {inner}}}")
        }).collect();
        let document = parse_query("{...f0}".to_owned() + &fragments).unwrap();
        let variables = Variables::default();
        let size = Measure::new(&document, &variables, true).fragment("f0", Pos::default(), 1).unwrap();
        prop_assert_eq!(size.introspected, follow(&spreads, 0).0);
        prop_assert_eq!(size.fields, follow(&spreads, 0).1);
    }
}

/// All fields that a fragment comes to, and those beside each other.
fn follow(spreads: &[Vec<(usize, usize)>], at: usize) -> (usize, usize) {
    let (mut all, mut beside) = (1, 1);
    for (step, wraps) in spreads.get(at).into_iter().flatten() {
        let inner = follow(spreads, (at + step).min(spreads.len()));
        all += inner.0 + 2 * wraps;
        beside += if *wraps == 0 { inner.1 } else { 1 };
    }
    (all, beside)
}
