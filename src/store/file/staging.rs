//! Files under construction, and how one of them becomes an object.
//!
//! Owns `.staging`: the names in it, what a stop leaves there, and the way out of it, which is a rename.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;

use jiff::{SignedDuration, Timestamp};
use rustix::io::Errno;

use super::objects::split;
use super::table::{staged_of, table_name};
use super::trouble::{Trouble, absent};
use crate::model::ObjectKey;
use crate::store::{Problem, PutMode};
use crate::sys::Dir;

/// Its name below the root. No key begins with a dot.
pub(super) const STAGING: &str = ".staging";
/// An upload that moves touches its file more often.
const LEFT_BEHIND: SignedDuration = SignedDuration::from_hours(24);

/// The staging directory, made if need be.
pub(super) fn staging(root: &Dir) -> io::Result<Dir> {
    open_or_make(root, OsStr::new(STAGING))
}

/// The staging directory, if it is there.
pub(super) fn open_staging(root: &Dir) -> io::Result<Option<Dir>> {
    match root.open_dir(OsStr::new(STAGING)) {
        Ok(staging) => Ok(Some(staging)),
        Err(error) if absent(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

fn open_or_make(dir: &Dir, name: &OsStr) -> io::Result<Dir> {
    match dir.open_dir(name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        other => return other,
    }
    match dir.create_dir(name) {
        // Another put was faster.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        other => other?,
    }
    dir.open_dir(name)
}

/// A new file in staging under a name of its own.
pub(super) fn stage(staging: &Dir) -> io::Result<(OsString, File)> {
    loop {
        let name = OsString::from(format!("{:032x}", fastrand::u128(..)));
        match staging.create_file(&name) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            other => return other.map(|file| (name, file)),
        }
    }
}

pub(super) fn is_staged_name(name: &str) -> bool {
    name.len() == 32
        && name
            .bytes()
            .all(|b| b.is_ascii_digit() || matches!(b, b'a'..=b'f'))
}

/// Gives a staged, synced file its key, durably.
pub(super) fn publish(
    root: &Dir,
    staging: &Dir,
    staged: &OsStr,
    key: &ObjectKey,
    mode: PutMode,
) -> std::result::Result<(), Trouble> {
    let (directories, name) = split(key);
    let mut way: Vec<Dir> = Vec::with_capacity(directories.len());
    for directory in directories {
        let next = open_or_make(way.last().unwrap_or(root), directory)?;
        way.push(next);
    }
    let parent = way.last().unwrap_or(root);
    match mode {
        PutMode::Overwrite => staging.rename_over(staged, parent, name)?,
        PutMode::Create => create(staging, staged, parent, name)?,
    }
    // All of them, also those that exist already: who made them may have been stopped before it synced.
    for dir in way.iter().rev() {
        dir.sync()?;
    }
    root.sync()?;
    Ok(())
}

fn create(
    staging: &Dir,
    staged: &OsStr,
    parent: &Dir,
    name: &OsStr,
) -> std::result::Result<(), Trouble> {
    match staging.rename(staged, parent, name) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            Err(Problem::AlreadyExists.into())
        }
        // A file system (NFS, some FUSE) that cannot do both at once. Ids keep two writers from meeting here.
        Err(error) if Errno::from_io_error(&error) == Some(Errno::INVAL) => {
            match parent.stat(name) {
                Ok(_) => Err(Problem::AlreadyExists.into()),
                Err(error) if absent(&error) => Ok(staging.rename_over(staged, parent, name)?),
                Err(error) => Err(error.into()),
            }
        }
        Err(error) => Err(error.into()),
    }
}

/// Removes what a stop left in staging long ago, and tables without what they belong to.
pub(super) fn clear_left_behind(root: &Dir, now: Timestamp) -> std::result::Result<(), Trouble> {
    let staging = staging(root)?;
    for entry in staging.entries()? {
        let name = entry?.name;
        let left = match staged_of(&name) {
            Some(staged) => staging.stat(staged).is_err_and(|error| absent(&error)),
            None => {
                let ours = name.to_str().is_some_and(is_staged_name);
                let stat = staging.stat(&name);
                ours && stat.is_ok_and(|stat| now.duration_since(stat.modified) > LEFT_BEHIND)
            }
        };
        if !left {
            continue;
        }
        for name in [&name, &table_name(&name)] {
            match staging.remove_file(name) {
                Err(error) if !absent(&error) => return Err(error.into()),
                _ => {}
            }
        }
    }
    Ok(())
}
