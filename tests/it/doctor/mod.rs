//! `salvage doctor` on set-ups that are whole and on broken ones.
