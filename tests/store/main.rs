//! What the engine's store promises: nothing answered is forgotten, nothing used comes back, damage is said and never deleted.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use proptest::prelude::*;
use tempfile::TempDir;
use twostep::core::account::{Method, Methods};
use twostep::core::clock::Moment;
use twostep::core::enforcement::SubjectKind;
use twostep::core::lockout::{Failures, Tally};
use twostep::core::time::Wall;
use twostep::core::totp::{Algorithm, Enrolment, Mark, TimeStep};
use twostep::engine::store::*;
use twostep::proto::privileged::Recovered;
use twostep::proto::secret::Secret;

mod audit;
mod backups;
mod commits;
mod damage;
mod devices;
mod keys;
mod model;
#[path = "../support/patience.rs"]
mod patience;
mod restores;
#[path = "../support/skip.rs"]
mod skip;
mod state;
mod steps;

use skip::{Lack, skipped};

const NOW: Wall = Wall(1_795_517_326);
const STEP: TimeStep = TimeStep(59_850_577);
const SECRET: &[u8] = b"a shared secret 0123";

fn key(byte: u8) -> Option<SealingKey> {
    SealingKey::from_slice(&[byte; 32])
}

fn options(folder: &Path) -> Options {
    Options { backups: 2, audit_rows: 1000, ..Options::new(folder.into(), || NOW) }
}

fn open(folder: &Path) -> Store {
    Store::open(options(folder), key(1))
}

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn enabled(uid: u32, name: &str) -> Stored {
    let mut stored = Stored::new(uid, name);
    stored.account.methods = Methods::NONE.with(Method::SecurityCode);
    stored.account.preferred = Some(Method::SecurityCode);
    stored
}

fn failed(in_a_row: u32) -> Failures {
    Failures { in_a_row, last: Some(Moment::default()) }
}

fn enrolment(secret: &[u8]) -> Enrolment {
    Enrolment::existing(secret.to_vec(), Algorithm::Sha1, 6, 30).unwrap()
}

fn known(tx: &View<'_>, uid: u32, name: &str) -> Stored {
    match tx.account(uid, name).unwrap() {
        Lookup::Known(stored) => stored,
        other => panic!("{other:?}"),
    }
}

async fn enrol(store: &Store, uid: u32, name: &'static str, secret: &'static [u8]) {
    store.write(move |tx| tx.save_enrolled(&enabled(uid, name), &enrolment(secret))).await.unwrap();
}

async fn alice(store: &Store) -> Stored {
    store.read(|view| Ok(known(view, 1000, "alice"))).await.unwrap()
}

async fn use_step(store: &Store, step: TimeStep) -> bool {
    store.write(move |tx| tx.mark_step(1000, step, Mark::Used, STEP)).await.unwrap()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = vec![];
    for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() { found.extend(files(&entry)) } else { found.push(entry) }
    }
    found
}

fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..length).map(|_| next()).collect()
}

fn set_aside(store: &Store) -> PathBuf {
    match store.failure() {
        Some(Failure::SetAside { file: Some(file), .. }) => file,
        other => panic!("{other:?}"),
    }
}
