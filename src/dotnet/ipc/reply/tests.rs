//! Answers that were captured, and anything else.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn hex(text: &str) -> Vec<u8> {
    hex::decode(text.replace(' ', "")).expect("hex")
}

const HEAD: &str = "444f544e45545f4950435f563100";

/// Of .NET 8.0.15.
const PROCESS_INFO_3: &str = "444f544e45545f4950435f563100fe00ff00000001000000ce62000000000000371710a789720d43b00d7e601ca1a2ca3a0000002f006f00700074002f0064006f0074006e006500740038002f0064006f0074006e006500740020002f006f00700074002f0064006f0074006e00650074002d0061007000700073002f006e0038002f006d006f006400650073002e0064006c006c00200073006c00650065007000200035000000060000004c0069006e00750078000000040000007800360034000000060000006d006f0064006500730000000700000038002e0030002e003100350000000a0000006c0069006e00750078002d007800360034000000";

fn wide(text: &str) -> Vec<u8> {
    let units: Vec<u16> = text.encode_utf16().chain([0]).collect();
    let mut bytes = u32::try_from(units.len())
        .expect("short")
        .to_le_bytes()
        .to_vec();
    bytes.extend(units.iter().flat_map(|unit| unit.to_le_bytes()));
    bytes
}

/// An answer that says it failed, with this text behind the number.
fn refusal(text: &str) -> Reply {
    let mut payload = 0x8000_4005_u32.to_le_bytes().to_vec();
    payload.extend(wide(text));
    Reply::of(false, payload).expect("well-formed")
}

#[test]
fn a_real_process_says_what_it_is_and_its_command_line_is_not_kept() {
    let Reply::Done(payload) = Reply::decode(&hex(PROCESS_INFO_3)).expect("well-formed") else {
        panic!("done")
    };
    let info = ProcessInfo::third(&payload).expect("well-formed");
    assert_eq!(info.pid, 0x62ce);
    assert_eq!(hex::encode(info.cookie), "371710a789720d43b00d7e601ca1a2ca");
    assert_eq!(
        (&*info.operating_system, &*info.architecture),
        ("Linux", "x64")
    );
    assert_eq!(info.entry_assembly.as_deref(), Some("modes"));
    assert_eq!(info.clr_version.as_deref(), Some("8.0.15"));
    assert_eq!(info.runtime_identifier.as_deref(), Some("linux-x64"));
    assert!(!format!("{info:?}").contains("sleep"), "{info:?}");
    let older = ProcessInfo::second(&payload[4..])
        .expect("the same without a version and a runtime identifier");
    assert_eq!(older.clr_version, info.clr_version);
    let oldest = ProcessInfo::first(&payload[4..]).expect("and without what came later");
    assert_eq!((oldest.pid, oldest.clr_version), (info.pid, None));
    for length in 0..payload.len() {
        assert!(
            ProcessInfo::third(&payload[..length]).is_err(),
            "{length} bytes of it"
        );
    }
}

#[test]
fn answers_are_those_that_were_captured() {
    for (bytes, expected) in [
        ("1800 ff 00 0000 00000000", Ok(Reply::Done(vec![0; 4]))),
        (
            "1c00 ff 00 0000 7011000c7b7f0000",
            Ok(Reply::Done(hex("7011000c7b7f0000"))),
        ),
        (
            "1800 ff ff 0000 05400080",
            Ok(Reply::Refused {
                hresult: 0x8000_4005,
                text: String::new(),
            }),
        ),
        (
            "1800 ff ff 0000 85131380",
            Ok(Reply::Refused {
                hresult: UNKNOWN_COMMAND,
                text: String::new(),
            }),
        ),
        ("1400 ff 00 0000", Ok(Reply::Done(vec![]))),
        ("1400 ff ff 0000", Err("it is cut short")),
        ("1300 ff 00 0000", Err("it is shorter than its own header")),
        (
            "1800 ff 00 0000 000000",
            Err("its size is not the one it says"),
        ),
        (
            "1800 01 03 0000 00000000",
            Err("it is a command, or an answer of a kind that there is not"),
        ),
        (
            "1800 ff 7f 0000 00000000",
            Err("it is a command, or an answer of a kind that there is not"),
        ),
    ] {
        let reply = Reply::decode(&hex(&format!("{HEAD}{bytes}")));
        assert_eq!(reply.map_err(|malformed| malformed.0), expected, "{bytes}");
    }
    let other = "414456525f56310003".to_owned() + &"00".repeat(20);
    assert_eq!(
        Reply::decode(&hex(&other)),
        Err(Malformed("it does not begin as one"))
    );
    let session = SessionId::decode(&hex("7011000c7b7f0000")).expect("eight bytes");
    assert_eq!(session, SessionId::new(0x7f7b_0c00_1170));
}

#[test]
fn the_words_of_a_runtime_are_kept_and_its_decoration_is_not() {
    let told = "[createdump] Could not create output file '/nodir/x': No such file or directory (2)\n[createdump] Failure took 133ms\n";
    for (text, shown) in [
        (
            told,
            "Could not create output file '/nodir/x': No such file or directory (2)",
        ),
        ("[createdump] one\n[createdump] two\n", "one; two"),
        ("as it is", "as it is"),
        ("", ""),
        ("\n\n", ""),
        ("a\u{1b}[2Jb\u{202e}", r"a\u{1b}[2Jb\u{202e}"),
    ] {
        let Reply::Refused { text, .. } = refusal(text) else {
            panic!("refused")
        };
        assert_eq!(text, shown);
    }
    let Reply::Refused { text, .. } = refusal(&"x\n".repeat(30_000)) else {
        panic!("refused")
    };
    assert!(text.len() <= 4 * TEXT_MAX, "{} bytes", text.len());
    // Other commands put other things behind the number, or cut it short.
    let odd = Reply::of(false, hex("05400080 ffffffff 4100")).expect("the number is there");
    assert_eq!(
        odd,
        Reply::Refused {
            hresult: 0x8000_4005,
            text: String::new()
        }
    );
}

proptest! {
    #[test]
    fn anything_is_an_answer_or_malformed(bytes in vec(any::<u8>(), 0..400), kind in any::<bool>()) {
        let _ = Reply::decode(&bytes);
        let mut framed = hex(HEAD);
        framed.extend(u16::try_from(bytes.len() + 20).expect("short").to_le_bytes());
        framed.extend([0xff, if kind { 0 } else { 0xff }, 0, 0]);
        framed.extend(&bytes);
        match Reply::decode(&framed) {
            Ok(Reply::Done(payload)) => prop_assert_eq!(&payload, &bytes),
            Ok(Reply::Refused { text, .. }) => prop_assert!(!text.chars().any(char::is_control)),
            Err(_) => prop_assert!(bytes.len() < 4),
        }
        let _ = ProcessInfo::first(&bytes);
        let _ = ProcessInfo::second(&bytes);
        let _ = ProcessInfo::third(&bytes);
        let _ = SessionId::decode(&bytes);
    }
}
