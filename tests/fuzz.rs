//! The fuzz targets on stable: each property of `fuzz/src` over its seeds and over mutations of them, the same ones in each run.
//!
//! `TWOSTEP_FUZZ_ROUNDS=100` tries a hundred times as many. What fails is printed with its round and case, and as an input to be kept in
//! `fuzz/seeds`. Where a nightly compiler is at hand, `.ci/fuzz` searches with cargo-fuzz.

use std::collections::BTreeSet;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

#[path = "../fuzz/src/lib.rs"]
mod properties;

/// Mutated inputs of one round.
const CASES: usize = 3000;

/// The longest mutated input.
const LONGEST: usize = 4096;

/// What a random byte seldom becomes.
const PIECES: [&[u8]; 34] = [
    b"\0",
    b"\n",
    b"\r\n",
    b"\xff\x7f",
    b"\xff\xff",
    b"\xfe",
    b" ",
    b"\"",
    b"\\",
    b"\\u0000",
    b"\\ud800",
    b"{",
    b"}",
    b"[",
    b"]",
    b":",
    b",",
    b"null",
    b"true",
    b"-1",
    b"1e3",
    b"18446744073709551615",
    b"4294967296",
    b"admin:",
    b"a:x:1:",
    b"+",
    b"#",
    b"=",
    b"HOTP",
    b"otpauth",
    b"[[button]]\n",
    b"{\"ready\":{}}\0",
    "é".as_bytes(),
    "\u{202e}".as_bytes(),
];

/// splitmix64.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit.max(1) as u64).unwrap()
    }

    /// A range of at most `most` places.
    fn range(&mut self, length: usize, most: usize) -> std::ops::Range<usize> {
        let start = self.below(length + 1);
        start..start + self.below(most + 1).min(length - start)
    }

    fn mutated(&mut self, seeds: &[Vec<u8>]) -> Vec<u8> {
        let mut input = seeds[self.below(seeds.len())].clone();
        for _ in 0..1 + self.below(4) {
            let place = self.range(input.len(), 16);
            match self.below(7) {
                0 => drop(input.drain(place)),
                1 => drop(input.splice(place.start..place.start, PIECES[self.below(PIECES.len())].iter().copied())),
                2 => drop(input.splice(place, PIECES[self.below(PIECES.len())].iter().copied())),
                3 => {
                    let copied = input[place.clone()].to_vec();
                    let to = self.below(input.len() + 1);
                    drop(input.splice(to..to, copied));
                }
                4 => {
                    let other = &seeds[self.below(seeds.len())];
                    let piece = self.range(other.len(), 256);
                    drop(input.splice(place, other[piece].iter().copied()));
                }
                5 => {
                    if let Some(byte) = input.get_mut(place.start) {
                        *byte ^= 1 << self.below(8);
                    }
                }
                _ => {
                    let byte = u8::try_from(self.below(256)).unwrap();
                    drop(input.splice(place.start..place.start, [byte]));
                }
            }
        }
        input.truncate(LONGEST);
        input
    }
}

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// The target's own, and the shipped files of its kind.
fn seeds(target: &str) -> Vec<Vec<u8>> {
    let mut found = files(&fuzz().join("seeds").join(target));
    match target {
        "board" => found.extend(files(&fuzz().join("../board-configs"))),
        "configuration" => found.push(fuzz().join("../systemd/twostepd.toml")),
        _ => {}
    }
    found.iter().map(|file| fs::read(file).unwrap()).collect()
}

fn holds(target: &str, property: properties::Property, input: &[u8], what: &str) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| property(input))) {
        let shown = input.escape_ascii().to_string().replace("\\'", "\\x27").replace('%', "%%");
        eprintln!("{target}, {what}: printf '{shown}' > fuzz/seeds/{target}/NAME");
        std::panic::resume_unwind(panic);
    }
}

fn run(target: &str) {
    let (_, property) = *properties::TARGETS.iter().find(|(name, _)| *name == target).unwrap();
    let seeds = seeds(target);
    assert!(!seeds.is_empty(), "no seeds of {target}");
    for (n, seed) in seeds.iter().enumerate() {
        holds(target, property, seed, &format!("seed {n}"));
    }
    let rounds = std::env::var("TWOSTEP_FUZZ_ROUNDS").map_or(1, |rounds| rounds.parse().unwrap());
    for round in 0..rounds {
        let mut chance = Chance(round);
        for case in 0..CASES {
            holds(target, property, &chance.mutated(&seeds), &format!("round {round}, case {case}"));
        }
    }
}

#[test]
fn any_call_is_read_as_it_was_written_or_its_wrong_parameter_is_named() {
    run("calls");
}

#[test]
fn however_a_stream_is_cut_its_frames_are_the_same() {
    run("frame");
}

#[test]
fn nothing_but_whole_messages_in_their_turn_passes_between_engine_and_root() {
    run("privileged");
}

#[test]
fn what_is_imported_is_read_again_from_any_form_it_is_written_in() {
    run("import");
}

#[test]
fn what_people_type_and_scan_has_one_normal_form() {
    run("codes");
}

#[test]
fn an_edit_of_an_account_file_leaves_every_other_byte_as_it_was() {
    run("shadow");
}

#[test]
fn whatever_is_wrong_in_a_configuration_is_located_and_named() {
    run("configuration");
}

#[test]
fn whatever_is_wrong_in_a_board_profile_is_located_and_named() {
    run("board");
}

#[test]
fn cargo_fuzz_runs_the_same_targets() {
    let names: BTreeSet<String> = properties::TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    let stem = |file: &PathBuf| file.file_stem().unwrap().to_str().unwrap().to_owned();
    assert_eq!(files(&fuzz().join("fuzz_targets")).iter().map(stem).collect::<BTreeSet<_>>(), names);
    assert_eq!(files(&fuzz().join("seeds")).iter().map(stem).collect::<BTreeSet<_>>(), names);
    let manifest: toml::Table = toml::from_str(&fs::read_to_string(fuzz().join("Cargo.toml")).unwrap()).unwrap();
    let bins = manifest["bin"].as_array().unwrap().iter().map(|bin| bin["name"].as_str().unwrap().to_owned());
    assert_eq!(bins.collect::<BTreeSet<_>>(), names);
    for name in &names {
        let target = fs::read_to_string(fuzz().join(format!("fuzz_targets/{name}.rs"))).unwrap();
        assert!(target.contains(&format!("twostep_fuzz::{name}::check(input)")), "{name}");
    }
}
