//! The guests' file system: busybox, the programs under test, and what the tests call.
//!
//! Two archives that the kernel unpacks one over the other: a common one, made once, and a small
//! one with a kernel's modules and the steps.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::fetch::Files;
use super::plan;
use crate::shell;
use crate::test::live::Programs;
use crate::workspace::find_program;

/// Programs of this machine that tests call and busybox does not have.
const BORROWED: [&str; 2] = ["ss", "bash"];

/// Makes the common archive in `folder`.
pub(super) fn common(folder: &Path, programs: &Programs) -> Result<Vec<u8>> {
    let root = folder.join("common");
    let _ = fs::remove_dir_all(&root);
    for inner in ["bin", "dev", "proc", "sys", "tmp", "run", "root", "modules", "etc"] {
        fs::create_dir_all(root.join(inner))?;
    }
    let busybox = find_program("busybox").context("busybox is missing: run `cargo xtask deps`")?;
    fs::copy(busybox, root.join("bin/busybox"))?;
    fs::write(root.join("init"), include_str!("init.sh"))?;
    fs::set_permissions(root.join("init"), PermissionsExt::from_mode(0o755))?;
    fs::write(root.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n")?;
    // The tests know the binary by the path it was built at.
    let sockflow = inside(&root, &programs.sockflow);
    strip(&programs.sockflow, &sockflow)?;
    symlink(&programs.sockflow, root.join("bin/sockflow"))?;
    strip(&programs.live, &root.join(plan::LIVE.trim_start_matches('/')))?;
    for name in BORROWED {
        let path = find_program(name)
            .with_context(|| format!("{name} is missing: run `cargo xtask deps`"))?;
        fs::copy(&path, root.join("bin").join(name))?;
        for library in libraries(&path)? {
            let to = inside(&root, &library);
            fs::create_dir_all(to.parent().context("a library's folder")?)?;
            fs::copy(&library, to)?;
        }
    }
    archive(&root)
}

/// The archive of one kernel: its modules and what to run.
pub(super) fn of_kernel(folder: &Path, files: &Files, steps: &str) -> Result<Vec<u8>> {
    let root = folder.join("kernel");
    let _ = fs::remove_dir_all(&root);
    fs::create_dir_all(root.join("modules"))?;
    for module in &files.modules {
        fs::copy(module, root.join("modules").join(module.file_name().unwrap_or_default()))?;
    }
    fs::write(root.join("steps"), steps)?;
    archive(&root)
}

/// Copies a program without its symbols: a tenth of the size.
fn strip(from: &Path, to: &Path) -> Result<()> {
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder)?;
    }
    shell::read(Command::new("strip").arg("-o").arg(to).arg(from)).map(drop)
}

fn inside(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

/// The shared libraries of a program, its loader among them, by the paths it looks for them.
fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let listed = shell::read(Command::new("ldd").arg(program))?;
    Ok(listed.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from).collect())
}

/// A folder as a cpio archive, every file root's. Not compressed: an emulated CPU takes longer to
/// unpack it than this one to hand it over.
fn archive(root: &Path) -> Result<Vec<u8>> {
    let mut cpio = Command::new("cpio")
        .args(["--create", "--format=newc", "--quiet", "--null", "--owner=0:0"])
        .current_dir(root)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot run cpio: run `cargo xtask deps`")?;
    let mut names = Vec::new();
    list(root, Path::new("."), &mut names)?;
    let mut stdin = cpio.stdin.take().context("cpio's input")?;
    let writer = std::thread::spawn(move || stdin.write_all(&names));
    let output = cpio.wait_with_output()?;
    let written = writer.join().map_err(|_| anyhow::anyhow!("the writer panicked"))?;
    if !output.status.success() {
        bail!("cpio failed ({})", output.status);
    }
    written.context("cannot tell cpio the names")?;
    Ok(output.stdout)
}

/// Every name below, folders first, each followed by a NUL.
fn list(root: &Path, relative: &Path, names: &mut Vec<u8>) -> Result<()> {
    use std::os::unix::ffi::OsStrExt as _;
    names.extend_from_slice(relative.as_os_str().as_bytes());
    names.push(0);
    if fs::symlink_metadata(root.join(relative))?.is_dir() {
        for entry in fs::read_dir(root.join(relative))? {
            list(root, &relative.join(entry?.file_name()), names)?;
        }
    }
    Ok(())
}
