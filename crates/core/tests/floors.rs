//! The floors of the Rust half: who may use whom, where `unsafe` is, and how files are named and sized.
//! The table is in the documentation of `src/lib.rs`; here it is held.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Every file with `unsafe` in it. A new one is a decision: see CONTRIBUTING.md.
const WITH_UNSAFE: [&str; 20] = [
    "core/src/arrangement.rs",
    "core/src/atomic/real.rs",
    "core/src/claim.rs",
    "core/src/file.rs",
    "core/src/guard.rs",
    "core/src/layout.rs",
    "core/src/mapping.rs",
    "core/src/process.rs",
    "core/src/region.rs",
    "core/src/region/bytes.rs",
    "core/src/region/size.rs",
    "core/src/region/words.rs",
    "core/src/segment.rs",
    "core/src/storage.rs",
    "core/src/text.rs",
    "python/src/callback.rs",
    "python/src/frames.rs",
    "python/src/in_turn.rs",
    "python/src/region.rs",
    "python/src/view.rs",
];
const TELL_NOTHING: [&str; 10] =
    ["base", "common", "helper", "helpers", "manager", "managers", "misc", "shared", "util", "utils"];
const LONGEST_FILE: usize = 600;

fn crates() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Every Rust file below these folders: its path from `crates/`, and its text.
fn sources(folders: &[&str]) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut left: Vec<String> = folders.iter().map(ToString::to_string).collect();
    while let Some(folder) = left.pop() {
        for entry in fs::read_dir(crates().join(&folder)).expect("the folder can be read") {
            let entry = entry.expect("its entries can be read");
            let path = format!("{folder}/{}", entry.file_name().to_string_lossy());
            if entry.path().is_dir() {
                left.push(path);
            } else if path.ends_with(".rs") {
                found.insert(path, fs::read_to_string(entry.path()).expect("it is text"));
            }
        }
    }
    found
}

/// The module that a file of `core/src` belongs to: `region` for both `region.rs` and `region/atomics.rs`.
fn module_of(path: &str) -> Option<&str> {
    let inside = path.strip_prefix("core/src/")?;
    let name = inside.split_once('/').map_or(inside.strip_suffix(".rs")?, |(folder, _)| folder);
    (name != "lib").then_some(name)
}

/// The rows `//! | 1 | [`gate`] | ...` of the crate's documentation.
fn floors() -> BTreeMap<String, u32> {
    let documentation = fs::read_to_string(crates().join("core/src/lib.rs")).expect("lib.rs is there");
    let row = |line: &str| {
        let mut cells = line.strip_prefix("//! |")?.split('|');
        let floor = cells.next()?.trim().parse().ok()?;
        let module = cells.next()?.split('`').nth(1)?;
        Some((module.to_owned(), floor))
    };
    documentation.lines().filter_map(row).collect()
}

fn without_comments(source: &str) -> String {
    source.lines().map(|line| line.split_once("//").map_or(line, |(code, _)| code)).collect::<Vec<_>>().join("\n")
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !(c.is_alphanumeric() || c == '_')).filter(|word| !word.is_empty())
}

/// What follows each `crate::` and `super::`, the first names of a group `{a, b::{c, d}}` included.
fn modules_used(source: &str) -> BTreeSet<String> {
    let code = without_comments(source);
    let mut used = BTreeSet::new();
    for root in ["crate::", "super::"] {
        for (at, _) in code.match_indices(root) {
            let inside_a_name = code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
            if inside_a_name {
                continue;
            }
            let rest = code[at + root.len()..].trim_start();
            match rest.strip_prefix('{') {
                Some(group) => used.extend(first_names(group)),
                None => used.extend(words(rest.split(';').next().unwrap_or(rest)).next().map(str::to_owned)),
            }
        }
    }
    used
}

fn first_names(group: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let (mut depth, mut item) = (0, String::new());
    for c in group.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => names.extend(words(&std::mem::take(&mut item)).next().map(str::to_owned)),
            _ => item.push(c),
        }
    }
    names.extend(words(&item).next().map(str::to_owned));
    names
}

#[test]
fn the_table_names_every_module() {
    let modules: BTreeSet<String> =
        sources(&["core/src"]).keys().filter_map(|path| module_of(path)).map(str::to_owned).collect();
    let placed: BTreeSet<String> = floors().into_keys().collect();
    assert_eq!(modules, placed, "files of core/src, and rows of the table in lib.rs");
}

#[test]
fn modules_use_only_lower_floors() {
    let floors = floors();
    let mut checked = 0;
    for (path, source) in sources(&["core/src"]) {
        let Some(own) = module_of(&path) else { continue };
        for used in modules_used(&source) {
            // `super::` inside a folder or an inline module can name things that are no modules of the crate.
            let Some(floor) = floors.get(&used).filter(|_| used != own) else { continue };
            checked += 1;
            assert!(*floor < floors[own], "{path} (floor {}) uses {used} (floor {floor})", floors[own]);
        }
    }
    assert!(checked >= 10, "only {checked} uses were found: the parser has gone blind");
}

#[test]
fn a_use_is_found_however_it_is_written() {
    let found = |source| modules_used(source).into_iter().collect::<Vec<_>>().join(" ");
    assert_eq!(found("use crate::gate::{Gate, Pin};"), "gate");
    assert_eq!(found("use crate::{bell::{self, Deadline}, error::Error, text};"), "bell error text");
    assert_eq!(found("use crate::{\n    bell,\n    file::{self, Make},\n};"), "bell file");
    assert_eq!(found("let size = crate::guard::page_size();"), "guard");
    assert_eq!(found("use super::region::Region; pub(in crate::mapping) fn f() {}"), "mapping region");
    assert_eq!(found("//! See [`crate::region`].\nuse subcrate::bell; use std::fs; use super::*;"), "");
}

#[test]
fn unsafe_is_where_it_is_expected() {
    let sources = sources(&["core/src", "python/src"]);
    let found: Vec<&str> = sources
        .iter()
        .filter(|(_, source)| words(&without_comments(source)).any(|word| word == "unsafe"))
        .map(|(path, _)| path.as_str())
        .collect();
    assert_eq!(found, WITH_UNSAFE);
}

#[test]
fn only_one_file_knows_of_loom() {
    let sources = sources(&["core/src", "python/src"]);
    let found: Vec<&String> = sources
        .iter()
        .filter(|(_, source)| words(&without_comments(source)).any(|word| word == "loom"))
        .map(|(path, _)| path)
        .collect();
    assert_eq!(found, ["core/src/atomic.rs", "core/src/atomic/modelled.rs"]);
}

/// The names of pairs of orderings, from comments such as `// Release [gate.open]: ...`.
fn pairs(ordering: &str) -> BTreeSet<String> {
    let start = format!("// {ordering} [");
    let named = |source: &str| {
        let names = source.lines().filter_map(|line| line.trim_start().strip_prefix(&start)?.split_once(']'));
        names.map(|(name, _)| name.to_owned()).collect::<Vec<_>>()
    };
    sources(&["core/src"]).values().flat_map(|source| named(source)).collect()
}

#[test]
fn every_acquire_has_its_release() {
    let (acquired, released) = (pairs("Acquire"), pairs("Release"));
    assert!(acquired.contains("gate.open"), "{acquired:?}");
    assert_eq!(acquired, released);
}

#[test]
fn names_say_what_is_inside() {
    for path in sources(&["core/src", "core/tests", "python/src"]).into_keys() {
        let nondescript = words(&path).find(|word| word.split('_').any(|part| TELL_NOTHING.contains(&part)));
        assert_eq!(nondescript, None, "{path}");
    }
}

#[test]
fn files_stay_short() {
    let too_long: Vec<(String, usize)> = sources(&["core/src", "core/tests", "python/src"])
        .into_iter()
        .map(|(path, source)| (path, source.lines().count()))
        .filter(|(_, lines)| *lines > LONGEST_FILE)
        .collect();
    assert!(too_long.is_empty(), "more than {LONGEST_FILE} lines: {too_long:?}");
}
