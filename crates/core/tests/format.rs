//! `docs/format.md` and the code say the same: every structure, field, constant, kind and ordering.
//!
//! `include/samemap.h` is held to the same document by `tests/format/test_format.py`, which compiles it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use samemap_core::format::{FINGERPRINT, LAYOUTS};
use samemap_core::job::{self, Phase};
use samemap_core::layout::{self, Kind};
use samemap_core::objects::{self, Parameters};
use samemap_core::queue;
use samemap_core::roster;
use samemap_core::slot;
use samemap_core::storage::{self, Storage};
use samemap_core::subscriber::Policy;
use samemap_core::tag::Tag;
use samemap_core::topic;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn document() -> String {
    fs::read_to_string(root().join("docs/format.md")).expect("the document is there")
}

/// The cells of a row, without their backticks.
fn cells(line: &str) -> Vec<String> {
    let inside = line.trim().trim_start_matches('|').trim_end_matches('|');
    inside.split('|').map(|cell| cell.trim().trim_matches('`').to_owned()).collect()
}

fn number(text: &str) -> u128 {
    let text = text.replace('_', "");
    let parsed = text.strip_prefix("0x").map_or_else(|| text.parse(), |digits| u128::from_str_radix(digits, 16));
    parsed.expect(&text)
}

/// The rows of every table whose head begins with these cells, with the heading that each is under.
fn rows(document: &str, head: &[&str]) -> Vec<(String, Vec<String>)> {
    let mut heading = String::new();
    let mut inside = false;
    let mut found = Vec::new();
    for line in document.lines() {
        if line.starts_with('#') {
            heading = line.trim_start_matches('#').trim().trim_matches('`').to_owned();
        }
        if !line.starts_with('|') {
            inside = false;
        } else if inside && !line.starts_with("| -") {
            found.push((heading.clone(), cells(line)));
        } else if !inside {
            inside = cells(line).iter().zip(head).filter(|(cell, name)| cell == *name).count() == head.len();
        }
    }
    found
}

#[test]
fn every_field_is_where_the_document_says() {
    let document = document();
    let mut told: BTreeMap<String, Vec<(String, usize, usize)>> = BTreeMap::new();
    for (heading, row) in rows(&document, &["field", "offset", "size"]) {
        let field = (row[0].clone(), number(&row[1]) as usize, number(&row[2]) as usize);
        told.entry(heading).or_default().push(field);
    }
    let mut built: BTreeMap<String, Vec<(String, usize, usize)>> = BTreeMap::new();
    for layout in LAYOUTS {
        let fields = layout.fields.iter().map(|field| (field.name.to_owned(), field.offset, field.size)).collect();
        assert!(built.insert(layout.name.to_owned(), fields).is_none(), "two structures are called {}", layout.name);
    }
    assert_eq!(told.keys().collect::<Vec<_>>(), built.keys().collect::<Vec<_>>(), "structures: told, built");
    for (name, fields) in built {
        assert_eq!(told[&name], fields, "{name}: told, built");
    }
}

#[test]
fn every_structure_has_the_size_that_the_document_says() {
    let told: BTreeMap<String, (usize, usize)> = rows(&document(), &["structure", "bytes", "at a multiple of"])
        .into_iter()
        .map(|(_, row)| (row[0].clone(), (number(&row[1]) as usize, number(&row[2]) as usize)))
        .collect();
    let built: BTreeMap<String, (usize, usize)> =
        LAYOUTS.iter().map(|layout| (layout.name.to_owned(), (layout.size, layout.alignment))).collect();
    assert_eq!(told, built, "told, built");
}

#[test]
fn fields_do_not_overlap_and_lie_inside() {
    for layout in LAYOUTS {
        let mut end = 0;
        for field in layout.fields {
            assert!(field.offset >= end, "{}.{}", layout.name, field.name);
            end = field.offset + field.size;
        }
        assert!(end <= layout.size && layout.size % layout.alignment == 0, "{}", layout.name);
    }
}

#[test]
fn every_constant_is_what_the_document_says() {
    let told: BTreeMap<String, u128> = rows(&document(), &["constant", "value"])
        .into_iter()
        .map(|(_, row)| (row[0].clone(), number(&row[1])))
        .collect();
    let built: BTreeMap<String, u128> = [
        ("MAGIC", u128::from(layout::MAGIC)),
        ("VERSION", u128::from(layout::VERSION)),
        ("FEATURES", u128::from(layout::FEATURES)),
        ("FINGERPRINT", u128::from(FINGERPRINT)),
        ("HEADER_SPACE", layout::HEADER_SPACE as u128),
        ("LONGEST_SCHEMA", layout::LONGEST_SCHEMA as u128),
        ("MOST_PARTICIPANTS", Tag::MOST as u128),
        ("LOCK_OFFSET", layout::LOCK_OFFSET as u128),
        ("SERVER_OFFSET", layout::SERVER_OFFSET as u128),
        ("MOST_PIDS", layout::MOST_PIDS as u128),
        ("PRESENT", u128::from(roster::PRESENT)),
        ("LEFT", u128::from(roster::LEFT)),
        ("MARK", u128::from(Tag::MARK)),
        ("SECOND_MARK", u128::from(Tag::SECOND_MARK)),
        ("INDEX_BITS", u128::from((Tag::MOST + 1).ilog2())),
        ("EPOCH_BITS", u128::from(Tag::new(0, u32::MAX).epoch().count_ones())),
        ("SLOT_BITS", u128::from(topic::MOST_SLOTS.ilog2())),
        ("MOST_SLOTS", topic::MOST_SLOTS as u128),
        ("MOST_PINS", slot::MOST_PINS as u128),
        ("ATTEMPT_SHIFT", u128::from(job::ATTEMPT)),
        ("GENERATION_SHIFT", u128::from(job::GENERATION)),
        ("MOST_ATTEMPTS", u128::from(job::MOST_ATTEMPTS)),
        ("TO_KEEPER", u128::from(job::LEFT)),
        ("MOST_JOBS", queue::MOST_JOBS as u128),
        ("REPLIES", queue::REPLIES as u128),
        ("MOST_CALLS", storage::CALLS as u128),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    assert!(told == built, "told {told:#x?}, built {built:#x?}");
}

#[test]
fn tags_are_made_as_the_document_says() {
    for (index, epoch) in [(0, 1), (1, 0), (Tag::MOST - 1, (1 << 20) - 1)] {
        assert_eq!(Tag::new(index, epoch).word(), epoch << 10 | (index as u32 + 1));
    }
}

#[test]
fn every_kind_has_the_number_that_the_document_says() {
    let told: Vec<(u128, String)> =
        rows(&document(), &["number", "kind"]).into_iter().map(|(_, row)| (number(&row[0]), row[1].clone())).collect();
    let built: Vec<(u128, String)> = Kind::ALL.iter().map(|kind| (*kind as u128, kind.name().to_owned())).collect();
    assert_eq!(told, built, "told, built");
}

#[test]
fn every_policy_has_the_number_that_the_document_says() {
    let told: Vec<(u128, String)> = rows(&document(), &["number", "policy"])
        .into_iter()
        .map(|(_, row)| (number(&row[0]), row[1].clone()))
        .collect();
    let built: Vec<(u128, String)> = [Policy::Latest, Policy::Drop, Policy::Block, Policy::Ended]
        .map(|policy| (policy as u128, format!("{policy:?}")))
        .into();
    assert_eq!(told, built, "told, built");
}

#[test]
fn every_phase_of_a_job_has_the_number_that_the_document_says() {
    let told: Vec<(u128, String)> =
        rows(&document(), &["number", "phase"]).into_iter().map(|(_, row)| (number(&row[0]), row[1].clone())).collect();
    let built: Vec<(u128, String)> =
        [Phase::Free, Phase::Filling, Phase::Ready, Phase::Leased, Phase::Held, Phase::Dead]
            .map(|phase| (phase as u128, format!("{phase:?}")))
            .into();
    assert_eq!(told, built, "told, built");
}

/// What a sum such as `64 + 8 × ring` comes to for these numbers.
fn sum(formula: &str, numbers: &BTreeMap<&str, usize>) -> usize {
    let value = |factor: &str| numbers.get(factor).copied().unwrap_or_else(|| number(factor) as usize);
    formula.split(" + ").map(|term| term.split(" × ").map(value).product::<usize>()).sum()
}

/// What a part of a body is told to be: so many bytes each, that many times for these numbers.
fn length(parts: &[(String, String)], sizes: &BTreeMap<String, usize>, numbers: &BTreeMap<&str, usize>) -> usize {
    let mut end = 0;
    for (offset, what) in parts {
        assert_eq!(sum(offset, numbers), end, "the parts follow one another: {what}");
        let mut factors = what.split(" × ");
        let structure = factors.next().unwrap_or_default();
        let each = sizes.get(structure).copied().expect(structure);
        end += factors.fold(each, |bytes, factor| {
            bytes * numbers.get(factor).copied().unwrap_or_else(|| number(factor) as usize)
        });
    }
    end.next_multiple_of(64)
}

#[test]
fn every_body_has_the_parts_that_the_document_says() {
    const PARTICIPANTS: usize = 5;
    const PARTIES: i64 = 11;
    const SUBSCRIBERS: i64 = 3;
    const SLOT_SIZE: i64 = 100;
    // Blocks of more bytes than the least, and not a multiple of 8 of them.
    const HEAP: i64 = 100_000_000;
    let sizes: BTreeMap<String, usize> = LAYOUTS
        .iter()
        .map(|layout| (layout.name.to_owned(), layout.size))
        .chain([("byte".to_owned(), 1), ("word".to_owned(), 8)])
        .collect();
    let mut told: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    for (_, row) in rows(&document(), &["body of", "from byte", "part"]) {
        told.entry(row[0].clone()).or_default().push((row[1].clone(), row[2].replace('`', "")));
    }
    // As many slots, or jobs, as need a larger ring, and as few as have the smallest.
    for (kind, slots) in Kind::ALL.into_iter().flat_map(|kind| [(kind, 11), (kind, 4)]) {
        let parameters = match kind {
            Kind::Topic | Kind::Latest => [slots, SLOT_SIZE, SUBSCRIBERS],
            Kind::Queue | Kind::Service => [slots, HEAP, 0],
            Kind::Semaphore => [1, -1, 0],
            Kind::Barrier => [PARTIES, 0, 0],
            Kind::Namespace => [1 << 16, 0, 0],
            _ => [0; 3],
        };
        let built = objects::size(kind, PARTICIPANTS, Parameters(parameters)).expect("the parameters are valid");
        let parts = &told[kind.name()];
        let mut numbers: BTreeMap<&str, usize> = [
            ("participants", PARTICIPANTS),
            ("parties", PARTIES as usize),
            ("subscribers", SUBSCRIBERS as usize),
            ("slots", slots as usize),
            ("ring", (slots as usize).next_power_of_two().max(8)),
            ("stride", (SLOT_SIZE as usize).next_multiple_of(64)),
        ]
        .into();
        let shape = *Storage::new(kind, slots, HEAP, 0, PARTICIPANTS).expect("the numbers are valid").shape();
        if matches!(kind, Kind::Queue | Kind::Service) {
            numbers.extend([
                ("lanes", shape.lanes),
                ("jobs", shape.jobs),
                ("words", numbers["ring"] + 16 * (shape.lanes - 1)),
                ("claims", shape.blocks.next_multiple_of(8)),
                ("cell", shape.cell),
                ("block", shape.block_size),
                ("blocks", shape.blocks),
            ]);
        }
        let rest = built.saturating_sub(sum(&parts[parts.len() - 1].0, &numbers));
        numbers.insert("the rest", rest);
        assert_eq!(length(parts, &sizes, &numbers), built, "{}: told, built", kind.name());
    }
    let kinds: BTreeSet<&str> = Kind::ALL.iter().map(|kind| kind.name()).collect();
    assert_eq!(told.keys().map(String::as_str).collect::<BTreeSet<&str>>(), kinds, "bodies of no kind");
}

/// The names of pairs in comments such as `// Release [lock.word]`.
fn pairs(source: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for line in source.lines().filter_map(|line| line.split_once("//")).map(|(_, comment)| comment) {
        for word in ["Acquire [", "Release ["] {
            let ends = line.match_indices(word).map(|(at, _)| &line[at + word.len()..]);
            found.extend(ends.filter_map(|rest| rest.split_once(']')).map(|(name, _)| name.to_owned()));
        }
    }
    found
}

#[test]
fn every_pair_of_orderings_is_told() {
    // Other pairs are between the threads of one process.
    let is_shared = |source: &str| {
        ["shared! {", "pub struct Bell", "pub struct Ring<"].into_iter().any(|part| source.contains(part))
    };
    let files = |folder: &Path| -> Vec<PathBuf> {
        let listed = fs::read_dir(folder).into_iter().flatten();
        listed.map(|entry| entry.expect("it can be listed").path()).filter(|path| path.is_file()).collect()
    };
    let read = |path: PathBuf| fs::read_to_string(path).expect("it is text");
    let mut built = BTreeSet::new();
    for path in files(&root().join("crates/core/src")) {
        let source = read(path.clone());
        if is_shared(&source) {
            built.extend(pairs(&source));
            // The files of its own, in the folder of its name.
            built.extend(files(&path.with_extension("")).into_iter().flat_map(|path| pairs(&read(path))));
        }
    }
    let told: BTreeSet<String> = document().lines().flat_map(|line| pairs(&format!("// {line}"))).collect();
    assert_eq!(told, built, "told, built");
}
