//! Reads the sources of the workspace as text, for the rules in `tests/`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// The services.
pub const SERVICES: [&str; 7] = ["customer", "gateway", "notification", "order", "payment", "product", "stock"];

/// A file of the workspace.
#[derive(Debug)]
pub struct Source {
    /// Its path from the root of the workspace, with slashes.
    pub path: String,
    /// Its text.
    pub text: String,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The text of a file.
pub fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every Rust file under `folder`, sorted by path.
pub fn sources(folder: &str) -> Vec<Source> {
    let mut found = Vec::new();
    collect(&root().join(folder), &mut found);
    found.sort();
    let strip = |path: &PathBuf| path.strip_prefix(root()).expect("under the root").display().to_string();
    found.iter().map(|path| Source { path: strip(path), text: read(&strip(path)) }).collect()
}

fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

impl Source {
    /// Whether this is a test file: a separate test module, or part of a test target.
    pub fn is_test(&self) -> bool {
        ["/tests/", "/conformance/", "tests.rs"].iter().any(|part| self.path.contains(part))
    }

    /// The lines of code with their numbers, without comments and without the unit tests at the end.
    pub fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text
            .lines()
            .enumerate()
            .take_while(|(_, line)| !line.starts_with("#[cfg(test)]"))
            .filter(|(_, line)| !line.trim_start().starts_with("//"))
            .map(|(number, line)| (number + 1, line))
    }

    /// The code as one string.
    pub fn code_text(&self) -> String {
        self.code().map(|(_, line)| line).collect::<Vec<_>>().join("\n")
    }

    /// The lines of code that contain one of these words, as `path:line: text`.
    pub fn lines_with(&self, words: &[&str]) -> Vec<String> {
        let hit = |line: &str| words.iter().any(|word| contains_word(line, word));
        self.code()
            .filter(|(_, line)| hit(line))
            .map(|(number, line)| format!("{}:{number}: {}", self.path, line.trim()))
            .collect()
    }
}

/// Whether a text contains a word as a whole word, not next to a letter, digit or underscore.
pub fn contains_word(text: &str, word: &str) -> bool {
    let part = |char: char| char.is_alphanumeric() || char == '_';
    text.match_indices(word).any(|(at, _)| {
        let (before, after) = (text[..at].chars().next_back(), text[at + word.len()..].chars().next());
        let longer =
            before.is_some_and(part) && word.starts_with(part) || after.is_some_and(part) && word.ends_with(part);
        !longer
    })
}

/// The top-level modules of a crate, each with the modules that it references as `crate::…`.
pub fn modules(crate_name: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut graph: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for source in sources(&format!("crates/{crate_name}/src")).iter().filter(|source| !source.is_test()) {
        let inner = source.path.split("/src/").nth(1).expect("under src");
        let module = inner.split(['/', '.']).next().expect("a name").to_owned();
        if !["lib", "main"].contains(&module.as_str()) {
            graph.entry(module).or_default().extend(referenced_modules(&source.code_text()));
        }
    }
    let known: BTreeSet<String> = graph.keys().cloned().collect();
    for (module, names) in &mut graph {
        names.retain(|name| name != module && known.contains(name));
    }
    graph
}

/// The first names after `crate::`, also in groups: `crate::{store::{self, X}, api}` returns store and api.
fn referenced_modules(code: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (at, start) in code.match_indices("crate::") {
        let rest = &code[at + start.len()..];
        if !rest.starts_with('{') {
            found.insert(first_name(rest));
            continue;
        }
        let mut depth = 0;
        let mut begins = true;
        for (position, char) in rest.char_indices() {
            match char {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 1 => begins = true,
                _ if char.is_whitespace() => {}
                _ if begins && depth == 1 => {
                    found.insert(first_name(&rest[position..]));
                    begins = false;
                }
                _ => {}
            }
            if depth == 0 {
                break;
            }
        }
    }
    found
}

fn first_name(text: &str) -> String {
    text.chars().take_while(|char| char.is_alphanumeric() || *char == '_').collect()
}

/// The sets of modules that reference each other in a cycle.
pub fn cycles(graph: &BTreeMap<String, BTreeSet<String>>) -> Vec<BTreeSet<String>> {
    let reaches = |from: &String| {
        let mut seen: BTreeSet<&String> = BTreeSet::new();
        let mut left: Vec<&String> = graph[from].iter().collect();
        while let Some(next) = left.pop() {
            if seen.insert(next) {
                left.extend(&graph[next]);
            }
        }
        seen
    };
    let reached: BTreeMap<&String, BTreeSet<&String>> = graph.keys().map(|module| (module, reaches(module))).collect();
    let cycle = |module: &String| -> BTreeSet<String> {
        reached[module].iter().filter(|other| reached[**other].contains(module)).map(|other| (*other).clone()).collect()
    };
    let found: BTreeSet<BTreeSet<String>> = graph.keys().map(cycle).filter(|cycle| cycle.len() > 1).collect();
    found.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_in_groups_and_cycles_are_found() {
        let names = referenced_modules("use crate::{\n    api::{self, X},\n    store,\n};\ncrate::error::Error");
        assert_eq!(names, ["api", "error", "store"].map(str::to_owned).into());
        let graph = [("a", vec!["b"]), ("b", vec!["c"]), ("c", vec!["b"]), ("d", vec![])];
        let graph = graph.map(|(name, to)| (name.to_owned(), to.into_iter().map(str::to_owned).collect())).into();
        assert_eq!(cycles(&graph), [["b", "c"].map(str::to_owned).into()]);
    }

    #[test]
    fn a_word_is_found_only_whole() {
        assert!(contains_word("let orders = 1;", "orders") && !contains_word("let reorders = 1;", "orders"));
        assert!(contains_word("std::env::var", "std::env"));
    }
}
