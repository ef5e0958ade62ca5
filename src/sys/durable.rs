//! Small files that are there whole or not at all, whatever stops the machine.

use std::ffi::{OsStr, OsString};
use std::io::{self, Write};

use super::Dir;

/// Puts `content` under `name` in `dir`: staged beside it, synced, renamed over it, directory synced. Afterwards either the old or the new
/// content is there, never a mixture; a stop in between leaves a `.NAME.tmp` that means nothing.
///
/// # Errors
/// Those of the file system; the old content is then still there.
pub fn write_durably(dir: &Dir, name: &OsStr, content: &[u8]) -> io::Result<()> {
    let mut staged = OsString::from(".");
    staged.push(name);
    staged.push(".tmp");
    let written = create_staged(dir, &staged).and_then(|mut file| {
        file.write_all(content)?;
        file.sync_all()
    });
    let done = written.and_then(|()| dir.rename_over(&staged, dir, name));
    if done.is_err() {
        // It may hold the very blocks whose lack made it fail.
        let _ = dir.remove_file(&staged);
    }
    done?;
    dir.sync()
}

fn create_staged(dir: &Dir, staged: &OsStr) -> io::Result<std::fs::File> {
    match dir.create_file(staged) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            dir.remove_file(staged)?;
            dir.create_file(staged)
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_is_replaced_whole_and_leftovers_do_not_matter() {
        let temp = tempfile::tempdir().expect("temp dir");
        let dir = Dir::open(temp.path()).expect("open");
        std::fs::write(temp.path().join(".state.tmp"), b"torn").expect("leftover");
        write_durably(&dir, OsStr::new("state"), b"one").expect("write");
        write_durably(&dir, OsStr::new("state"), b"two").expect("write");
        assert_eq!(
            std::fs::read(temp.path().join("state")).expect("read"),
            b"two"
        );
        assert_eq!(std::fs::read_dir(temp.path()).expect("list").count(), 1);
    }
}
