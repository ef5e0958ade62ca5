//! SHA-256 whose state can be kept and gone on with: a digest over a dump whose upload is resumed must not begin again.
//!
//! By AWS-LC, as the plain one in `model`, for its speed without the CPU's SHA extensions; its context (`SHA256_CTX` of `<openssl/sha.h>`) is a plain structure
//! with public fields, and is the state.

use std::mem::MaybeUninit;

use aws_lc_sys::{SHA256_CTX, SHA256_Final, SHA256_Init, SHA256_Update};
use serde::{Deserialize, Serialize};

/// A SHA-256 in the making.
#[derive(Clone, Copy)]
pub struct RunningSha256(SHA256_CTX);

/// The state of a SHA-256 between two bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct Sha256State {
    chain: [u8; 32],
    /// Bytes so far.
    bytes: u64,
    /// Those that do not fill a block yet.
    rest: Vec<u8>,
}

/// A state as it is written: hex, length, hex.
#[derive(Serialize, Deserialize)]
struct Written {
    #[serde(with = "hex")]
    chain: [u8; 32],
    bytes: u64,
    #[serde(with = "hex")]
    rest: Vec<u8>,
}

const BLOCK: u64 = 64;

impl RunningSha256 {
    /// A digest of nothing yet.
    pub fn new() -> Self {
        let mut context = MaybeUninit::zeroed();
        // SAFETY: the pointer is to memory of a context's size and alignment, which the call fills; zeros are a valid context too.
        unsafe {
            SHA256_Init(context.as_mut_ptr());
            Self(context.assume_init())
        }
    }

    /// Goes on from a state.
    pub fn resume(state: &Sha256State) -> Self {
        let mut running = Self::new();
        let context = &mut running.0;
        for (word, bytes) in context.h.iter_mut().zip(state.chain.chunks_exact(4)) {
            *word = u32::from_be_bytes(bytes.try_into().expect("chunks of four"));
        }
        // The length is kept in bits, in two halves.
        let bits = state.bytes << 3;
        context.Nl = bits as u32;
        context.Nh = (bits >> 32) as u32;
        context.data[..state.rest.len()].copy_from_slice(&state.rest);
        context.num = state.rest.len() as u32;
        running
    }

    /// The state now.
    pub fn state(&self) -> Sha256State {
        let context = &self.0;
        let mut chain = [0; 32];
        for (bytes, word) in chain.chunks_exact_mut(4).zip(context.h) {
            bytes.copy_from_slice(&word.to_be_bytes());
        }
        let bits = u64::from(context.Nh) << 32 | u64::from(context.Nl);
        Sha256State {
            chain,
            bytes: bits >> 3,
            rest: context.data[..context.num as usize].to_vec(),
        }
    }

    /// Adds `bytes`.
    pub fn update(&mut self, bytes: &[u8]) {
        // SAFETY: the context was made by `new`; the pointer and the length are of one slice, which the call only reads.
        unsafe {
            SHA256_Update(&mut self.0, bytes.as_ptr().cast(), bytes.len());
        }
    }

    /// The digest of all that was added, in lower hex.
    pub fn finish_hex(mut self) -> String {
        let mut digest = [0; 32];
        // SAFETY: the context was made by `new`; the digest has the 32 bytes that the call writes.
        unsafe {
            SHA256_Final(digest.as_mut_ptr(), &mut self.0);
        }
        hex::encode(digest)
    }
}

impl Default for RunningSha256 {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for RunningSha256 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RunningSha256")
    }
}

impl TryFrom<Written> for Sha256State {
    type Error = &'static str;

    fn try_from(written: Written) -> Result<Self, Self::Error> {
        let Written { chain, bytes, rest } = written;
        // Longer texts than 2^61 bytes have no SHA-256 (FIPS 180-4, 1).
        if bytes >> 61 != 0 || rest.len() as u64 != bytes % BLOCK {
            return Err("no state of a SHA-256");
        }
        Ok(Self { chain, bytes, rest })
    }
}

impl From<Sha256State> for Written {
    fn from(state: Sha256State) -> Self {
        let Sha256State { chain, bytes, rest } = state;
        Self { chain, bytes, rest }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Sha256;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_digest_that_was_kept_and_gone_on_with_is_the_plain_one(
            bytes in prop::collection::vec(any::<u8>(), 0..400),
            cut in any::<prop::sample::Index>(),
        ) {
            let cut = cut.index(bytes.len() + 1);
            let mut before = RunningSha256::new();
            before.update(&bytes[..cut]);
            let written = serde_json::to_string(&before.state()).expect("serialises");
            let state: Sha256State = serde_json::from_str(&written).expect("reads back");
            let mut after = RunningSha256::resume(&state);
            prop_assert_eq!(after.state(), state);
            after.update(&bytes[cut..]);
            prop_assert_eq!(after.finish_hex(), hex::encode(Sha256::of(&bytes)));
        }
    }

    #[test]
    fn more_than_four_gigabits_are_counted() {
        let mut state = RunningSha256::new().state();
        state.bytes = 5 << 30;
        assert_eq!(RunningSha256::resume(&state).state(), state);
    }

    #[test]
    fn a_state_that_is_none_is_refused() {
        let chain = "00".repeat(32);
        for (bytes, rest) in [(1u64, ""), (64, "00"), (1 << 62, "")] {
            let written = format!(r#"{{"chain":"{chain}","bytes":{bytes},"rest":"{rest}"}}"#);
            assert!(serde_json::from_str::<Sha256State>(&written).is_err());
        }
    }
}
