//! Which commit this is built from: what `SOUK_COMMIT` says, else what Git says. Only in builds that are shipped, so that
//! a commit does not have a developer compile everything again. No time stamps: the same commit gives the same bytes.

use std::{env, path::Path, process::Command};

fn main() {
    println!("cargo:rerun-if-env-changed=SOUK_COMMIT");
    println!("cargo:rerun-if-changed=build.rs");
    let commit = if env::var("PROFILE").is_ok_and(|profile| profile == "release") { commit() } else { "dev".into() };
    println!("cargo:rustc-env=SOUK_BUILD_COMMIT={commit}");
}

fn commit() -> String {
    if let Some(given) = env::var("SOUK_COMMIT").ok().filter(|given| is_name(given)) {
        return given;
    }
    // Where Git notes each commit. A file that is not there would have this run at every build.
    if let Some(log) = git(&["rev-parse", "--git-path", "logs/HEAD"]).filter(|log| Path::new(log).exists()) {
        println!("cargo:rerun-if-changed={log}");
    }
    git(&["rev-parse", "--short=12", "HEAD"]).filter(|commit| is_name(commit)).unwrap_or_else(|| "unknown".into())
}

fn git(arguments: &[&str]) -> Option<String> {
    let answer = Command::new("git").args(arguments).output().ok().filter(|answer| answer.status.success())?;
    Some(String::from_utf8(answer.stdout).ok()?.trim().to_owned())
}

fn is_name(commit: &str) -> bool {
    !commit.is_empty() && commit.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-+".contains(&byte))
}
