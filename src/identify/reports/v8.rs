//! The form in which V8 writes an exception: its class, its message, its frames.

/// The class with which V8 begins an exception's stack: `TypeError: …`, `TypeError [ERR_INVALID_ARG_TYPE]: …`. Where no message follows, any
/// word would do, so only one that is named like an exception is taken.
pub(super) fn class_of(line: &str) -> Option<&str> {
    const MAX_CLASS: usize = 128;
    let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '$' | '.');
    let name = line.find(|c| !word(c)).unwrap_or(line.len());
    let mut end = name;
    if let Some(code) = line[end..].strip_prefix(" [")
        && let Some((code, _)) = code.split_once(']')
        && code.chars().all(word)
    {
        end += code.len() + " []".len();
    }
    let named = line.starts_with(|c: char| word(c) && !c.is_ascii_digit());
    let like_an_exception = || {
        ["Error", "Exception"]
            .iter()
            .any(|e| line[..name].ends_with(e))
    };
    let message = &line[end..];
    let ends = message.starts_with(": ") || (message.is_empty() && like_an_exception());
    (named && ends && end <= MAX_CLASS).then(|| &line[..end])
}

/// The line if it is a frame as V8 writes them, which end in a place: `at lose (/app/order.js:7:9)`, `at async /app/order.js:7:9`,
/// `at Array.map (<anonymous>)`, `at async Promise.all (index 0)`. The place may be a URL that holds the whole source, or a query with
/// whatever was in it: the frame ends there.
pub(super) fn frame(line: &str) -> Option<String> {
    let text = line.trim().strip_prefix("at ")?;
    let place = text.strip_suffix(')').unwrap_or(text);
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let position = || {
        let (rest, column) = place.rsplit_once(':')?;
        let wasm = column
            .strip_prefix("0x")
            .is_some_and(|hex| !hex.is_empty() && hex.bytes().all(|b| b.is_ascii_hexdigit()));
        let (_, line) = rest.rsplit_once(':')?;
        ((digits(column) && digits(line)) || wasm).then_some(())
    };
    let index = || {
        let (_, index) = place.rsplit_once("(index ")?;
        digits(index).then_some(())
    };
    let nowhere = ["<anonymous>", "(native", "(unknown location"];
    let is_frame =
        position().is_some() || index().is_some() || nowhere.iter().any(|end| place.ends_with(end));
    let url = ["data:", "?"].iter().find_map(|from| {
        let at = text.find(from)?;
        Some(format!("{}{from}...", &text[..at]))
    });
    is_frame.then(|| url.unwrap_or_else(|| text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_has_the_form_of_a_frame_is_one() {
        for line in [
            "at lose (/app/my orders/order.js:7:9)",
            "at /app/order.js:7:9",
            "at async /app/order.js:7:9",
            "at new Order (file:///app/order.mjs:7:9)",
            "at Object.<anonymous> (/app/order.js:7:9)",
            "at lose [as win] (/app/order.js:7:9)",
            "at eval (eval at <anonymous> (/app/order.js:7:9), <anonymous>:1:1)",
            "at Array.map (<anonymous>)",
            "at <anonymous>",
            "at async Promise.all (index 12)",
            "at f (wasm://wasm/0a1b2c:wasm-function[3]:0x1f)",
            "at [eval]:1:9",
            "at DataView.getInt8 (native)",
        ] {
            assert_eq!(frame(line).as_deref(), line.strip_prefix("at "), "{line}");
        }
        for line in [
            "",
            "at ",
            "at home",
            "at pw (hunter2)",
            "at hunter2:7",
            "at hunter2:x:7",
            "at hunter2:7:",
            "at hunter2::7",
            "at x (index hunter2)",
            "meet at /app/order.js:7:9",
            "Error: hunter2",
            "Emitted 'error' event on Worker instance at:",
        ] {
            assert_eq!(frame(line), None, "{line}");
        }
        assert_eq!(
            frame("at f (file:///app/x.mjs?token=hunter2:1:2)").as_deref(),
            Some("f (file:///app/x.mjs?...")
        );
    }
}
