//! What `sysctl.conf` and the files of `sysctl.d` set at boot, in the order they are applied.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::facts::{SettingLine, Settings};

/// Folders of `sysctl.d`, the one that wins first: a file hides those of the same name in later
/// folders (`man 5 sysctl.d`).
const FOLDERS: [&str; 5] =
    ["etc/sysctl.d", "run/sysctl.d", "usr/local/lib/sysctl.d", "usr/lib/sysctl.d", "lib/sysctl.d"];

/// Read before `etc/sysctl.conf`, which `sysctl --system` applies last.
const LAST: &str = "etc/sysctl.conf";

/// Longer files are no sysctl files.
const LONGEST: u64 = 1 << 20;

/// Reads the files below `root` and looks each key up below `proc_sys`.
#[must_use]
pub fn read(root: &Path, proc_sys: &Path) -> Settings {
    let mut by_name: BTreeMap<String, PathBuf> = BTreeMap::new();
    for folder in FOLDERS {
        for entry in fs::read_dir(root.join(folder)).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.ends_with(".conf") {
                by_name.entry(name).or_insert_with(|| entry.path());
            }
        }
    }
    let mut files: Vec<PathBuf> = by_name.into_values().collect();
    files.push(root.join(LAST));
    let mut settings = Settings::default();
    let mut seen = BTreeSet::new();
    for file in files {
        // Debian links 99-sysctl.conf to ../sysctl.conf: one file, read once.
        let Ok(real) = fs::canonicalize(&file) else { continue };
        if !seen.insert(real) {
            continue;
        }
        // As the host itself calls it.
        let name = file.strip_prefix(root).unwrap_or(&file);
        let name = Path::new("/").join(name).display().to_string();
        let small = fs::metadata(&file).is_ok_and(|meta| meta.is_file() && meta.len() < LONGEST);
        match fs::read(&file) {
            Ok(bytes) if small => {
                let text = String::from_utf8_lossy(&bytes);
                settings.lines.extend(
                    text.lines()
                        .enumerate()
                        .filter_map(|(at, text)| SettingLine::parse(&name, at + 1, text)),
                );
            }
            _ => settings.unreadable.push(name),
        }
    }
    for line in &mut settings.lines {
        if is_secret(&line.key) && line.value.is_some() {
            line.value = Some(HIDDEN.to_owned());
        }
        let is_missing = fs::symlink_metadata(proc_sys.join(path(&line.key)))
            .is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound);
        // A pattern names whatever there is.
        if is_missing && !line.key.contains('*') {
            settings.absent.insert(line.key.clone());
        }
    }
    settings
}

/// What is shown of a secret.
const HIDDEN: &str = "(hidden)";

/// `stable_secret`, the key of TCP Fast Open: for nobody's screen, trace or report.
fn is_secret(key: &str) -> bool {
    key.contains("key") || key.contains("secret")
}

/// Adds what the settings named are now.
pub fn add_runtime(lines: &[SettingLine], sysctls: &mut BTreeMap<String, String>) {
    for line in lines {
        // Outside of these some cause an action.
        let readable = line.key.starts_with("net.") || line.key.starts_with("fs.");
        if !readable || is_secret(&line.key) {
            continue;
        }
        if sysctls.contains_key(&line.key) || line.key.contains('*') {
            continue;
        }
        if let Ok(text) = fs::read_to_string(Path::new("/proc/sys").join(path(&line.key))) {
            let words: Vec<&str> = text.split_whitespace().collect();
            sysctls.insert(line.key.clone(), words.join(" "));
        }
    }
}

/// `net/ipv4/tcp_mem`, never a way out of the folder.
fn path(key: &str) -> PathBuf {
    key.split('.')
        .filter(|part| !part.is_empty())
        .map(|part| part.replace('/', "."))
        .filter(|part| part != "..")
        .collect()
}
