//! Sets `SOUK_BUILD_COMMIT`, the commit that this is built from: the variable `SOUK_COMMIT`, else the commit that Git reports.
//! Only release builds carry it, so that a commit does not recompile everything for a developer. No time stamps: the same
//! commit gives the same bytes.

use std::{env, path::Path, process::Command};

fn main() {
    println!("cargo:rerun-if-env-changed=SOUK_COMMIT");
    println!("cargo:rerun-if-changed=build.rs");
    let commit = if env::var("PROFILE").is_ok_and(|profile| profile == "release") { commit() } else { "dev".into() };
    println!("cargo:rustc-env=SOUK_BUILD_COMMIT={commit}");
}

fn commit() -> String {
    if let Some(name) = env::var("SOUK_COMMIT").ok().filter(|name| is_commit_name(name)) {
        return name;
    }
    // Git appends to this file at each commit. A missing file would rerun this script at every build.
    if let Some(log) = git(&["rev-parse", "--git-path", "logs/HEAD"]).filter(|log| Path::new(log).exists()) {
        println!("cargo:rerun-if-changed={log}");
    }
    git(&["rev-parse", "--short=12", "HEAD"])
        .filter(|commit| is_commit_name(commit))
        .unwrap_or_else(|| "unknown".into())
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}

fn is_commit_name(commit: &str) -> bool {
    !commit.is_empty() && commit.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-+".contains(&byte))
}
