//! The stores have the databases and topics that the code needs.

use std::collections::BTreeSet;

use crate::{
    code::topics,
    edges::variables,
    rendered::{Rendered, file, name, text},
};

/// The names of databases in the URLs of PostgreSQL.
fn databases() -> BTreeSet<String> {
    let stores = variables(&file("deploy/overlays/local/stores.env"));
    let urls = stores.values().filter(|url| url.starts_with("postgres://"));
    urls.filter_map(|url| url.rsplit('/').next()).map(str::to_owned).collect()
}

#[test]
fn every_database_is_created() {
    let sql = file("deploy/components/stores/postgres/databases.sql");
    let created: BTreeSet<String> = sql
        .lines()
        .filter_map(|line| line.strip_prefix("create database "))
        .map(|name| name.trim_end_matches(';').trim_matches('"').to_owned())
        .collect();
    assert_eq!(created, databases());

    let production = Rendered::overlay("production");
    let cluster = production.find("Cluster", "souk-postgres").expect("one");
    let first = text(&cluster["spec"]["bootstrap"]["initdb"]["database"]).to_owned();
    let created: BTreeSet<String> = production
        .of_kind("Database")
        .map(|database| text(&database["spec"]["name"]).to_owned())
        .chain([first])
        .collect();
    assert_eq!(created, databases());
}

#[test]
fn every_topic_is_created_with_its_dead_letter_topic() {
    let production = Rendered::overlay("production");
    let created: BTreeSet<String> = production.of_kind("KafkaTopic").map(|topic| name(topic).to_owned()).collect();
    let expected: BTreeSet<String> = topics().into_iter().flat_map(|topic| [format!("{topic}.dlq"), topic]).collect();
    assert_eq!(created, expected);
    for topic in production.of_kind("KafkaTopic") {
        assert!(topic["spec"]["replicas"].as_u64() >= Some(3), "{}", name(topic));
        let has_unlimited_retention = topic["spec"]["config"]["retention.ms"] == -1;
        assert_eq!(has_unlimited_retention, name(topic).ends_with(".dlq"), "{}", name(topic));
    }
}
