//! Which runtimes a container's variables make write a dump, and where.
//!
//! A value may hold anything, so none gets out of here: only the runtime's name, the variable's name and whether the place is one that is wanted.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The variables of a container; a value is absent where it comes from elsewhere.
pub(super) type Variables = BTreeMap<String, Option<String>>;

/// A runtime that writes a dump.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Writes {
    /// The runtime.
    pub(super) runtime: &'static str,
    /// The variable that makes it.
    pub(super) by: &'static str,
    /// Where to.
    pub(super) to: To,
}

/// Where a runtime writes its dump.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum To {
    /// To a file here, or below.
    Path(PathBuf),
    /// Into the directory its process runs in, which the object may not tell.
    WorkingDirectory,
    /// The object does not tell.
    Untold,
}

/// How a runtime is told by its variables.
struct Runtime {
    name: &'static str,
    of: fn(&Variables, &'static str) -> Option<Writes>,
}

const RUNTIMES: [Runtime; 3] = [
    Runtime {
        name: ".NET",
        of: dotnet,
    },
    Runtime {
        name: "Java",
        of: java,
    },
    Runtime {
        name: "Node",
        of: node,
    },
];

/// What the variables make write.
pub(super) fn writers(variables: &Variables) -> Vec<Writes> {
    RUNTIMES
        .iter()
        .filter_map(|runtime| (runtime.of)(variables, runtime.name))
        .collect()
}

/// Both spellings; runtimes of today take both.
fn dotnet(variables: &Variables, runtime: &'static str) -> Option<Writes> {
    let enabling = ["DOTNET_DbgEnableMiniDump", "COMPlus_DbgEnableMiniDump"];
    let by = enabling
        .into_iter()
        .find(|name| match variables.get(*name) {
            Some(Some(value)) => {
                value
                    .trim()
                    .trim_start_matches("0x")
                    .trim_start_matches('0')
                    == "1"
            }
            Some(None) => true,
            None => false,
        })?;
    let names = ["DOTNET_DbgMiniDumpName", "COMPlus_DbgMiniDumpName"];
    let to = match names.into_iter().find_map(|name| variables.get(name)) {
        Some(Some(template)) => place(template),
        Some(None) => To::Untold,
        // `/tmp/coredump.<pid>`, as Microsoft documents.
        None => To::Path("/tmp".into()),
    };
    Some(Writes { runtime, by, to })
}

fn java(variables: &Variables, runtime: &'static str) -> Option<Writes> {
    let enabling = [
        "-XX:+HeapDumpOnOutOfMemoryError",
        "-XX:+CrashOnOutOfMemoryError",
    ];
    let names = ["JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS"];
    by_options(
        variables,
        runtime,
        &names,
        &enabling,
        &["-XX:HeapDumpPath="],
    )
}

fn node(variables: &Variables, runtime: &'static str) -> Option<Writes> {
    let enabling = [
        "--report-on-fatalerror",
        "--report-uncaught-exception",
        "--report-on-signal",
        "--heapsnapshot-near-heap-limit",
    ];
    let places = ["--report-directory=", "--report-dir=", "--diagnostic-dir="];
    by_options(variables, runtime, &["NODE_OPTIONS"], &enabling, &places)
}

/// A runtime that takes options from a variable.
fn by_options(
    variables: &Variables,
    runtime: &'static str,
    names: &[&'static str],
    enabling: &[&str],
    places: &[&str],
) -> Option<Writes> {
    names.iter().find_map(|by| {
        let Some(value) = variables.get(*by)? else {
            let to = To::Untold;
            return Some(Writes { runtime, by, to });
        };
        let mut options = value.split_whitespace();
        let enables = |option: &str| {
            enabling.iter().any(|on| {
                option
                    .strip_prefix(on)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
            })
        };
        if !options.any(enables) {
            return None;
        }
        let given = value
            .split_whitespace()
            .rev()
            .find_map(|option| places.iter().find_map(|place| option.strip_prefix(place)));
        let to = given.map_or(To::WorkingDirectory, place);
        Some(Writes { runtime, by, to })
    })
}

/// The place that a value names. The kubelet expands `$(VAR)`, which is not done here.
fn place(written: &str) -> To {
    let path = Path::new(written.trim_matches(['"', '\'']));
    if written.contains("$(") {
        To::Untold
    } else if path.is_absolute() {
        To::Path(path.to_owned())
    } else {
        To::WorkingDirectory
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(variables: &[(&str, Option<&str>)]) -> Vec<(&'static str, To)> {
        let variables: Variables = variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.map(str::to_owned)))
            .collect();
        writers(&variables)
            .into_iter()
            .map(|writes| (writes.runtime, writes.to))
            .collect()
    }

    fn at(path: &str) -> To {
        To::Path(path.into())
    }

    #[test]
    fn dotnet_is_told_by_both_spellings() {
        let enable = ("DOTNET_DbgEnableMiniDump", Some("1"));
        let name = ("DOTNET_DbgMiniDumpName", Some("/var/salvage/%e.%p.dmp"));
        assert_eq!(
            told(&[enable, name]),
            [(".NET", at("/var/salvage/%e.%p.dmp"))]
        );
        assert_eq!(told(&[enable]), [(".NET", at("/tmp"))]);
        let old = [
            ("COMPlus_DbgEnableMiniDump", Some("0x1")),
            ("COMPlus_DbgMiniDumpName", Some("core")),
        ];
        assert_eq!(told(&old), [(".NET", To::WorkingDirectory)]);
        let elsewhere = ("DOTNET_DbgMiniDumpName", None);
        assert_eq!(told(&[enable, elsewhere]), [(".NET", To::Untold)]);
        let expanded = ("DOTNET_DbgMiniDumpName", Some("$(DIR)/core"));
        assert_eq!(told(&[enable, expanded]), [(".NET", To::Untold)]);
        assert_eq!(told(&[("DOTNET_DbgEnableMiniDump", Some("0"))]), []);
        assert_eq!(told(&[name]), []);
    }

    #[test]
    fn java_and_node_are_told_by_their_options() {
        let java = "-Xmx1g -XX:+HeapDumpOnOutOfMemoryError -XX:HeapDumpPath=/var/salvage";
        assert_eq!(
            told(&[("JAVA_TOOL_OPTIONS", Some(java))]),
            [("Java", at("/var/salvage"))]
        );
        let bare = "-XX:+HeapDumpOnOutOfMemoryError";
        assert_eq!(
            told(&[("JAVA_TOOL_OPTIONS", Some(bare))]),
            [("Java", To::WorkingDirectory)]
        );
        assert_eq!(told(&[("JAVA_TOOL_OPTIONS", Some("-Xmx1g"))]), []);
        let node = "--report-on-fatalerror --report-dir=/var/salvage";
        assert_eq!(
            told(&[("NODE_OPTIONS", Some(node))]),
            [("Node", at("/var/salvage"))]
        );
        assert_eq!(
            told(&[("NODE_OPTIONS", Some("--max-old-space-size=1"))]),
            []
        );
        assert_eq!(told(&[("NODE_OPTIONS", None)]), [("Node", To::Untold)]);
    }
}
