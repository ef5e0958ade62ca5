//! Which language runtime and C library a process has, by the paths of the files it mapped.
//!
//! A table of rules, most telling first: an application that embeds a second runtime (Python in a JVM) is named by the first. A path
//! is a claim of the process like everything else here. Versions come from the path where it tells them; the digits inside the
//! modules are not read.

/// A mapped file's path, split.
struct Path<'a> {
    /// Directories from the outermost.
    directories: Vec<&'a str>,
    file: &'a str,
}

struct Rule {
    runtime: &'static str,
    /// Whether a mapped file, or the executable if the flag is set, is this runtime.
    holds: fn(&Path<'_>, bool) -> bool,
    version: fn(&Path<'_>) -> Option<String>,
}

const RULES: [Rule; 4] = [
    Rule {
        runtime: DOTNET,
        holds: |path, _| path.file == "libcoreclr.so",
        // …/Microsoft.NETCore.App/8.0.15/libcoreclr.so; a self-contained application keeps it beside itself.
        version: |path| path.directories.last().copied().and_then(dotted_version),
    },
    Rule {
        runtime: "JVM",
        holds: |path, _| path.file == "libjvm.so",
        version: |path| path.directories.iter().rev().find_map(|d| jdk_version(d)),
    },
    Rule {
        runtime: "Node.js",
        holds: |path, exe| {
            path.file.starts_with("libnode.so") || (exe && matches!(path.file, "node" | "nodejs"))
        },
        // nvm's …/v20.20.2/bin/node, the archive's …/node-v20.20.2-linux-x64/bin/node.
        version: |path| {
            path.directories.iter().rev().find_map(|d| {
                let d = d.strip_prefix("node-").unwrap_or(d);
                dotted_version(d.strip_prefix('v')?.split('-').next()?)
            })
        },
    },
    Rule {
        runtime: "Python",
        holds: |path, exe| {
            path.file.starts_with("libpython")
                || path.directories.last() == Some(&"lib-dynload")
                || (exe && path.file.starts_with("python"))
        },
        // libpython3.11.so.1.0, …/lib/python3.11/lib-dynload/…, …/bin/python3.11
        version: |path| {
            let parts = path.directories.iter().rev().chain([&path.file]);
            parts
                .filter_map(|part| {
                    part.strip_prefix("libpython")
                        .or(part.strip_prefix("python"))
                })
                .find_map(|rest| dotted_version(digits(rest)))
        },
    },
];

/// The runtime whose `createdump` wrote the file, whatever is mapped: a single-file application has no `libcoreclr.so`.
const DOTNET: &str = ".NET";

/// What the paths seen so far betray.
#[derive(Debug, Default)]
pub(super) struct Clues {
    /// Index of the best rule that held, and the first version that its paths told.
    best: Option<(usize, Option<String>)>,
    pub(super) libc: Option<&'static str>,
}

impl Clues {
    /// Looks at the path of a mapped file.
    pub(super) fn see(&mut self, path: &[u8]) {
        self.look(path, false);
    }

    /// Looks at the path of the executable.
    pub(super) fn see_exe(&mut self, path: &[u8]) {
        self.look(path, true);
    }

    /// Notes that .NET's own tool wrote the file.
    pub(super) fn see_createdump(&mut self) {
        // The first rule is .NET's.
        if self.name() != Some(DOTNET) {
            self.best = Some((0, None));
        }
    }

    pub(super) fn name(&self) -> Option<&'static str> {
        self.best.as_ref().map(|(rule, _)| RULES[*rule].runtime)
    }

    pub(super) fn version(&self) -> Option<&str> {
        self.best.as_ref()?.1.as_deref()
    }

    fn look(&mut self, path: &[u8], exe: bool) {
        // The files of a runtime have ASCII names, and what goes from here into the facts must be text.
        let Some(path) = Path::split(path) else {
            return;
        };
        self.libc = self.libc.or_else(|| libc(path.file));
        let Some(found) = RULES.iter().position(|rule| (rule.holds)(&path, exe)) else {
            return;
        };
        let version = (RULES[found].version)(&path);
        match &mut self.best {
            Some((best, _)) if *best < found => {}
            Some((best, known)) if *best == found => {
                if known.is_none() {
                    *known = version;
                }
            }
            _ => self.best = Some((found, version)),
        }
    }
}

impl<'a> Path<'a> {
    fn split(path: &'a [u8]) -> Option<Self> {
        let path = std::str::from_utf8(path).ok()?;
        // A file replaced by an update while it was mapped.
        let path = path.strip_suffix(" (deleted)").unwrap_or(path);
        let mut directories: Vec<_> = path.split('/').collect();
        let file = directories.pop()?;
        Some(Self { directories, file })
    }
}

/// The C library by the name of its shared object or of its loader; a static program has neither.
fn libc(file: &str) -> Option<&'static str> {
    let starts = |prefixes: &[&str]| prefixes.iter().any(|p| file.starts_with(p));
    if starts(&["ld-musl-", "libc.musl-"]) {
        Some("musl")
    } else if file == "libc.so.6" || starts(&["libc-2.", "ld-linux", "ld-2."]) {
        Some("glibc")
    } else {
        None
    }
}

/// `8.0.15`, `10.0.0-preview.7`, `3.11`: digits, a dot, and nothing that is not part of a version.
fn dotted_version(text: &str) -> Option<String> {
    let shaped = text.starts_with(|c: char| c.is_ascii_digit())
        && text.contains('.')
        && text.len() <= 64
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '+' | '_'));
    shaped.then(|| text.trim_end_matches('.').to_owned())
}

/// The leading digits and dots of a text.
fn digits(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.');
    text[..end.unwrap_or(text.len())].trim_end_matches('.')
}

/// The version in the name of a JDK's directory: `java-17-openjdk-amd64`, `jdk-21.0.2+13`, `jdk1.8.0_292`, `zulu17.30-ca-jdk17.0.1`.
fn jdk_version(directory: &str) -> Option<String> {
    const VENDORS: [&str; 8] = [
        "java-", "jdk-", "jdk", "jre-", "jre", "openjdk-", "temurin-", "zulu",
    ];
    let rest = VENDORS.iter().find_map(|v| directory.strip_prefix(v))?;
    let end = rest.find(|c: char| !c.is_ascii_digit() && !matches!(c, '.' | '_' | '+'));
    let version = rest[..end.unwrap_or(rest.len())].trim_end_matches(['.', '_', '+']);
    (version.starts_with(|c: char| c.is_ascii_digit()) && version.len() <= 64)
        .then(|| version.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clues(exe: &str, paths: &[&str]) -> Clues {
        let mut clues = Clues::default();
        for path in paths {
            clues.see(path.as_bytes());
        }
        clues.see_exe(exe.as_bytes());
        clues
    }

    #[test]
    fn the_runtime_and_its_version_are_read_from_paths() {
        #[rustfmt::skip]
        let cases = [
            (".NET", Some("8.0.15"), "/usr/bin/dotnet", "/usr/share/dotnet/shared/Microsoft.NETCore.App/8.0.15/libcoreclr.so"),
            (".NET", Some("10.0.0-preview.7"), "/d/dotnet", "/d/shared/Microsoft.NETCore.App/10.0.0-preview.7/libcoreclr.so"),
            (".NET", None, "/app/modes", "/app/libcoreclr.so"),
            ("JVM", Some("17"), "/usr/lib/jvm/java-17-openjdk-amd64/bin/java", "/usr/lib/jvm/java-17-openjdk-amd64/lib/server/libjvm.so"),
            ("JVM", Some("1.8.0_292"), "/opt/jdk1.8.0_292/bin/java", "/opt/jdk1.8.0_292/jre/lib/amd64/server/libjvm.so"),
            ("JVM", Some("21.0.2+13"), "/opt/jdk-21.0.2+13/bin/java", "/opt/jdk-21.0.2+13/lib/server/libjvm.so"),
            ("JVM", None, "/opt/java/openjdk/bin/java", "/opt/java/openjdk/lib/server/libjvm.so"),
            ("Node.js", Some("20.20.2"), "/root/.nvm/versions/node/v20.20.2/bin/node", "/usr/lib/libuv.so.1"),
            ("Node.js", Some("20.20.2"), "/opt/node-v20.20.2-linux-x64/bin/node", ""),
            ("Node.js", None, "/usr/bin/node", ""),
            ("Node.js", None, "/usr/bin/x", "/usr/lib/libnode.so.108"),
            ("Python", Some("3.11"), "/usr/bin/python3", "/usr/lib/libpython3.11.so.1.0"),
            ("Python", Some("3.11"), "/usr/bin/python3.11", ""),
            ("Python", Some("3.12"), "/opt/venv/bin/python", "/usr/lib/python3.12/lib-dynload/_ssl.cpython-312-x86_64-linux-gnu.so"),
            ("Python", None, "/usr/bin/python3", "/usr/lib/libpython3.so"),
            ("Python", Some("3.11"), "/usr/bin/python3.11 (deleted)", ""),
        ];
        for (name, version, exe, path) in cases {
            let found = clues(exe, &[path]);
            assert_eq!(
                (found.name(), found.version()),
                (Some(name), version),
                "{exe} {path}"
            );
        }
    }

    #[test]
    fn other_programs_have_no_runtime() {
        for path in [
            "/usr/bin/nginx",
            "/data/node",
            "/home/python/data",
            "/x/libcoreclr.so.dbg",
            "",
            "/",
        ] {
            let found = clues("/usr/bin/nginx", &[path]);
            assert_eq!((found.name(), found.version()), (None, None), "{path}");
        }
        let mut hostile = Clues::default();
        hostile.see(b"/\xff/libcoreclr.so");
        assert_eq!(hostile.name(), None);
    }

    #[test]
    fn the_outer_runtime_names_the_process() {
        let python = "/usr/lib/libpython3.11.so.1.0";
        let jvm = "/opt/jdk-21.0.2/lib/server/libjvm.so";
        for order in [[python, jvm], [jvm, python]] {
            let found = clues("/opt/jdk-21.0.2/bin/java", &order);
            assert_eq!(
                (found.name(), found.version()),
                (Some("JVM"), Some("21.0.2"))
            );
        }
    }

    #[test]
    fn a_dump_by_createdump_is_of_dotnet_whatever_is_mapped() {
        let mut found = clues("/app/single", &["/usr/lib/libpython3.11.so.1.0"]);
        found.see_createdump();
        assert_eq!((found.name(), found.version()), (Some(".NET"), None));
        let mut found = clues("/d/dotnet", &["/d/8.0.15/libcoreclr.so"]);
        found.see_createdump();
        assert_eq!(
            (found.name(), found.version()),
            (Some(".NET"), Some("8.0.15"))
        );
    }

    #[test]
    fn the_c_library_is_known_by_its_file_or_loader() {
        for (path, libc) in [
            ("/lib/ld-musl-x86_64.so.1", Some("musl")),
            ("/usr/lib/x86_64-linux-gnu/libc.so.6", Some("glibc")),
            ("/lib/x86_64-linux-gnu/libc-2.31.so", Some("glibc")),
            ("/lib64/ld-linux-x86-64.so.2", Some("glibc")),
            ("/lib/ld-linux-aarch64.so.1", Some("glibc")),
            ("/lib/libcap.so.2", None),
        ] {
            assert_eq!(clues("/bin/x", &[path]).libc, libc, "{path}");
        }
    }
}
