//! The steps of a dump from its source to the store: everything on that way that changes something outside the process.
//!
//! Each has a name, so that a test can end the agent right before and right after any of them, and so that a list of them exists that
//! cannot be out of date: what changes something takes a [`Step`], and a step is only what is listed here.

macro_rules! steps {
    ($($(#[doc = $doc:literal])+ $step:ident = $name:literal,)+) => {
        /// One step.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Step {
            $($(#[doc = $doc])+ $step,)+
        }

        impl Step {
            /// Every step, in the order in which a dump meets them.
            pub const ALL: &[Self] = &[$(Self::$step,)+];

            /// Its name.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$step => $name,)+
                }
            }
        }
    };
}

steps! {
    /// The intent to take a dump is written.
    Intend = "intend",
    /// The dump is renamed to where it is held.
    Take = "take",
    /// That it is held is written.
    NoteHeld = "note-held",
    /// A dump that could not be renamed away is copied, to a name that means nothing yet.
    Copy = "copy",
    /// The whole copy gets its name.
    NameCopy = "name-copy",
    /// That the copy is whole is written.
    NoteCopied = "note-copied",
    /// The original goes.
    RemoveOriginal = "remove-original",
    /// That the copy is all there is now is written.
    NoteOriginalGone = "note-original-gone",
    /// That a capture is whole is written.
    NoteCapture = "note-capture",
    /// A whole capture gets its name.
    NameCapture = "name-capture",
    /// What the dump says is written.
    NoteFacts = "note-facts",
    /// The end of a container is written, as a crash.
    NoteDeath = "note-death",
    /// The log of a container that ended gets its name.
    NameLog = "name-log",
    /// That a file belongs to an older entry's crash is written there.
    Join = "join",
    /// The joined file's own entry goes.
    ForgetJoined = "forget-joined",
    /// What was decided about the crash is written.
    NoteChoice = "note-choice",
    /// A small artifact is put in one request.
    PutArtifact = "put-artifact",
    /// That a multipart upload is about to begin is written.
    NoteBeginning = "note-beginning",
    /// A multipart upload is begun.
    Begin = "begin",
    /// The journal of the upload is begun.
    BeginJournal = "begin-journal",
    /// Which upload was begun is written.
    NoteBegun = "note-begun",
    /// A part is sent.
    SendPart = "send-part",
    /// That a part was sent is written to the journal.
    JournalPart = "journal-part",
    /// That all parts were sent, and what they must become, is written to the journal.
    JournalWhole = "journal-whole",
    /// The upload is completed.
    Complete = "complete",
    /// An artifact is looked at in the store.
    VerifyArtifact = "verify-artifact",
    /// That an object is stored is written.
    NoteObject = "note-object",
    /// An upload that is not gone on with is given up.
    Abort = "abort",
    /// That it was given up is written.
    NoteAborted = "note-aborted",
    /// The journal goes.
    RemoveJournal = "remove-journal",
    /// The manifest is written to the state.
    NoteManifest = "note-manifest",
    /// The manifest is put.
    PutManifest = "put-manifest",
    /// The manifest is looked at in the store.
    VerifyManifest = "verify-manifest",
    /// That all is stored is written.
    NoteStored = "note-stored",
    /// The dump goes.
    RemoveDump = "remove-dump",
    /// What is remembered of a stored crash is written.
    NoteTold = "note-told",
    /// The entry goes.
    RemoveEntry = "remove-entry",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_steps_share_a_name() {
        for (n, step) in Step::ALL.iter().enumerate() {
            assert_eq!(
                Step::ALL[..n].iter().find(|s| s.name() == step.name()),
                None
            );
        }
    }
}
