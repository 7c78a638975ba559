//! The inputs that the fuzzer has found, out of their archives.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The inputs of a target, unpacked, in an order that stays.
pub(crate) fn inputs(target: &str) -> Vec<PathBuf> {
    let archive = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
    let archive = archive.join(format!("{target}.tar.gz"));
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("corpus").join(target);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("a folder");
    let unpacked = Command::new("tar").arg("-xzf").arg(&archive).arg("-C").arg(&folder).status();
    assert!(unpacked.expect("tar starts").success(), "{} is no archive", archive.display());
    let entries = fs::read_dir(&folder).expect("the folder");
    let mut inputs: Vec<PathBuf> = entries.map(|it| it.expect("an entry").path()).collect();
    inputs.sort();
    assert!(!inputs.is_empty(), "{} is empty", archive.display());
    inputs
}
