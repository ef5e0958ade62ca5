//! The documented queries over manifests, answered by a real DuckDB.
