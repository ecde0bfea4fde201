//! What must hold for whatever bytes come from elsewhere: one module for each place that reads them, one function in each.
//!
//! `fuzz_targets/` hands them to cargo-fuzz, `tests/fuzz.rs` runs the same functions on stable with seeded mutations of `seeds/`. A function
//! panics where its property does not hold. An input that once broke one is kept among the seeds.

pub mod board;
pub mod calls;
pub mod codes;
pub mod configuration;
pub mod frame;
pub mod import;
pub mod privileged;
pub mod shadow;

/// Panics where an input breaks it.
pub type Property = fn(&[u8]);

/// Every target by its name.
pub const TARGETS: [(&str, Property); 8] = [
    ("board", board::check),
    ("calls", calls::check),
    ("codes", codes::check),
    ("configuration", configuration::check),
    ("frame", frame::check),
    ("import", import::check),
    ("privileged", privileged::check),
    ("shadow", shadow::check),
];

/// Short inputs for long streams: the byte 0xff and a count stand for so many times 512 letters, up to a few frames in all.
pub fn expanded(input: &[u8]) -> Vec<u8> {
    const MOST: usize = 3 * twostep::proto::frame::MAX;
    let (mut bytes, mut rest) = (Vec::new(), input.iter());
    while let Some(byte) = rest.next() {
        match byte {
            0xff => {
                let count = usize::from(rest.next().copied().unwrap_or(0)) * 512;
                bytes.resize((bytes.len() + count).min(MOST.max(bytes.len())), b'x');
            }
            byte => bytes.push(*byte),
        }
    }
    bytes
}
