//! Open files of the host against `fs.file-max`. Root may go beyond it (`alloc_empty_file`,
//! fs/file_table.c).

use super::check::{Check, describe};
use super::look::Look;
use super::watch::Watch;
use crate::facts::{Facts, Known};
use crate::format::count;

pub(super) struct FileMax;

impl Check for FileMax {
    describe!("file_max", "file-max", "open files of the host", "files", Host);

    fn look(&self, watch: &Watch) -> Known<Look> {
        let facts = watch.last();
        let files = facts.files.as_ref().map_err(Clone::clone)?;
        let mut look = Look::at(files.allocated, files.max).trend(watch, allocated);
        look.why = "At the limit every process but root's gets ENFILE.".to_owned();
        look.evidence = "/proc/sys/fs/file-nr".to_owned();
        let to = files.allocated.max(files.max).saturating_mul(2);
        if look.propose(facts, "fs.file-max", &to) {
            look.gain = format!("room for {} open files", count(to));
            look.risk = "an open file takes about 256 bytes of kernel memory, and more for what \
                         is behind it"
                .to_owned();
        }
        Ok(look)
    }
}

fn allocated(facts: &Facts) -> Option<u64> {
    Some(facts.files.as_ref().ok()?.allocated)
}
