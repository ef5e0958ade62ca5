//! SHA-256, by the crypto library that TLS uses anyway: without the CPU's SHA extensions it digests more than twice as fast as the portable crate.

use aws_lc_rs::digest::{Context, SHA256, digest};

/// A SHA-256 in the making.
#[derive(Clone)]
pub struct Sha256(Context);

impl Sha256 {
    /// A digest of nothing yet.
    pub fn new() -> Self {
        Self(Context::new(&SHA256))
    }

    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> [u8; 32] {
        sized(digest(&SHA256, bytes).as_ref())
    }

    /// Adds `bytes`.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of all that was added.
    pub fn finish(self) -> [u8; 32] {
        sized(self.0.finish().as_ref())
    }

    /// The digest of all that was added, in lower hex.
    pub fn finish_hex(self) -> String {
        hex::encode(self.0.finish().as_ref())
    }
}

impl Default for Sha256 {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sha256")
    }
}

fn sized(digest: &[u8]) -> [u8; 32] {
    digest.try_into().expect("SHA-256 has 32 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_digest_of_the_standard() {
        // FIPS 180-4's example for "abc".
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(hex::encode(Sha256::of(b"abc")), abc);
        let mut pieces = Sha256::new();
        pieces.update(b"a");
        pieces.update(b"bc");
        assert_eq!(pieces.finish_hex(), abc);
    }
}
