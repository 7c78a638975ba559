//! The BPF object: building it, and proving that the checked-in one is what its sources give.
//!
//! The object is checked in so that nobody needs a second compiler and an LLVM to build sockflow.
//! The price is that it can be stale, so [`check`] rebuilds it and compares bytes, and everything
//! that could make the bytes depend on the machine is taken out in [`build_object`].

mod paths;
mod toolchain;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use self::toolchain::Toolchain;
use crate::shell;
use crate::workspace::Workspace;

/// The checked-in object and, beside it, the versions it was made with.
const OBJECT: &str = "tracer-ebpf/prebuilt/sockflow-ebpf.o";
const VERSIONS: &str = "tracer-ebpf/prebuilt/TOOLCHAIN";

const PACKAGE: &str = "tracer-ebpf";
const BIN: &str = "sockflow-ebpf";
const FLOORS: &str = "floors";
const TARGET: &str = "bpfel-unknown-none";

/// Apart from the user side's, whose compiler is another one.
const TARGET_DIR: &str = "target/bpf";
const CLEAN_TARGET_DIR: &str = "target/bpf-check";

/// `cargo xtask bpf build`: writes the object and its versions.
pub(crate) fn build(workspace: &Workspace) -> Result<()> {
    let toolchain = Toolchain::find()?;
    let object = build_object(workspace, &toolchain, TARGET_DIR)?;
    let to = workspace.path(OBJECT);
    let changed = fs::read(&to).map_or(true, |old| old != object);
    write(&to, &object)?;
    write(&workspace.path(VERSIONS), toolchain.versions()?.to_string().as_bytes())?;
    println!("{OBJECT}: {} bytes, {}", object.len(), if changed { "changed" } else { "as before" });
    Ok(())
}

/// `cargo xtask bpf check`: fails unless a build from nothing gives the checked-in bytes.
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    let advice = "run `cargo xtask bpf build` and commit tracer-ebpf/prebuilt/";
    let checked_in = fs::read(workspace.path(OBJECT))
        .with_context(|| format!("no object is checked in ({OBJECT}); {advice}"))?;
    let recorded = fs::read_to_string(workspace.path(VERSIONS))
        .with_context(|| format!("{VERSIONS} is missing; {advice}"))?;

    let toolchain = Toolchain::find()?;
    let differences = toolchain.versions()?.differences(&recorded);
    ensure!(
        differences.is_empty(),
        "this machine's BPF toolchain is not the one in {VERSIONS}, so the object cannot be \
         compared:\n{}\nInstall that one, or {advice}",
        differences.join("\n")
    );

    let folder = workspace.path(CLEAN_TARGET_DIR);
    if folder.exists() {
        fs::remove_dir_all(&folder)
            .with_context(|| format!("cannot empty {}", folder.display()))?;
    }
    let rebuilt = build_object(workspace, &toolchain, CLEAN_TARGET_DIR)?;
    if let Some(offset) = first_difference(&checked_in, &rebuilt) {
        bail!(
            "{OBJECT} ({} bytes) is not what the sources give ({} bytes): they differ from byte \
             {offset} on; {advice}",
            checked_in.len(),
            rebuilt.len()
        );
    }
    println!("{OBJECT}: {} bytes, rebuilt identically", rebuilt.len());
    Ok(())
}

/// `cargo xtask bpf clippy`: the kernel side and what it shares, linted for their real target.
pub(crate) fn clippy(workspace: &Workspace) -> Result<()> {
    let toolchain = Toolchain::find()?;
    let mut clippy = toolchain.clippy()?;
    // Where `check` builds and with its options: what runs at compile time is built once for both.
    configure(&mut clippy, workspace, &toolchain, CLEAN_TARGET_DIR)?;
    clippy.args(["--package", PACKAGE, "--package", "tracer-common"]);
    shell::run(clippy.args(["--", "-D", "warnings"]))
}

/// Builds the benchmark's own programs, which are not checked in.
pub(crate) fn build_floors(workspace: &Workspace, to: &Path) -> Result<()> {
    let toolchain = Toolchain::find()?;
    let linked = link(workspace, &toolchain, TARGET_DIR, FLOORS)?;
    write(to, &strip(&toolchain, &linked)?)
}

/// Compiles and links one of the package's objects.
fn link(
    workspace: &Workspace,
    toolchain: &Toolchain,
    target_dir: &str,
    bin: &str,
) -> Result<PathBuf> {
    let mut build = toolchain.cargo();
    build.arg("build");
    configure(&mut build, workspace, toolchain, target_dir)?;
    shell::run(build.args(["--package", PACKAGE, "--bin", bin]))?;
    Ok(workspace.path(target_dir).join(TARGET).join("release").join(bin))
}

/// Compiles, links and strips; gives the finished object.
fn build_object(workspace: &Workspace, toolchain: &Toolchain, target_dir: &str) -> Result<Vec<u8>> {
    let linked = link(workspace, toolchain, target_dir, BIN)?;
    let object = strip(toolchain, &linked)?;
    verify(workspace, &object)?;
    Ok(object)
}

/// Gives a cargo command everything that has a say in the object.
fn configure(
    command: &mut Command,
    workspace: &Workspace,
    toolchain: &Toolchain,
    target_dir: &str,
) -> Result<()> {
    // The registry's folders must be there before their names can be remapped.
    shell::read(toolchain.cargo().current_dir(&workspace.root).args(["fetch", "--locked"]))?;
    let target_dir = workspace.path(target_dir);
    let mut flags = vec![
        "-Cdebuginfo=2".to_owned(),
        "-Clink-arg=--btf".to_owned(),
        // bpf-linker optimises everything at once; one unit per crate keeps its input in order.
        "-Ccodegen-units=1".to_owned(),
    ];
    flags.extend(paths::remap(&workspace.root, &target_dir, &toolchain.sysroot()?)?);
    command
        .current_dir(&workspace.root)
        .args(["--locked", "--release", "--target", TARGET])
        .args(toolchain.build_std())
        .arg("--target-dir")
        .arg(target_dir)
        // Encoded, so that a checkout in a folder with a space in its name builds as well.
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"))
        .env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", toolchain.linker());
    Ok(())
}

/// Drops DWARF, which only a debugger would read and which is four fifths of the file. BTF is no
/// debug section to objcopy and stays.
fn strip(toolchain: &Toolchain, linked: &Path) -> Result<Vec<u8>> {
    let stripped = linked.with_extension("stripped.o");
    shell::run(Command::new(toolchain.objcopy()).arg("--strip-debug").arg(linked).arg(&stripped))?;
    fs::read(&stripped).with_context(|| format!("cannot read {}", stripped.display()))
}

/// What must be true of every object before it may be checked in.
fn verify(workspace: &Workspace, object: &[u8]) -> Result<()> {
    let has = |needle: &[u8]| object.windows(needle.len()).any(|window| window == needle);
    ensure!(
        has(b".BTF\0") && has(b".BTF.ext\0"),
        "the object has no BTF: was it linked by something else than bpf-linker?"
    );
    ensure!(!has(b".debug_info"), "the object still has DWARF in it");
    for path in paths::private(&workspace.root)? {
        ensure!(
            !has(path.as_bytes()),
            "the object names a path of this machine, {path}: xtask/src/bpf/paths.rs misses it"
        );
    }
    Ok(())
}

/// The first byte in which they differ, or at which the shorter one ends.
fn first_difference(a: &[u8], b: &[u8]) -> Option<usize> {
    if a == b {
        return None;
    }
    let common = a.iter().zip(b).take_while(|(x, y)| x == y).count();
    Some(common)
}

fn write(to: &Path, bytes: &[u8]) -> Result<()> {
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder)
            .with_context(|| format!("cannot create {}", folder.display()))?;
    }
    fs::write(to, bytes).with_context(|| format!("cannot write {}", to.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_difference_is_found() {
        assert_eq!(first_difference(b"same", b"same"), None);
        assert_eq!(first_difference(b"same", b"sane"), Some(2));
        assert_eq!(first_difference(b"same", b"same and more"), Some(4));
    }
}
