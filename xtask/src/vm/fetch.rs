//! Debian's cloud kernels, by apt alone: into the project's cache, beside the machine's own lists.
//!
//! The sources are the machine's own with another suite's name in them: no host is named here. A
//! kernel that is in the cache is taken from there, without the network.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{self, Command};

use anyhow::{Context, Result, bail};

use super::matrix::{Debian, Kernel};
use crate::shell;
use crate::workspace::cache;

/// Debian's name for the newest of the kernels meant for virtual machines.
const META: &str = "linux-image-cloud-amd64";
/// What sock_diag needs; a module on every one of them.
const MODULES: [&str; 3] = ["inet_diag", "tcp_diag", "udp_diag"];

/// A kernel's files.
pub(super) struct Files {
    pub(super) vmlinuz: PathBuf,
    /// Uncompressed, in the order in which they load.
    pub(super) modules: Vec<PathBuf>,
}

/// Where fetched kernels lie.
pub(super) fn home() -> Result<PathBuf> {
    Ok(cache()?.join("vm"))
}

/// The kernel's files, fetched if they are not there or `update` asks for the newest.
pub(super) fn fetch(kernel: &Kernel, update: bool) -> Result<Files> {
    let folder = home()?.join("kernels").join(&kernel.name);
    let files = Files {
        vmlinuz: folder.join("vmlinuz"),
        modules: MODULES.iter().map(|name| folder.join(format!("{name}.ko"))).collect(),
    };
    let is_whole = files.vmlinuz.is_file() && files.modules.iter().all(|module| module.is_file());
    if update || !is_whole {
        let debian = kernel.debian.as_ref().context("not a Debian kernel")?;
        let aside = folder.with_extension(format!("{}.partial", process::id()));
        let done = unpack(kernel, debian, &aside).and_then(|()| {
            let _ = fs::remove_dir_all(&folder);
            fs::rename(&aside, &folder).context("cannot move the kernel in place")
        });
        let _ = fs::remove_dir_all(&aside);
        done.with_context(|| format!("cannot fetch Debian's kernel {}", kernel.name))?;
    }
    Ok(files)
}

/// Fetches the packages and leaves only what is needed in `folder`.
fn unpack(kernel: &Kernel, debian: &Debian, folder: &Path) -> Result<()> {
    let packages = folder.join("packages");
    fs::create_dir_all(&packages)?;
    let apt = Apt::new(debian)?;
    apt.run("apt-get", &["-qq", "update"], &packages)?;
    let versions = apt.run("apt-cache", &["madison", META], &packages)?;
    let version = newest(&versions, &kernel.release)
        .with_context(|| format!("{} has no {META} {}*", debian.suite, kernel.release))?;
    let meta = apt.run("apt-cache", &["show", &format!("{META}={version}")], &packages)?;
    let image = named(&meta, "linux-image-").context("the meta package depends on no kernel")?;
    let mut wanted = vec![image.clone()];
    // From 6.19 on the image's package is empty and depends on those that hold it.
    let shown = apt.run("apt-cache", &["show", &image], &packages)?;
    for part in ["linux-binary-", "linux-modules-"] {
        wanted.extend(named(&shown, part));
    }
    for package in &wanted {
        println!("fetching {package}");
        apt.run("apt-get", &["-qq", "download", package], &packages)?;
    }
    let tree = folder.join("tree");
    for entry in fs::read_dir(&packages)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "deb") {
            shell::read(Command::new("dpkg-deb").arg("-x").arg(&path).arg(&tree))?;
        }
    }
    let all = walk(&tree);
    let name_of = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let vmlinuz = all.iter().find(|path| name_of(path).starts_with("vmlinuz"));
    fs::copy(vmlinuz.context("no kernel in the package")?, folder.join("vmlinuz"))?;
    for module in MODULES {
        let file = all.iter().find(|path| name_of(path).starts_with(&format!("{module}.ko")));
        let file = file.with_context(|| format!("no module {module} in the package"))?;
        let bytes = if file.extension().is_some_and(|extension| extension == "xz") {
            let output = Command::new("busybox").arg("xzcat").arg(file).output()?;
            if !output.status.success() {
                bail!("cannot unpack {}", file.display());
            }
            output.stdout
        } else {
            fs::read(file)?
        };
        fs::write(folder.join(format!("{module}.ko")), bytes)?;
    }
    fs::write(folder.join("VERSION"), format!("{version}\n"))?;
    fs::remove_dir_all(tree)?;
    fs::remove_dir_all(packages)?;
    Ok(())
}

/// apt with lists and sources of its own.
struct Apt {
    options: Vec<String>,
}

impl Apt {
    fn new(debian: &Debian) -> Result<Self> {
        let folder = home()?.join("lists").join(&debian.suite);
        for inner in ["sources", "lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(folder.join(inner))?;
        }
        let sources: String = machine_sources()?
            .iter()
            .map(|text| with_suites(text, &debian.suite, &debian.security))
            .collect();
        if sources.is_empty() {
            bail!("this machine has no Debian sources (/etc/apt/sources.list.d/*.sources)");
        }
        fs::write(folder.join("sources/debian.sources"), sources)?;
        let option = |name: &str, inner: &str| format!("{name}={}", folder.join(inner).display());
        Ok(Self {
            options: vec![
                "Dir::Etc::SourceList=/dev/null".to_owned(),
                option("Dir::Etc::SourceParts", "sources"),
                option("Dir::State::Lists", "lists"),
                option("Dir::Cache", "cache"),
                // The cache is root's: apt's own user could not write there.
                "APT::Sandbox::User=root".to_owned(),
            ],
        })
    }

    fn run(&self, program: &str, arguments: &[&str], folder: &Path) -> Result<String> {
        let mut command = Command::new(program);
        for option in &self.options {
            command.args(["-o", option]);
        }
        shell::read(command.args(arguments).current_dir(folder).env("LC_ALL", "C"))
    }
}

/// The machine's own source files that speak of Debian.
fn machine_sources() -> Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/etc/apt/sources.list.d").context("this machine has no apt")? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "sources") {
            let text = fs::read_to_string(&path)?;
            if text.contains("debian-archive-keyring") {
                found.push(text);
            }
        }
    }
    Ok(found)
}

/// The same stanzas for another suite.
fn with_suites(text: &str, suite: &str, security: &str) -> String {
    text.lines()
        .map(|line| match line.strip_prefix("Suites:") {
            Some(old) if old.contains("-security") => format!("Suites: {security}\n"),
            Some(_) => format!("Suites: {suite}\n"),
            None => format!("{line}\n"),
        })
        .chain(["\n".to_owned()])
        .collect()
}

/// The newest version in `apt-cache madison`'s answer (it sorts) that begins so.
fn newest(madison: &str, prefix: &str) -> Option<String> {
    madison
        .lines()
        .filter_map(|line| line.split('|').nth(1))
        .map(str::trim)
        .find(|version| version.starts_with(prefix))
        .map(str::to_owned)
}

/// The first package in the dependencies of `apt-cache show`'s answer whose name begins so and
/// goes on with a number.
fn named(shown: &str, prefix: &str) -> Option<String> {
    shown
        .lines()
        .filter_map(|line| line.strip_prefix("Depends: ").or(line.strip_prefix("Pre-Depends: ")))
        .flat_map(|depends| depends.split([',', '|']))
        .filter_map(|package| package.split_whitespace().next())
        .find(|name| {
            name.strip_prefix(prefix).is_some_and(|rest| rest.starts_with(|c: char| c.is_numeric()))
        })
        .map(str::to_owned)
}

/// Every file below a folder.
fn walk(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            // Links are not followed: Debian's point out of the package.
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => folders.push(entry.path()),
                Ok(kind) if kind.is_file() => found.push(entry.path()),
                _ => {}
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_suites_of_the_sources_change() {
        let own = "Types: deb\nURIs: http://mirror/debian\nSuites: sid sid-updates\n\n\
                   Types: deb\nSuites: sid-security\n";
        assert_eq!(
            with_suites(own, "trixie", "trixie-security"),
            "Types: deb\nURIs: http://mirror/debian\nSuites: trixie\n\n\
             Types: deb\nSuites: trixie-security\n\n"
        );
    }

    #[test]
    fn the_newest_of_a_series_is_taken() {
        let madison = " meta | 7.3.4-1~bpo13+1 | http://m trixie-backports/main amd64 Packages\n \
                       meta | 6.12.107-1 | http://m trixie/main amd64 Packages\n \
                       meta | 6.12.74-2 | http://m trixie/main amd64 Packages\n";
        assert_eq!(newest(madison, "6.12.").as_deref(), Some("6.12.107-1"));
        assert_eq!(newest(madison, "5.10."), None);
    }

    #[test]
    fn the_package_behind_a_meta_package_is_found() {
        let shown = "Package: linux-image-cloud-amd64\n\
                     Depends: linux-base (>= 4), linux-image-6.12.107+deb13-cloud-amd64 (= 6.12.107-1)\n";
        let found = named(shown, "linux-image-");
        assert_eq!(found.as_deref(), Some("linux-image-6.12.107+deb13-cloud-amd64"));
        assert_eq!(named(shown, "linux-binary-"), None);
    }
}
