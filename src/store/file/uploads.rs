//! Objects in parts: one staged file, its parts each in their place, and a table of those that have arrived.

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::fs::FileExt;

use super::staging::{is_staged_name, open_staging, publish, stage, staging};
use super::table::{Table, staged_of, table_name};
use super::trouble::{Trouble, absent};
use crate::model::{ObjectKey, Upload};
use crate::store::sums::Sums;
use crate::store::{
    Expected, PARTS_MAX, Part, PartInfo, Problem, PutMode, UPLOADS_MAX, check_parts,
};
use crate::sys::Dir;

pub(super) fn begin(
    root: &Dir,
    key: &ObjectKey,
    part_bytes: u64,
) -> std::result::Result<Upload, Trouble> {
    if part_bytes == 0 {
        return Err(Problem::Refused("parts of 0 bytes".to_owned()).into());
    }
    let staging = staging(root)?;
    let (staged, _) = stage(&staging)?;
    if let Err(error) = Table::create(&staging, &staged, key, part_bytes) {
        remove(&staging, &staged)?;
        return Err(error.into());
    }
    Ok(Upload {
        key: key.clone(),
        token: staged.to_string_lossy().into_owned(),
        part_bytes,
    })
}

/// The file of an upload. A token that is none of ours, which could be a path, is an upload that does not exist.
fn staged_name(upload: &Upload) -> std::result::Result<&OsStr, Problem> {
    match is_staged_name(&upload.token) {
        true => Ok(OsStr::new(&upload.token)),
        false => Err(Problem::NoSuchUpload),
    }
}

/// An upload under way.
struct Open {
    staging: Dir,
    file: File,
    table: Table,
}

/// Opens an upload for writing.
fn reopen(root: &Dir, upload: &Upload) -> std::result::Result<Open, Trouble> {
    let name = staged_name(upload)?;
    let staging = staging(root)?;
    let opened = staging
        .reopen_file(name)
        .and_then(|file| Ok((file, Table::open(&staging, name)?)));
    match opened {
        Ok((file, table)) => Ok(Open {
            staging,
            file,
            table,
        }),
        Err(error) if absent(&error) => Err(Problem::NoSuchUpload.into()),
        Err(error) => Err(error.into()),
    }
}

/// Takes an upload away; the table last, for alone it means nothing.
fn remove(staging: &Dir, staged: &OsStr) -> std::result::Result<(), Trouble> {
    for name in [staged, &table_name(staged)] {
        match staging.remove_file(name) {
            Err(error) if !absent(&error) => return Err(error.into()),
            _ => {}
        }
    }
    Ok(())
}

pub(super) fn put_part(
    root: &Dir,
    upload: &Upload,
    number: u32,
    body: &[u8],
) -> std::result::Result<Part, Trouble> {
    let refused = |why: String| Err(Problem::Refused(why).into());
    if !(1..=PARTS_MAX).contains(&number) {
        return refused(format!(
            "part {number}: parts are numbered from 1 to {PARTS_MAX}"
        ));
    }
    let sums = Sums::of(body);
    if sums.bytes > upload.part_bytes {
        return refused(format!(
            "part {number} has {} bytes, and the upload has parts of {}",
            sums.bytes, upload.part_bytes
        ));
    }
    let Some(offset) = u64::from(number - 1).checked_mul(upload.part_bytes) else {
        return refused(format!("part {number} lies beyond what a file can hold"));
    };
    let open = reopen(root, upload)?;
    open.table.take_back(number)?;
    open.file.write_all_at(body, offset)?;
    // The receipt goes into somebody's journal: what it stands for must survive what the journal survives.
    open.file.sync_data()?;
    let md5 = sums.md5_hex();
    open.table.record(number, sums.bytes, &md5)?;
    Ok(Part {
        number,
        bytes: sums.bytes,
        etag: md5.clone(),
        md5,
    })
}

pub(super) fn complete(
    root: &Dir,
    upload: &Upload,
    parts: &[Part],
    expected: &Expected,
    mode: PutMode,
) -> std::result::Result<(), Trouble> {
    check_parts(upload, parts, expected)?;
    let Open {
        staging,
        file,
        table,
    } = reopen(root, upload)?;
    let arrived = table.parts()?;
    for part in parts {
        let found = arrived.binary_search_by_key(&part.number, |arrived| arrived.number);
        if !found.is_ok_and(|index| arrived[index].is(part)) {
            let what = format!("part {} has not arrived as it was sent", part.number);
            return Err(Problem::Mismatch(what).into());
        }
    }
    // A last part that was sent again may have become shorter.
    file.set_len(expected.bytes)?;
    file.sync_all()?;
    let staged = staged_name(upload)?;
    publish(root, &staging, staged, &upload.key, mode)?;
    // The object is there. A table that stays means nothing and goes with the next clearing.
    let _ = staging.remove_file(&table_name(staged));
    Ok(())
}

pub(super) fn abort(root: &Dir, upload: &Upload) -> std::result::Result<(), Trouble> {
    match staged_name(upload) {
        Ok(staged) => remove(&staging(root)?, staged),
        Err(_) => Ok(()),
    }
}

/// The uploads under way at `key`.
pub(super) fn uploads(root: &Dir, key: &ObjectKey) -> std::result::Result<Vec<Upload>, Trouble> {
    let mut found = Vec::new();
    let Some(staging) = open_staging(root)? else {
        return Ok(found);
    };
    for entry in staging.entries()? {
        let name = entry?.name;
        let Some(staged) = staged_of(&name) else {
            continue;
        };
        // One that cannot be read, or goes at this moment, is none that anybody could go on with.
        let Ok(Some(upload)) = Table::look(&staging, staged).and_then(|table| table.upload(staged))
        else {
            continue;
        };
        if upload.key == *key && staging.stat(staged).is_ok() {
            found.push(upload);
        }
        if found.len() == UPLOADS_MAX {
            break;
        }
    }
    Ok(found)
}

/// What has arrived of an upload.
pub(super) fn parts(root: &Dir, upload: &Upload) -> std::result::Result<Vec<PartInfo>, Trouble> {
    let staged = staged_name(upload)?;
    let Some(staging) = open_staging(root)? else {
        return Err(Problem::NoSuchUpload.into());
    };
    let opened = staging
        .stat(staged)
        .and_then(|_| Table::look(&staging, staged));
    match opened {
        Ok(table) => Ok(table.parts()?),
        Err(error) if absent(&error) => Err(Problem::NoSuchUpload.into()),
        Err(error) => Err(error.into()),
    }
}
