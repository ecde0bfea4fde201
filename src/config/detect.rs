//! Which board this is: facts about the machine against the profiles.
//!
//! All the lists that a profile gives must match; of several profiles that do, the most specific wins. Two that fit equally are refused:
//! listening to a line that is something else on this board is worse than asking the operator.

use std::cmp::Reverse;
use std::path::{Path, PathBuf};
use std::{fmt, fs};

use super::board::{Board, Detect};
use super::paths::Paths;
use super::{Error, document};
use crate::core::pattern::matches;

/// What the machine says about itself. All empty where it says nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    /// The device tree's `/compatible`, the most specific first.
    pub compatible: Vec<String>,
    /// The device tree's `/model`.
    pub model: String,
    /// DMI `sys_vendor`.
    pub vendor: String,
    /// DMI `product_name` and `board_name`, those that are there.
    pub product: Vec<String>,
}

/// The profiles of a folder.
#[derive(Debug, Default)]
pub struct Boards {
    /// The good ones, in the order of their files' names.
    pub profiles: Vec<Board>,
    /// Why the others are left out: to be logged, since one of them may be this board's.
    pub refused: Vec<Error>,
}

/// Why no profile was chosen.
#[derive(Debug)]
pub enum NoBoard {
    /// `board.toml` is there and wrong. Another profile is not tried: the operator has said that this is the one.
    Refused(Error),
    /// No profile fits the machine.
    Unknown {
        /// What was seen.
        machine: Box<Machine>,
        /// The template.
        template: PathBuf,
        /// Where the operator's own profile would be.
        board: PathBuf,
        /// How many profiles there are.
        tried: usize,
    },
    /// Several fit equally well.
    Ambiguous {
        /// Their names.
        names: Vec<String>,
        /// Where they are.
        folder: PathBuf,
        /// Where the operator's own profile would be.
        board: PathBuf,
    },
}

/// How specific a match is: a greater one wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    lists: usize,
    compatible: Reverse<usize>,
    exact: usize,
    letters: usize,
}

impl Machine {
    /// Reads the facts; `root` is where `sys` and `proc` are.
    #[must_use]
    pub fn read(root: &Path) -> Self {
        let tree = |name: &str| {
            let places = ["sys/firmware/devicetree/base", "proc/device-tree"];
            places.iter().map(|place| texts(&root.join(place).join(name))).find(|t| !t.is_empty()).unwrap_or_default()
        };
        let dmi = |name: &str| texts(&root.join("sys/class/dmi/id").join(name)).into_iter().next();
        Self {
            compatible: tree("compatible"),
            model: tree("model").into_iter().next().unwrap_or_default(),
            vendor: dmi("sys_vendor").unwrap_or_default(),
            product: ["product_name", "board_name"].into_iter().filter_map(dmi).collect(),
        }
    }
}

/// The NUL-separated texts of a device-tree property; the one line of a DMI file.
fn texts(file: &Path) -> Vec<String> {
    let bytes = fs::read(file).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(document::MAX_BYTES)]).into_owned();
    text.split('\0').map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect()
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let facts = [
            ("compatible", self.compatible.join("\", \"")),
            ("model", self.model.clone()),
            ("vendor", self.vendor.clone()),
            ("product", self.product.join("\", \"")),
        ];
        let seen: Vec<String> = facts.into_iter().filter(|(_, t)| !t.is_empty()).map(|(name, t)| format!("{name} \"{t}\"")).collect();
        match seen.as_slice() {
            [] => f.write_str("nothing: neither a device tree nor DMI"),
            seen => f.write_str(&seen.join("; ")),
        }
    }
}

impl Detect {
    fn rank(&self, machine: &Machine) -> Option<Rank> {
        let model = std::slice::from_ref(&machine.model);
        let vendor = std::slice::from_ref(&machine.vendor);
        let lists =
            [(&self.compatible, &machine.compatible[..]), (&self.model, model), (&self.vendor, vendor), (&self.product, &machine.product)];
        let mut rank = Rank { lists: 0, compatible: Reverse(usize::MAX), exact: 0, letters: 0 };
        for (i, (patterns, facts)) in lists.into_iter().enumerate().filter(|(_, (patterns, _))| !patterns.is_empty()) {
            let hits = facts.iter().enumerate().flat_map(|(at, fact)| patterns.iter().map(move |p| (at, p, fact)));
            let hits = hits.filter(|(_, pattern, fact)| !fact.is_empty() && matches(pattern, fact));
            let best = |(at, pattern, _): (usize, &String, &String)| {
                (Reverse(at), !pattern.contains('*'), pattern.chars().filter(|c| *c != '*').count())
            };
            let (at, exact, letters) = hits.map(best).max()?;
            if i == 0 {
                rank.compatible = at;
            }
            rank.lists += 1;
            rank.exact += usize::from(exact);
            rank.letters += letters;
        }
        (rank.lists > 0).then_some(rank)
    }
}

impl Boards {
    /// Reads every `*.toml` of a folder but the template. A broken one does not stop the others.
    ///
    /// # Errors
    /// Where the folder can't be read.
    pub fn load_dir(folder: &Path) -> Result<Self, Error> {
        let mut boards = Self::default();
        for file in profiles(folder)?.iter().filter(|file| !file.ends_with("template.toml")) {
            match Board::load(file) {
                Ok(board) => boards.profiles.push(board),
                Err(error) => boards.refused.push(error),
            }
        }
        Ok(boards)
    }

    /// The most specific profiles that fit: none, one, or several that fit equally well.
    #[must_use]
    pub fn fitting(&self, machine: &Machine) -> Vec<&Board> {
        let ranked: Vec<_> = self.profiles.iter().filter_map(|board| Some((board.detect.rank(machine)?, board))).collect();
        let best = ranked.iter().map(|(rank, _)| *rank).max();
        ranked.into_iter().filter(|(rank, _)| Some(*rank) == best).map(|(_, board)| board).collect()
    }
}

/// The `*.toml` files of a folder, sorted.
pub(super) fn profiles(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let read = |reason| Error::Read { file: folder.to_string_lossy().into_owned(), reason };
    let entries: Result<Vec<_>, _> = fs::read_dir(folder).map_err(read)?.map(|entry| entry.map(|e| e.path())).collect();
    let mut files = entries.map_err(read)?;
    files.retain(|file| file.extension().is_some_and(|e| e == "toml"));
    files.sort();
    Ok(files)
}

impl Board {
    /// The profile of this machine: `board.toml` where it exists, else the shipped one that fits.
    ///
    /// # Errors
    /// Where none fits, or `board.toml` is wrong. Its text says what was seen and what to do.
    pub fn of_this_machine(paths: &Paths) -> Result<Self, NoBoard> {
        match Self::load(&paths.board()) {
            Ok(board) => return Ok(board),
            Err(Error::Read { reason, .. }) if reason.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(NoBoard::Refused(error)),
        }
        let boards = Boards::load_dir(&paths.boards).unwrap_or_else(|error| Boards { profiles: Vec::new(), refused: vec![error] });
        for error in &boards.refused {
            log::warn!("board: profile left out: {error}");
        }
        let machine = Machine::read(&paths.root);
        match boards.fitting(&machine).as_slice() {
            [board] => Ok((*board).clone()),
            [] => Err(NoBoard::Unknown {
                machine: Box::new(machine),
                template: paths.boards.join("template.toml"),
                board: paths.board(),
                tried: boards.profiles.len(),
            }),
            several => Err(NoBoard::Ambiguous {
                names: several.iter().map(|b| b.name.clone()).collect(),
                folder: paths.boards.clone(),
                board: paths.board(),
            }),
        }
    }
}

impl fmt::Display for NoBoard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(error) => error.fmt(f),
            Self::Unknown { machine, template, board, tried } => write!(
                f,
                "none of {tried} board profiles fits this machine, which says {machine}. Find its button with `twostep recovery identify`, \
                 then write {} from the template {}",
                board.display(),
                template.display()
            ),
            Self::Ambiguous { names, folder, board } => write!(
                f,
                "the board profiles \"{}\" fit this machine equally well: copy the right one from {} to {}",
                names.join("\" and \""),
                folder.display(),
                board.display()
            ),
        }
    }
}

impl std::error::Error for NoBoard {}
