//! The first object of a stream: when it was begun, how its clock runs, and of which process it is.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::reader::Reader;

/// Bytes of the object's payload.
pub(super) const LENGTH: usize = 48;

/// What a stream says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trace {
    /// When it was begun, by the target's clock.
    pub begun: Timestamp,
    /// The tick of that time.
    pub begun_ticks: u64,
    /// Ticks in a second.
    pub frequency: u64,
    /// Bytes of a pointer: 4 or 8.
    pub pointer: u8,
    /// The process, as it is numbered in its own namespace.
    pub pid: u32,
}

impl Trace {
    pub(super) fn read(payload: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(payload);
        let mut time = [0; 8];
        for number in &mut time {
            *number = reader.u16()?;
        }
        let this = Self {
            begun: system_time(time)?,
            begun_ticks: reader.u64()?,
            frequency: reader.u64().filter(|frequency| *frequency > 0)?,
            pointer: match reader.u32()? {
                4 => 4,
                8 => 8,
                _ => return None,
            },
            pid: reader.u32()?,
        };
        Some(this)
    }

    /// When `ticks` was. A tick is a number that wraps; one nearer before the beginning than after it was before.
    pub fn timestamp(&self, ticks: u64) -> Option<Timestamp> {
        let since = i128::from(ticks.wrapping_sub(self.begun_ticks).cast_signed());
        let nanoseconds = since * 1_000_000_000 / i128::from(self.frequency);
        Timestamp::from_nanosecond(self.begun.as_nanosecond() + nanoseconds).ok()
    }
}

/// Windows' `SYSTEMTIME`, in UTC. Its third number is the day of the week.
fn system_time(
    [year, month, _, day, hour, minute, second, millisecond]: [u16; 8],
) -> Option<Timestamp> {
    let small = |number: u16| i8::try_from(number).ok();
    let time = DateTime::new(
        i16::try_from(year).ok()?,
        small(month)?,
        small(day)?,
        small(hour)?,
        small(minute)?,
        small(second)?,
        i32::from(millisecond).checked_mul(1_000_000)?,
    );
    TimeZone::UTC.to_timestamp(time.ok()?).ok()
}
