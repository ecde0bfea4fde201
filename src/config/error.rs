//! What is wrong with a file: every problem with its line and the way out.

use std::{fmt, io};

/// Why a configuration or a board profile is refused.
#[derive(Debug)]
pub enum Error {
    /// The file, or the folder, could not be read.
    Read {
        /// Its path.
        file: String,
        /// What the system said.
        reason: io::Error,
    },
    /// The file was read, and is wrong.
    Invalid {
        /// Its path, or the name given to the parser.
        file: String,
        /// What is wrong, in the order of the lines; never empty.
        problems: Vec<Problem>,
    },
}

/// One thing wrong in a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The line, from 1; 0 where no single line is at fault.
    pub line: usize,
    /// What is wrong, and the way out. Values that may be secret are not in it.
    pub text: String,
}

impl Error {
    /// The problems by line; a file that could not be read has one without a line.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        match self {
            Self::Read { reason, .. } => vec![Problem { line: 0, text: format!("cannot be read: {reason}") }],
            Self::Invalid { problems, .. } => problems.clone(),
        }
    }

    /// The file at fault.
    #[must_use]
    pub fn file(&self) -> &str {
        match self {
            Self::Read { file, .. } | Self::Invalid { file, .. } => file,
        }
    }
}

impl fmt::Display for Error {
    /// One line for each problem, as compilers do: `file:line: text`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, Problem { line, text }) in self.problems().into_iter().enumerate() {
            let end = if i == 0 { "" } else { "\n" };
            match line {
                0 => write!(f, "{end}{}: {text}", self.file())?,
                line => write!(f, "{end}{}:{line}: {text}", self.file())?,
            }
        }
        Ok(())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Read { reason, .. } => Some(reason),
            Self::Invalid { .. } => None,
        }
    }
}
