//! Names and paths of the node in a state file: text where they are text, hex where they are not.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use serde::{Deserialize, Serialize};

/// The bytes of a name or path.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "Written", into = "Written")]
pub struct RawName(OsString);

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Written {
    Text(String),
    #[serde(with = "hex")]
    Hex(Vec<u8>),
}

impl RawName {
    /// The name as the system wants it.
    pub fn as_os_str(&self) -> &OsStr {
        &self.0
    }
}

impl<T: AsRef<OsStr> + ?Sized> From<&T> for RawName {
    fn from(name: &T) -> Self {
        Self(name.as_ref().to_owned())
    }
}

impl From<Written> for RawName {
    fn from(written: Written) -> Self {
        match written {
            Written::Text(text) => Self(text.into()),
            Written::Hex(bytes) => Self(OsString::from_vec(bytes)),
        }
    }
}

impl From<RawName> for Written {
    fn from(name: RawName) -> Self {
        name.0
            .into_string()
            .map_or_else(|raw| Self::Hex(raw.as_bytes().to_vec()), Self::Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn any_name_survives_a_state_file() {
        for bytes in [&b"core.1"[..], b"a\nb\"", b"\xff\xfe", "ä".as_bytes()] {
            let name = RawName::from(OsStr::from_bytes(bytes));
            let json = serde_json::to_string(&name).expect("serialises");
            assert_eq!(
                serde_json::from_str::<RawName>(&json).expect("reads back"),
                name
            );
        }
    }

    proptest! {
        #[test]
        fn any_bytes_survive_a_state_file(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let name = RawName::from(OsStr::from_bytes(&bytes));
            let json = serde_json::to_string(&name).expect("serialises");
            prop_assert_eq!(serde_json::from_str::<RawName>(&json).expect("reads back"), name);
        }
    }
}
