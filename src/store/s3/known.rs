//! What a store was seen to do. Before a probe: as little as every store does.

/// What later calls may rely on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Known {
    /// `Content-MD5` is accepted. So it is everywhere but in a few gateways.
    pub(super) content_md5: bool,
    /// A CRC-64/NVME sent with a put is kept and returned.
    pub(super) crc_of_puts: bool,
    /// The same for a multipart upload, as the checksum of the whole.
    pub(super) crc_of_uploads: bool,
    /// The ETag of a put is the content's MD5.
    pub(super) md5_etags: bool,
    /// The ETag of a multipart upload is made of the parts' MD5s.
    pub(super) md5_part_etags: bool,
    /// `If-None-Match: *` keeps a put from overwriting.
    pub(super) create_by_put: bool,
    /// The same for a completion.
    pub(super) create_by_upload: bool,
    /// We were allowed to look at an object.
    pub(super) may_look: bool,
}

impl Known {
    pub(super) const NOTHING: Self = Self {
        content_md5: true,
        crc_of_puts: false,
        crc_of_uploads: false,
        md5_etags: false,
        md5_part_etags: false,
        create_by_put: false,
        create_by_upload: false,
        may_look: false,
    };
}
