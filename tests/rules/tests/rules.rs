//! The rules. A failed test lists the violations.

use rules::{SERVICES, Source, contains_word, cycles, modules, read, sources};

fn assert_none(rule: &str, found: Vec<String>) {
    assert!(found.is_empty(), "not allowed: {rule}\n    {}", found.join("\n    "));
}

fn all_sources() -> Vec<Source> {
    sources("crates").into_iter().chain(sources("tests")).collect()
}

/// The sources of the crates without their tests.
fn production() -> Vec<Source> {
    sources("crates").into_iter().filter(|source| source.path.contains("/src/") && !source.is_test()).collect()
}

#[test]
fn files_are_short_enough_to_read() {
    let all = all_sources();
    let long = |source: &Source, limit: usize| source.text.lines().count() > limit;
    let found = all.iter().filter(|source| long(source, 500)).map(|source| source.path.clone()).collect();
    assert_none("a file of more than 500 lines: split it", found);
    let mains = SERVICES.map(|service| format!("crates/{service}/src/main.rs"));
    let found = all.iter().filter(|source| mains.contains(&source.path) && long(source, 40));
    assert_none(
        "a main.rs of more than 40 lines: wiring is in lib.rs",
        found.map(|source| source.path.clone()).collect(),
    );
}

#[test]
fn only_chassis_reads_the_environment() {
    let own = production().into_iter().filter(|source| !source.path.starts_with("crates/chassis/"));
    let found = own.flat_map(|source| source.lines_with(&["std::env", "env::var", "env::args"])).collect();
    assert_none("std::env outside chassis: settings come from the caller", found);
}

#[test]
fn only_db_uses_the_sql_library() {
    let all = all_sources();
    let mut found: Vec<String> = all
        .into_iter()
        .filter(|source| !source.path.starts_with("crates/db/") && !source.path.starts_with("tests/rules/"))
        .flat_map(|source| source.lines_with(&["sqlx"]))
        .collect();
    for service in SERVICES {
        let manifest = format!("crates/{service}/Cargo.toml");
        found.extend(
            read(&manifest)
                .lines()
                .filter(|line| contains_word(line, "sqlx"))
                .map(|line| format!("{manifest}: {line}")),
        );
    }
    assert_none("sqlx outside crates/db", found);
}

#[test]
fn a_domain_uses_no_clock_no_randomness_and_no_framework() {
    let words = [
        "Utc::now",
        "SystemTime::now",
        "Instant::now",
        "Timestamp::now",
        "Local::now",
        "rand",
        "now_v7",
        "new_v4",
        "db",
        "bus",
        "axum",
        "tonic",
        "reqwest",
        "tokio",
        "hyper",
        "http",
    ];
    let words: Vec<String> = words
        .iter()
        .map(|word| if word.contains("now") || *word == "new_v4" { (*word).into() } else { format!("{word}::") })
        .collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let found = production().into_iter().filter(|source| source.path.contains("/src/domain/"));
    assert_none(
        "I/O, a framework, a clock or random in a domain: the caller passes them",
        found.flat_map(|source| source.lines_with(&words)).collect(),
    );
}

#[test]
fn chassis_uses_no_words_of_the_retail_domain() {
    let words = [
        "customer",
        "product",
        "catalogue",
        "checkout",
        "stock",
        "invoice",
        "retail",
        "warehouse",
        "shop",
        "refund",
        "order_id",
        "orders",
        "payment",
    ];
    let chassis = production().into_iter().filter(|source| source.path.starts_with("crates/chassis/"));
    let found = chassis
        .flat_map(|source| {
            let lower = Source { path: source.path, text: source.text.to_lowercase() };
            // Also as part of a longer word: `products`, `customer_id`.
            let hit = |line: &str| words.iter().any(|word| line.contains(word));
            let lines: Vec<String> = lower
                .code()
                .filter(|(_, line)| hit(line))
                .map(|(number, line)| format!("{}:{number}: {}", lower.path, line.trim()))
                .collect();
            lines
        })
        .filter(|line| !line.contains("payment_required") && !line.contains("paymentrequired"))
        .collect();
    assert_none("a word of the retail domain in chassis", found);
}

#[test]
fn shared_crates_and_services_depend_on_no_service() {
    let shared =
        ["auth", "batch", "bus", "chassis", "commerce", "db", "idempotency", "proto", "service", "testkit", "upkeep"];
    let mut found = Vec::new();
    for name in shared.iter().chain(&SERVICES) {
        let manifest = read(&format!("crates/{name}/Cargo.toml"));
        let production = manifest.split("[dev-dependencies]").next().unwrap_or_default();
        let services = SERVICES.iter().chain(&["souk"]);
        let depends = |service: &str| {
            let name = |line: &str| line.split(['.', '=', ' ']).next() == Some(service);
            production.lines().filter(|line| line.contains('=')).any(name)
        };
        for service in services.filter(|service| depends(service)) {
            found.push(format!("crates/{name}/Cargo.toml: {service}"));
        }
    }
    assert_none("a crate that depends on a service: only souk and the tests may", found);
}

#[test]
fn nothing_is_static_since_seven_services_share_one_process() {
    let found = production()
        .into_iter()
        .filter(|source| source.path != "crates/souk/src/main.rs" && !source.path.starts_with("crates/testkit/"))
        .flat_map(|source| {
            let begins = |line: &str| {
                let line = line.trim_start();
                let public = line.strip_prefix("pub").map(|rest| rest.split_once(')').map_or(rest, |(_, rest)| rest));
                public.unwrap_or(line).trim_start().starts_with("static ")
            };
            let lines: Vec<String> = source
                .code()
                .filter(|(_, line)| begins(line))
                .map(|(number, _)| format!("{}:{number}", source.path))
                .collect();
            lines
        })
        .collect();
    assert_none("a static", found);
}

/// A layer may reference only the layers below it. From the top: api, the use cases, store and clients, the domain.
#[test]
fn no_layer_references_a_layer_above_it() {
    let mut found = Vec::new();
    for service in SERVICES {
        let graph = modules(service);
        let use_cases = |name: &str| layer(name) == "app" && !["config", "metrics"].contains(&name);
        for (module, names) in &graph {
            for name in names {
                let wrong = match module.as_str() {
                    "api" => false,
                    "domain" => name != "domain",
                    "store" | "clients" | "error" | "events" => name == "api" || use_cases(name),
                    _ => name == "api",
                };
                if wrong {
                    found.push(format!("crates/{service}: {module} references {name}"));
                }
            }
        }
    }
    assert_none("a module that references a layer above it", found);
}

/// The layer of a top-level module of a service.
fn layer(module: &str) -> &str {
    match module {
        "api" | "domain" | "store" | "clients" | "error" | "events" | "views" => module,
        _ => "app",
    }
}

#[test]
fn no_cycle_of_modules_crosses_layers() {
    let mut found = Vec::new();
    for service in SERVICES {
        for cycle in cycles(&modules(service)) {
            if cycle.iter().any(|module| layer(module) != layer(cycle.first().expect("not empty"))) {
                found.push(format!("crates/{service}: {cycle:?}"));
            }
        }
    }
    assert_none("modules of several layers that reference each other in a cycle", found);
}

#[test]
fn production_code_compares_problem_codes_and_never_texts() {
    let patterns = [
        ".detail() ==",
        ".detail() !=",
        "detail().contains(",
        "detail().starts_with(",
        "detail().ends_with(",
        "match problem.detail()",
        ".detail == \"",
        "[\"detail\"] ==",
    ];
    let found = production()
        .into_iter()
        .flat_map(|source| {
            let hit = |line: &str| patterns.iter().any(|pattern| line.contains(pattern));
            let lines: Vec<String> = source
                .code()
                .filter(|(_, line)| hit(line))
                .map(|(number, line)| format!("{}:{number}: {}", source.path, line.trim()))
                .collect();
            lines
        })
        .collect();
    assert_none("a comparison with a problem's text: compare its code", found);
}

#[test]
fn every_setting_is_described_in_the_operations_manual() {
    let manual = read("docs/operations.md");
    let mut found = Vec::new();
    for config in SERVICES
        .map(|service| format!("crates/{service}/src/config.rs"))
        .into_iter()
        .chain(["crates/service/src/common.rs".to_owned(), "crates/auth/src/config.rs".to_owned()])
    {
        let source = read(&config);
        let name = if config.ends_with("common.rs") {
            "Common"
        } else if config.contains("/auth/") {
            "AuthConfig"
        } else {
            "Config"
        };
        let (_, body) = source.split_once(&format!("pub struct {name} {{")).expect("its settings");
        let (body, _) = body.split_once("\n}").expect("its end");
        let flattened = ["common", "auth"];
        let fields =
            body.lines().filter_map(|line| line.trim().strip_prefix("pub ")?.split_once(':')).map(|(field, _)| field);
        let missing = fields.filter(|field| !flattened.contains(field) && !manual.contains(&format!("| `{field}` |")));
        found.extend(missing.map(|field| format!("{config}: {field}")));
    }
    assert_none("a setting that docs/operations.md does not describe", found);
}

#[test]
fn every_problem_code_is_in_the_manual() {
    let manual = read("docs/problems.md");
    let codes = production().into_iter().flat_map(|source| {
        let after = |line: &str, start: &str| {
            line.split_once(start).and_then(|(_, rest)| rest.split_once('"')).map(|(code, _)| code.to_owned())
        };
        // The match arms of a `code()` contain codes too.
        let of_errors = source.path.contains("/error");
        let code = |line: &str| {
            after(line, "with_code(\"").or_else(|| after(line, "=> \"").filter(|code| of_errors && code.contains('.')))
        };
        source.code().filter_map(|(_, line)| code(line)).collect::<Vec<_>>()
    });
    let missing = codes.filter(|code| !code.ends_with(".not_found") && !manual.contains(&format!("| `{code}` |")));
    assert_none("a code that docs/problems.md does not describe", missing.collect());
}
