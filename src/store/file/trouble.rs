//! What goes wrong in a file system, in the words of a store.

use std::io;

use rustix::io::Errno;

use crate::store::{Error, Operation, Problem};

/// What went wrong, before it is known what it was about.
#[derive(Debug)]
pub(super) enum Trouble {
    Problem(Problem),
    Io(io::Error),
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<Problem> for Trouble {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

impl Trouble {
    pub(super) fn error(self, operation: Operation, about: String) -> Error {
        match self {
            Self::Problem(problem) => Error::new(operation, about, problem),
            Self::Io(error) => {
                Error::new(operation, about, problem_of(operation, &error)).because(error)
            }
        }
    }
}

fn problem_of(operation: Operation, error: &io::Error) -> Problem {
    let refused = |why: &str| Problem::Refused(why.to_owned());
    match Errno::from_io_error(error) {
        Some(Errno::NOSPC | Errno::DQUOT) => Problem::Full,
        Some(Errno::ACCESS | Errno::PERM) => Problem::Denied(match operation {
            Operation::Head
            | Operation::Get
            | Operation::List
            | Operation::ListUploads
            | Operation::ListParts => "read and search permission below the store's directory",
            _ => "read, write and search permission below the store's directory",
        }),
        Some(Errno::ROFS) => refused("the store's file system is mounted read-only"),
        Some(Errno::LOOP | Errno::XDEV) => refused(
            "a symbolic link or another mount stands on the way below the store's directory; remove it",
        ),
        Some(Errno::NOTDIR | Errno::ISDIR | Errno::NOTEMPTY) => refused(
            "an object stands where the key needs a directory, or a directory where it needs the object; in a file:// store a key cannot be both",
        ),
        Some(Errno::FBIG) => {
            refused("the file system of the store cannot hold a file of this size")
        }
        _ => Problem::Failed("the file system reported an error".to_owned()),
    }
}

/// Whether there is nothing of that name.
pub(super) fn absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}
