//! The place of a dump, as the target sees it.

use crate::model::Escaped;

use super::Invalid;

/// An absolute path in the target's own file system, in the form in which `createdump` takes it.
///
/// `createdump` expands `%p`, `%e` and their kin in it, writes no dump for a letter it does not know, and 3.1 hands it to `printf`. So `%` is written twice,
/// which all of them make one of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DumpPath(String);

/// As the kernel's `PATH_MAX`, without the NUL. `createdump` has no more room either.
const PATH_BYTES_MAX: usize = 4_095;

impl DumpPath {
    /// The path of a place in the target.
    ///
    /// # Errors
    /// A path that is not absolute, ends in a slash, holds a NUL, or has more than 4,095 bytes with each `%` counted twice.
    pub fn new(path: &str) -> Result<Self, Invalid> {
        let written = path.replace('%', "%%");
        let is_file = path.starts_with('/') && !path.ends_with('/');
        if !is_file || path.contains('\0') || written.len() > PATH_BYTES_MAX {
            return Err(Invalid(format!(
                "{} is no place for a dump: it is an absolute path of a file, of at most {PATH_BYTES_MAX} bytes and without NUL",
                Escaped::bytes(path.as_bytes())
            )));
        }
        Ok(Self(written))
    }

    /// As it is sent.
    pub(super) fn written(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_absolute_paths_of_files_are_places_for_a_dump() {
        for path in [
            "",
            "/",
            "tmp/x",
            "|/tmp/x",
            "/tmp/",
            "/tmp/\0",
            &format!("/{}", "x".repeat(4_095)),
        ] {
            assert!(DumpPath::new(path).is_err(), "{path:?}");
        }
        assert!(DumpPath::new(&format!("/{}", "x".repeat(4_094))).is_ok());
        assert!(DumpPath::new(&format!("/{}", "%".repeat(2_048))).is_err());
    }

    #[test]
    fn nothing_in_it_is_expanded() {
        let path = DumpPath::new("/tmp/100%p/x").expect("valid");
        assert_eq!(path.written(), "/tmp/100%%p/x");
    }
}
