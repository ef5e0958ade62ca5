//! The modules: which files the process had loaded, and by which ids their symbols are found.
//!
//! Owns the executable (the first in every writer's list) and what stands for it. The crate decodes debug records, of
//! which it gets one at a time, cut to what an id needs.

use minidump::format::{CvSignature, MINIDUMP_LOCATION_DESCRIPTOR, MINIDUMP_MODULE};
use minidump::system_info::Os;
use minidump::{Endian, MinidumpModule, MinidumpSystemInfo, Module as _};

use super::super::read_at::{Source, Unread};
use super::extent::Extent;
use super::lists::{self, Lists, Location, MAX_NAMES, Record};
use crate::model::{Escaped, Module};

/// Most modules listed. Python with its scientific packages has about 300 mapped objects, most others fewer than 100.
const MAX_MODULES: usize = 256;

/// Most modules whose names and ids are read, for most of those of a hostile file have none.
const MAX_READ: usize = 4_096;

/// Most bytes of a debug record read. Ids stand before the name of a file, which nobody needs.
const MAX_DEBUG: usize = 96;

/// Longest build-id, as of cores; behind four bytes of signature.
const MAX_ELF: u64 = 4 + 64;

/// What the list says.
#[derive(Debug, Default)]
pub(super) struct Modules {
    pub(super) exe: Option<Module>,
    pub(super) modules: Vec<Module>,
    /// Why the list could not be walked to its end.
    pub(super) cut: Option<Unread>,
    pub(super) unread: Vec<String>,
}

pub(super) fn read(
    source: &Source<'_>,
    lists: &mut Lists<'_>,
    extent: &mut Extent,
    list: Location,
    system: Option<&MinidumpSystemInfo>,
) -> Modules {
    let mut found = Modules::default();
    let mut seen = 0usize;
    let mut beyond = 0usize;
    let mut failed = None;
    let walked = lists.modules(list, |record| {
        seen += 1;
        extent.reach(record.debug);
        extent.reach(record.misc);
        if seen > MAX_NAMES {
            beyond += 1;
            return;
        }
        let name = match lists::text_place(source, record.name_at.into()) {
            Ok(name) => name,
            Err(why) => {
                extent.list_failed(&why);
                failed = Some(why);
                return;
            }
        };
        extent.reach(name);
        if seen > MAX_READ || found.modules.len() >= MAX_MODULES {
            beyond += 1;
            return;
        }
        match module(source, record, name, system) {
            Ok(module) if seen == 1 => found.exe = Some(module),
            // A library may be loaded into several namespaces.
            Ok(module) if found.modules.contains(&module) => {}
            Ok(module) => {
                if module.build_id.is_some() || module.debug_id.is_some() {
                    found.modules.push(module);
                }
            }
            Err(why) => failed = Some(why),
        }
    });
    found.cut = walked.err();
    if seen > MAX_NAMES {
        extent.doubt();
    }
    if beyond > 0 {
        found.unread.push(format!(
            "modules: {beyond} beyond the first {} are not listed",
            seen - beyond
        ));
    }
    if let Some(why) = failed {
        found
            .unread
            .push(format!("names and ids of modules: {why}"));
    }
    found
}

fn module(
    source: &Source<'_>,
    record: Record,
    name: Location,
    system: Option<&MinidumpSystemInfo>,
) -> Result<Module, Unread> {
    let name = lists::text(source, name)?;
    let mut debug = [0; MAX_DEBUG];
    let most = usize::try_from(record.debug.size).map_or(MAX_DEBUG, |size| size.min(MAX_DEBUG));
    let debug = &mut debug[..most];
    source.exact(record.debug.at, debug)?;
    let (build_id, debug_id) = ids(&record, debug, system);
    Ok(Module {
        name: Escaped::bytes(name.as_bytes()).to_string(),
        build_id,
        debug_id,
    })
}

/// Code-id and debug-id, of the forms that the crate knows.
fn ids(
    record: &Record,
    debug: &[u8],
    system: Option<&MinidumpSystemInfo>,
) -> (Option<String>, Option<String>) {
    let elf = debug.starts_with(&(CvSignature::Elf as u32).to_le_bytes());
    if elf && record.debug.size > MAX_ELF {
        return (None, None);
    }
    // All that the crate sees of the file: an empty name, and behind it the debug record.
    const NO_NAME: [u8; 4] = [0; 4];
    let all = [NO_NAME.as_slice(), debug].concat();
    let raw = MINIDUMP_MODULE {
        base_of_image: record.base_of_image,
        size_of_image: record.size_of_image,
        time_date_stamp: record.time_date_stamp,
        module_name_rva: 0,
        cv_record: MINIDUMP_LOCATION_DESCRIPTOR {
            rva: NO_NAME.len() as u32,
            // At most `MAX_DEBUG`.
            data_size: debug.len() as u32,
        },
        ..MINIDUMP_MODULE::default()
    };
    let Ok(module) = MinidumpModule::read(raw, &all, Endian::Little, system) else {
        return (None, None);
    };
    // Breakpad once gave ELF files records of Windows' form. Their debug-id is right, but the code-id that the crate makes is that of
    // a Windows file: time stamp and size.
    let of_elf_system = system.is_some_and(|s| !matches!(s.os, Os::Windows | Os::MacOs | Os::Ios));
    let code_id = module.code_identifier().filter(|_| elf || !of_elf_system);
    let text = |text: String| Some(text).filter(|text| !text.is_empty());
    (
        code_id.and_then(|id| text(id.to_string())),
        module
            .debug_identifier()
            .and_then(|id| text(id.breakpad().to_string())),
    )
}
