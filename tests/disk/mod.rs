//! A disk that fails, or goes dead as in a power cut, at a chosen step.

use std::io;
use std::path::Path;
use std::sync::Mutex;

use twostep::sys::atomic_file::{Disk, Step};

/// The steps are counted from 0.
pub struct FailingDisk {
    fails: fn(&Step, &Path) -> Option<i32>,
    dead_from: usize,
    steps: Mutex<Vec<Step>>,
}

impl FailingDisk {
    /// Nothing happens from this step on.
    pub fn dead_from(step: usize) -> Self {
        Self { fails: |_, _| None, dead_from: step, steps: Mutex::default() }
    }

    /// The steps for which this gives an errno fail with it.
    pub fn failing(fails: fn(&Step, &Path) -> Option<i32>) -> Self {
        Self { fails, dead_from: usize::MAX, steps: Mutex::default() }
    }

    /// The steps so far.
    pub fn steps(&self) -> Vec<Step> {
        self.steps.lock().unwrap().clone()
    }
}

impl Disk for FailingDisk {
    fn before(&self, step: Step, path: &Path) -> io::Result<()> {
        let mut steps = self.steps.lock().unwrap();
        steps.push(step);
        if steps.len() > self.dead_from {
            return Err(io::Error::other("power cut"));
        }
        (self.fails)(&step, path).map_or(Ok(()), |errno| Err(io::Error::from_raw_os_error(errno)))
    }
}
