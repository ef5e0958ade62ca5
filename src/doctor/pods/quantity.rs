//! Kubernetes' quantities (`512Mi`, `1.5G`, `1e9`, `100m`) as bytes.

/// The bytes of a quantity, rounded up; none where it is none.
pub(super) fn bytes(text: &str) -> Option<u64> {
    const SUFFIXES: [(&str, f64); 14] = [
        ("Ki", 1024.0),
        ("Mi", 1_048_576.0),
        ("Gi", 1_073_741_824.0),
        ("Ti", 1_099_511_627_776.0),
        ("Pi", 1_125_899_906_842_624.0),
        ("Ei", 1_152_921_504_606_846_976.0),
        ("m", 1e-3),
        ("k", 1e3),
        ("M", 1e6),
        ("G", 1e9),
        ("T", 1e12),
        ("P", 1e15),
        ("E", 1e18),
        ("", 1.0),
    ];
    let text = text.trim();
    SUFFIXES.iter().find_map(|(suffix, unit)| {
        let number: f64 = text.strip_suffix(suffix)?.parse().ok()?;
        let bytes = (number * unit).ceil();
        // Every number up to that is exact enough for a comparison, and a cast beyond it would lie.
        (number.is_finite() && (0.0..1.8e19).contains(&bytes)).then_some(bytes as u64)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_read_as_kubernetes_writes_them() {
        for (text, expected) in [
            ("0", Some(0)),
            ("128974848", Some(128_974_848)),
            ("129e6", Some(129_000_000)),
            ("129M", Some(129_000_000)),
            ("128974848000m", Some(128_974_848)),
            ("123Mi", Some(128_974_848)),
            ("1.5Gi", Some(1_610_612_736)),
            ("1E", Some(1_000_000_000_000_000_000)),
            ("8Ei", Some(1 << 63)),
            ("", None),
            ("Mi", None),
            ("-1Mi", None),
            ("1e400", None),
            ("NaN", None),
            ("1 Mi", None),
            ("one", None),
        ] {
            assert_eq!(bytes(text), expected, "{text}");
        }
    }
}
