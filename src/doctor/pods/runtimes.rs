//! Which runtimes a container's variables make write a dump, and where.
//!
//! A value may hold anything, so none gets out of here: only the runtime's name, the variable's name and whether the place is one that is wanted.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

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
    /// Into this directory, or one below.
    Path(PathBuf),
    /// Into the directory its process runs in, which the object may not tell.
    WorkingDirectory,
    /// The object does not tell.
    Untold,
}

/// What the variables of a container say of its runtimes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Told {
    /// What they make write.
    pub(super) writers: Vec<Writes>,
    /// Runtimes that have a variable of their own, which makes them write nothing, and that variable.
    pub(super) idle: Vec<(&'static str, &'static str)>,
}

/// Options of a runtime that make it write, and those that say where to, the one that wins first.
struct Pair {
    enabling: &'static [&'static str],
    places: &'static [&'static str],
}

/// A runtime that takes options from variables.
struct Runtime {
    name: &'static str,
    variables: &'static [&'static str],
    pairs: &'static [Pair],
}

/// Variables whose value is options.
pub(super) const OPTIONS: [&str; 3] = ["JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "NODE_OPTIONS"];

const BY_OPTIONS: [Runtime; 2] = [
    Runtime {
        name: "Java",
        variables: &["JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS"],
        pairs: &[
            Pair {
                enabling: &["-XX:+HeapDumpOnOutOfMemoryError"],
                places: &["-XX:HeapDumpPath"],
            },
            Pair {
                enabling: &["-XX:+CrashOnOutOfMemoryError"],
                places: &["-XX:ErrorFile"],
            },
        ],
    },
    Runtime {
        name: "Node",
        variables: &["NODE_OPTIONS"],
        pairs: &[
            Pair {
                enabling: &["--report-on-fatalerror", "--report-uncaught-exception"],
                places: &["--report-directory", "--report-dir", "--diagnostic-dir"],
            },
            Pair {
                enabling: &["--heapsnapshot-near-heap-limit"],
                places: &["--diagnostic-dir"],
            },
        ],
    },
];

/// What the variables say.
pub(super) fn told(variables: &Variables) -> Told {
    let mut told = Told::default();
    dotnet(variables, &mut told);
    for runtime in &BY_OPTIONS {
        by_options(variables, runtime, &mut told);
    }
    told
}

/// Both spellings; runtimes of today take both, and the newer one wins.
fn dotnet(variables: &Variables, told: &mut Told) {
    const RUNTIME: &str = ".NET";
    let first = |names: [&'static str; 2]| {
        let mut names = names.into_iter();
        names.find_map(|name| Some((name, variables.get(name)?.as_deref())))
    };
    let enabling = ["DOTNET_DbgEnableMiniDump", "COMPlus_DbgEnableMiniDump"];
    let Some((by, value)) = first(enabling) else {
        return;
    };
    if value.is_some_and(|value| !is_on(value)) {
        told.idle.push((RUNTIME, by));
        return;
    }
    let to = match first(["DOTNET_DbgMiniDumpName", "COMPlus_DbgMiniDumpName"]) {
        // Whether it writes at all is not told.
        _ if value.is_none() => To::Untold,
        Some((_, Some(template))) => place(template, |_| true),
        Some((_, None)) => To::Untold,
        // `/tmp/coredump.<pid>`, as Microsoft documents.
        None => To::Path("/tmp".into()),
    };
    told.writers.push(Writes {
        runtime: RUNTIME,
        by,
        to,
    });
}

/// As the runtime reads it: the digits that it begins with, to the base of 10, are not 0. What the kubelet expands is believed.
fn is_on(value: &str) -> bool {
    if value.contains("$(") {
        return true;
    }
    let digits = value.trim_start().trim_start_matches('+').bytes();
    let mut digits = digits.take_while(u8::is_ascii_digit);
    digits.any(|digit| digit != b'0')
}

/// A runtime that takes options from its variables.
fn by_options(variables: &Variables, runtime: &Runtime, told: &mut Told) {
    let mut set = None;
    let before = told.writers.len();
    for by in runtime.variables {
        let Some(value) = variables.get(*by) else {
            continue;
        };
        set = set.or(Some(*by));
        let mut writes = |to: To| {
            let writes = Writes {
                runtime: runtime.name,
                by,
                to,
            };
            if !told.writers.contains(&writes) {
                told.writers.push(writes);
            }
        };
        let Some(value) = value else {
            writes(To::Untold);
            continue;
        };
        let options: Vec<&str> = value.split_whitespace().collect();
        let mut enables = false;
        for pair in runtime.pairs {
            let is_on = |option: &&str| {
                let mut enabling = pair.enabling.iter();
                enabling.any(|on| {
                    let rest = option.strip_prefix(on);
                    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
                })
            };
            if !options.iter().any(is_on) {
                continue;
            }
            enables = true;
            let given = pair.places.iter().find_map(|name| given(&options, name));
            // A name with an extension is one of a file; any other is a directory that is there.
            let is_file = |path: &Path| path.extension().is_some();
            writes(given.map_or(To::WorkingDirectory, |path| place(path, is_file)));
        }
        if !enables && value.contains("$(") {
            writes(To::Untold);
        }
    }
    if let Some(by) = set
        && told.writers.len() == before
    {
        told.idle.push((runtime.name, by));
    }
}

/// The value of an option, the last that is given.
fn given<'a>(options: &[&'a str], name: &str) -> Option<&'a str> {
    let at = |index: usize| match options[index].strip_prefix(name)? {
        "" => options.get(index + 1).copied(),
        rest => rest.strip_prefix('='),
    };
    (0..options.len()).rev().find_map(at)
}

/// The directory that a value names. The kubelet expands `$(VAR)`, which is not done here.
fn place(written: &str, is_file: impl Fn(&Path) -> bool) -> To {
    let path = Path::new(written.trim_matches(['"', '\'']));
    let climbs = path.components().any(|part| part == Component::ParentDir);
    if written.contains("$(") || climbs {
        To::Untold
    } else if !path.is_absolute() {
        To::WorkingDirectory
    } else {
        let directory = path.parent().filter(|_| is_file(path));
        To::Path(directory.unwrap_or(path).to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, Option<&str>)]) -> Told {
        let variables = variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.map(str::to_owned)))
            .collect();
        told(&variables)
    }

    fn writers(variables: &[(&str, Option<&str>)]) -> Vec<(&'static str, To)> {
        let writers = of(variables).writers.into_iter();
        writers.map(|writes| (writes.runtime, writes.to)).collect()
    }

    fn at(path: &str) -> To {
        To::Path(path.into())
    }

    #[test]
    fn dotnet_is_told_by_both_spellings() {
        let enable = ("DOTNET_DbgEnableMiniDump", Some("1"));
        let name = ("DOTNET_DbgMiniDumpName", Some("/var/salvage/%e.%p.dmp"));
        assert_eq!(writers(&[enable, name]), [(".NET", at("/var/salvage"))]);
        assert_eq!(writers(&[enable]), [(".NET", at("/tmp"))]);
        let old = [
            ("COMPlus_DbgEnableMiniDump", Some("1")),
            ("COMPlus_DbgMiniDumpName", Some("core")),
        ];
        assert_eq!(writers(&old), [(".NET", To::WorkingDirectory)]);
        for untold in [None, Some("$(DIR)/core"), Some("/var/salvage/../core")] {
            let elsewhere = ("DOTNET_DbgMiniDumpName", untold);
            assert_eq!(writers(&[enable, elsewhere]), [(".NET", To::Untold)]);
        }
        let unknown = ("DOTNET_DbgEnableMiniDump", None);
        assert_eq!(writers(&[unknown, name]), [(".NET", To::Untold)]);
        assert_eq!(of(&[name]), Told::default());
    }

    #[test]
    fn dotnet_reads_a_number_to_the_base_of_ten_and_its_newer_name_wins() {
        for (value, is) in [
            ("1", true),
            ("01", true),
            (" 2", true),
            ("0", false),
            ("0x1", false),
            ("true", false),
            ("", false),
        ] {
            assert_eq!(is_on(value), is, "{value:?}");
        }
        let off = [
            ("DOTNET_DbgEnableMiniDump", Some("0")),
            ("COMPlus_DbgEnableMiniDump", Some("1")),
        ];
        let idle = of(&off);
        assert_eq!(idle.writers, []);
        assert_eq!(idle.idle, [(".NET", "DOTNET_DbgEnableMiniDump")]);
    }

    #[test]
    fn java_and_node_are_told_by_their_options() {
        let table: [(&str, &str, Vec<To>); 13] = [
            (
                "JAVA_TOOL_OPTIONS",
                "-Xmx1g -XX:+HeapDumpOnOutOfMemoryError -XX:HeapDumpPath=/var/salvage",
                vec![at("/var/salvage")],
            ),
            (
                "JDK_JAVA_OPTIONS",
                "-XX:+HeapDumpOnOutOfMemoryError -XX:HeapDumpPath=/var/salvage/a.hprof",
                vec![at("/var/salvage")],
            ),
            (
                "JAVA_TOOL_OPTIONS",
                "-XX:+HeapDumpOnOutOfMemoryError",
                vec![To::WorkingDirectory],
            ),
            (
                "JAVA_TOOL_OPTIONS",
                "-XX:+CrashOnOutOfMemoryError -XX:HeapDumpPath=/var/salvage",
                vec![To::WorkingDirectory],
            ),
            ("JAVA_TOOL_OPTIONS", "-Xmx1g", vec![]),
            ("JAVA_TOOL_OPTIONS", "$(BASE) -Xmx1g", vec![To::Untold]),
            (
                "NODE_OPTIONS",
                "--report-on-fatalerror --report-dir=/var/salvage",
                vec![at("/var/salvage")],
            ),
            (
                "NODE_OPTIONS",
                "--report-on-fatalerror --report-directory /var/salvage --diagnostic-dir=/tmp",
                vec![at("/var/salvage")],
            ),
            (
                "NODE_OPTIONS",
                "--heapsnapshot-near-heap-limit=1 --report-directory=/var/salvage",
                vec![To::WorkingDirectory],
            ),
            (
                "NODE_OPTIONS",
                "--heapsnapshot-near-heap-limit=1 --diagnostic-dir=/var/salvage",
                vec![at("/var/salvage")],
            ),
            (
                "NODE_OPTIONS",
                "--report-on-fatalerror --report-dir=/a --heapsnapshot-near-heap-limit=1",
                vec![at("/a"), To::WorkingDirectory],
            ),
            (
                "NODE_OPTIONS",
                "--report-on-signal --report-dir=/var/salvage",
                vec![],
            ),
            ("NODE_OPTIONS", "--max-old-space-size=1", vec![]),
        ];
        for (name, value, expected) in table {
            let told = of(&[(name, Some(value))]);
            let to: Vec<To> = told.writers.into_iter().map(|writes| writes.to).collect();
            assert_eq!(to, expected, "{value}");
            assert_eq!(told.idle.is_empty(), !expected.is_empty(), "{value}");
        }
        assert_eq!(writers(&[("NODE_OPTIONS", None)]), [("Node", To::Untold)]);
    }
}
