//! Types that are text wherever they are stored: serde goes through `FromStr`, so no file can skip its checks.

/// Lets serde read a type by its `FromStr` and write it by its `Display` (`#[serde(try_from = "String", into = "String")]`).
macro_rules! stored_as_text {
    ($($text:ty => $error:ty),+ $(,)?) => {$(
        impl TryFrom<String> for $text {
            type Error = $error;

            fn try_from(written: String) -> Result<Self, $error> {
                written.parse()
            }
        }

        impl From<$text> for String {
            fn from(value: $text) -> Self {
                value.to_string()
            }
        }
    )+};
}

pub(crate) use stored_as_text;
