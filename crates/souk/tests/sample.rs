//! `souk sample` as somebody at a terminal, or a job of a cluster, has it.

use std::{
    path::Path,
    process::{Command, Output},
};

use serde_json::{Value, json};

fn sample(folder: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_souk"));
    command.arg("sample").args(args).arg("--data").arg(folder).env("SOUK_INTERNAL_KEY", "none");
    for service in ["CUSTOMER", "PRODUCT", "STOCK"] {
        command.env_remove(format!("SOUK_{service}_DATABASE_URL"));
    }
    command.env_remove("SOUK_SAMPLE").output().expect("runs")
}

#[test]
fn passwords_are_told_once_also_where_something_else_fails() {
    let dir = tempfile::tempdir().expect("a folder");
    let stores = dir.path().join("stores.json");
    std::fs::write(&stores, json!({"product": "nothing:at.all"}).to_string()).expect("writes");
    let failed = sample(dir.path(), &["--json"]);
    let told = String::from_utf8_lossy(&failed.stderr);
    assert!(!failed.status.success() && told.contains("nothing:at.all"), "{told}");
    let answer: Value = serde_json::from_slice(&failed.stdout).expect("one document");
    assert!(answer["passwords"]["admin"].as_str().is_some_and(|password| password.len() > 10), "{answer}");

    std::fs::remove_file(&stores).expect("removes");
    let done = sample(dir.path(), &["--json"]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let answer: Value = serde_json::from_slice(&done.stdout).expect("one document");
    assert_eq!(answer, json!({"passwords": {}}), "nothing was made anew");
}
