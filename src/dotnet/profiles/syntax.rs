//! Providers as people write them: `NAME[:KEYWORDS[:LEVEL[:ARGUMENTS]]]`, several separated by commas.

use super::{Asked, INFORMATIONAL, InvalidTrace, MAX_PROVIDERS, VERBOSE, shown};
use crate::dotnet::ipc::Provider;

/// Reads a list of providers: `NAME[:KEYWORDS[:LEVEL[:ARGUMENTS]]],…`. Commas within quotes (`"`) separate nothing.
///
/// # Errors
/// Which provider is written wrongly, and what is wrong with it.
pub fn providers(written: &str) -> Result<Vec<Asked>, InvalidTrace> {
    let parts = unquoted(written, ',').ok_or(InvalidTrace::Quote)?;
    let asked: Vec<_> = parts
        .into_iter()
        .enumerate()
        .map(|(number, part)| provider(part.trim(), number + 1))
        .collect::<Result<_, _>>()?;
    if asked.len() > MAX_PROVIDERS {
        return Err(InvalidTrace::TooMany(asked.len()));
    }
    Ok(asked)
}

fn provider(written: &str, number: usize) -> Result<Asked, InvalidTrace> {
    let mut parts = written.splitn(4, ':');
    let name = parts.next().unwrap_or_default().trim();
    if name.is_empty() {
        return Err(InvalidTrace::NoName(number));
    }
    let mut part = || parts.next().unwrap_or_default();
    let asked = Asked {
        name: name.to_owned(),
        keywords: keywords(name, part().trim())?,
        level: level(name, part().trim())?,
        arguments: arguments(name, part())?,
    };
    Provider::new(&asked.name, asked.keywords, asked.level, &asked.arguments)?;
    Ok(asked)
}

fn keywords(name: &str, written: &str) -> Result<u64, InvalidTrace> {
    let digits = written
        .strip_prefix("0x")
        .or_else(|| written.strip_prefix("0X"))
        .unwrap_or(written);
    if written.is_empty() {
        return Ok(0);
    }
    // `from_str_radix` takes a sign.
    let hexadecimal = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    let number = u64::from_str_radix(digits, 16);
    number
        .ok()
        .filter(|_| hexadecimal)
        .ok_or_else(|| InvalidTrace::Keywords {
            name: shown(name),
            written: shown(written),
        })
}

fn level(name: &str, written: &str) -> Result<u8, InvalidTrace> {
    const NAMES: [&str; 6] = [
        "logalways",
        "critical",
        "error",
        "warning",
        "informational",
        "verbose",
    ];
    let level = match written {
        "" => Some(INFORMATIONAL),
        written => {
            let named = NAMES
                .iter()
                .position(|name| name.eq_ignore_ascii_case(written))
                .and_then(|level| u8::try_from(level).ok());
            let digit = || written.parse().ok().filter(|level| *level <= VERBOSE);
            named.or_else(digit)
        }
    };
    level.ok_or_else(|| InvalidTrace::Level {
        name: shown(name),
        written: shown(written),
    })
}

fn arguments(name: &str, written: &str) -> Result<String, InvalidTrace> {
    let pairs = unquoted(written, ';').ok_or(InvalidTrace::Quote)?;
    let is_pair = |pair: &&str| {
        pair.split_once('=')
            .is_some_and(|(key, _)| !key.trim().is_empty())
    };
    if written.is_empty() || pairs.iter().all(is_pair) {
        return Ok(written.to_owned());
    }
    Err(InvalidTrace::Arguments {
        name: shown(name),
        written: shown(written),
    })
}

/// Splits at each `separator` outside of quotes. Nothing if a quote does not end.
fn unquoted(written: &str, separator: char) -> Option<Vec<&str>> {
    let mut quoted = false;
    let parts = written
        .split(|character| {
            quoted ^= character == '"';
            character == separator && !quoted
        })
        .collect();
    (!quoted).then_some(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(name: &str, keywords: u64, level: u8, arguments: &str) -> Asked {
        Asked::new(name, keywords, level, arguments)
    }

    #[test]
    fn providers_are_read_as_dotnet_trace_reads_them() {
        for (written, expected) in [
            ("A", vec![asked("A", 0, 4, "")]),
            ("A:ff", vec![asked("A", 0xff, 4, "")]),
            ("A:0xFF:5", vec![asked("A", 0xff, 5, "")]),
            ("A::Verbose", vec![asked("A", 0, 5, "")]),
            (
                " A:1:0 , B:0XffffffffffffffFF:critical",
                vec![asked("A", 1, 0, ""), asked("B", u64::MAX, 1, "")],
            ),
            (
                "A:::k=v;l=http://x:80/",
                vec![asked("A", 0, 4, "k=v;l=http://x:80/")],
            ),
            (
                "A:1:4:f=\"a,b;c:d\",B",
                vec![asked("A", 1, 4, "f=\"a,b;c:d\""), asked("B", 0, 4, "")],
            ),
        ] {
            assert_eq!(providers(written), Ok(expected), "{written}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_provider_is_said() {
        for (written, why) in [
            ("", "provider 1 of the list has no name"),
            ("A,,B", "provider 2 of the list has no name"),
            ("A,:1", "provider 2 of the list has no name"),
            ("A:0x", "provider A: keywords \"0x\" are no hexadecimal"),
            ("A:gc", "provider A: keywords \"gc\" are no hexadecimal"),
            ("A:+1", "provider A: keywords \"+1\" are no hexadecimal"),
            (
                "A:11111111111111111",
                "are no hexadecimal number of at most 16 digits",
            ),
            ("A:1:6", "provider A: level \"6\" is none of 0 to 5"),
            (
                "A:1:loud",
                "level \"loud\" is none of 0 to 5 or logalways, critical",
            ),
            ("A:1:4:x", "provider A: arguments \"x\" are not KEY=VALUE"),
            ("A:1:4:x=1;", "arguments \"x=1;\" are not KEY=VALUE"),
            ("A:1:4:=1", "arguments \"=1\" are not KEY=VALUE"),
            (
                "A:1:4:x=\"1,B",
                "a quote (\") in the list of providers does not end",
            ),
            ("A\0", "no name of an event provider"),
        ] {
            let refused = providers(written).expect_err(written).to_string();
            assert!(refused.contains(why), "{written}: {refused}");
        }
        let many = vec!["A"; 65].join(",");
        assert_eq!(providers(&many), Err(InvalidTrace::TooMany(65)));
    }
}
