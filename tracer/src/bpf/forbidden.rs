//! What forbids BPF to a process that has the privilege: sandboxes, lockdown, security modules. The
//! kernel says no more than EPERM, so this looks around for who can have said it.

use std::path::Path;

use rustix::io::Errno;

use super::limits;
use crate::error::Failure;

/// The number of the first user namespace (`PROC_USER_INIT_INO`, include/linux/proc_ns.h).
const FIRST_USER_NAMESPACE: &str = "user:[4026531837]";

/// What can forbid BPF here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Confinement {
    /// Its privileges are those of a user namespace, not the host's.
    is_in_user_namespace: bool,
    /// A seccomp filter decides on its system calls.
    is_filtered: bool,
    /// The kernel is locked down, and how far.
    lockdown: Option<String>,
    /// SELinux enforces its rules.
    is_under_selinux: bool,
    /// The profile by which AppArmor confines it.
    apparmor: Option<String>,
}

/// At what point something was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Making maps: nothing of the kernel is looked at yet.
    Maps,
    /// Loading programs and attaching them.
    Programs,
}

impl Confinement {
    /// That of this process.
    pub(super) fn read() -> Self {
        Self::below(Path::new("/"))
    }

    /// With `proc` and `sys` below `root`.
    fn below(root: &Path) -> Self {
        let text = |path: &str| std::fs::read_to_string(root.join(path)).unwrap_or_default();
        let status = text("proc/self/status");
        let mode = status.lines().find_map(|line| line.strip_prefix("Seccomp:"));
        let namespace = std::fs::read_link(root.join("proc/self/ns/user")).unwrap_or_default();
        let namespace = namespace.to_string_lossy();
        let lockdown = text("sys/kernel/security/lockdown");
        let chosen = lockdown.split_once('[').and_then(|(_, rest)| rest.split_once(']'));
        let apparmor = text("proc/self/attr/apparmor/current");
        let profile = apparmor.trim_end_matches(['\n', '\0']);
        Self {
            is_in_user_namespace: !namespace.is_empty() && namespace != FIRST_USER_NAMESPACE,
            is_filtered: mode.is_some_and(|mode| mode.trim() == "2"),
            lockdown: chosen.map(|(level, _)| level.to_owned()).filter(|level| level != "none"),
            is_under_selinux: text("sys/fs/selinux/enforce").trim() == "1",
            apparmor: Some(profile.to_owned())
                .filter(|it| !it.is_empty() && it != "unconfined" && !it.ends_with("(complain)")),
        }
    }

    /// Root of a user namespace has all capabilities, and none of them is good for BPF.
    pub(super) fn user_namespace(&self) -> Option<Failure> {
        self.is_in_user_namespace.then(|| {
            Failure::environment(
                "BPF takes privileges of the host, and this process is in a user namespace, where even \
                 root has none of them",
            )
            .hint("run it outside, as the host's root: `sudo sockflow …`")
        })
    }

    /// Whether the kernel keeps its memory from programs, whoever asks.
    pub(super) fn hides_memory(&self) -> bool {
        self.lockdown.as_deref() == Some("confidentiality")
    }

    /// What to say of a refusal: who can have refused it, and what to do.
    pub(super) fn failure(&self, step: Step) -> Failure {
        let mut suspects: Vec<(String, &'static str)> = Vec::new();
        if step == Step::Programs && self.hides_memory() {
            suspects.push((
                "the kernel's lockdown (confidentiality), under which no program may read its memory"
                    .to_owned(),
                "see it: `cat /sys/kernel/security/lockdown`; it ends with a boot without it",
            ));
        }
        if self.is_filtered {
            suspects.push((
                "a seccomp filter that a container or service manager put on this process".to_owned(),
                "run it outside of the sandbox, or let that allow bpf() and perf_event_open(): `docker \
                 run --privileged --security-opt seccomp=unconfined …`",
            ));
        }
        if self.is_under_selinux {
            suspects.push((
                "SELinux, which enforces its rules".to_owned(),
                "see what it denied: `ausearch -m avc -ts recent`",
            ));
        }
        if let Some(profile) = &self.apparmor {
            suspects.push((
                format!("AppArmor, which confines this process ({profile})"),
                "see what it denied: `dmesg | grep apparmor`",
            ));
        }
        let hint = suspects.first().map_or("see whether it was logged: `dmesg | tail`", |it| it.1);
        let names: Vec<String> = suspects.into_iter().map(|(name, _)| name).collect();
        let what = match &names[..] {
            [] => {
                "this process may not use BPF, and nothing here says what forbids it: a security \
                   module, or a rule of the sandbox it runs in"
                    .to_owned()
            }
            [one] => format!("this process may not use BPF: {one} forbids it"),
            several => {
                format!("this process may not use BPF: forbidden by {}", several.join("; or by "))
            }
        };
        Failure::environment(what).hint(hint)
    }
}

/// `error`, with who can have refused it where the kernel says EPERM and its like.
pub(super) fn named(error: anyhow::Error, step: Step) -> anyhow::Error {
    if !is_denied(&error, step) {
        return error;
    }
    error.context(Confinement::read().failure(step))
}

/// Whether the kernel refused it to this process, rather than as such. Of programs, the verifier says
/// EACCES where it does not like one.
pub(super) fn is_denied(error: &anyhow::Error, step: Step) -> bool {
    match limits::errno(error) {
        // ENOSYS is what filters answer with: the kernels that can be traced have bpf().
        Some(Errno::PERM | Errno::NOSYS) => true,
        Some(Errno::ACCESS) => step == Step::Maps,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io;
    use std::os::unix::fs::symlink;

    use super::*;

    /// Files of /proc and /sys, as in a confinement.
    fn confined(name: &str, user: &str, files: &[(&str, &str)]) -> Confinement {
        let root =
            std::env::temp_dir().join(format!("sockflow-confined-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        fs::create_dir_all(root.join("proc/self/ns")).unwrap();
        symlink(user, root.join("proc/self/ns/user")).unwrap();
        for (path, text) in files {
            fs::create_dir_all(root.join(path).parent().unwrap()).unwrap();
            fs::write(root.join(path), text).unwrap();
        }
        let found = Confinement::below(&root);
        fs::remove_dir_all(&root).unwrap();
        found
    }

    const LOCKED: (&str, &str) =
        ("sys/kernel/security/lockdown", "none integrity [confidentiality]\n");
    const FILTERED: (&str, &str) =
        ("proc/self/status", "Name:\tx\nSeccomp:\t2\nSeccomp_filters:\t1\n");

    fn said(confinement: &Confinement, step: Step) -> String {
        let failure = confinement.failure(step);
        format!("{} | {}", failure.what, failure.hint.unwrap())
    }

    #[test]
    fn who_forbids_it_is_named() {
        let free = confined(
            "free",
            FIRST_USER_NAMESPACE,
            &[
                ("proc/self/status", "Seccomp:\t0\n"),
                ("sys/kernel/security/lockdown", "[none] integrity confidentiality\n"),
                ("sys/fs/selinux/enforce", "0"),
                ("proc/self/attr/apparmor/current", "unconfined\n"),
            ],
        );
        assert_eq!(free, Confinement::default());
        assert!(free.user_namespace().is_none());
        assert!(said(&free, Step::Maps).contains("nothing here says what forbids it"));

        let filtered = confined("filtered", FIRST_USER_NAMESPACE, &[FILTERED]);
        let text = said(&filtered, Step::Maps);
        assert!(text.starts_with("this process may not use BPF: a seccomp filter"), "{text}");
        assert!(text.contains("seccomp=unconfined"), "{text}");

        // Lockdown lets maps be made.
        let locked = confined("locked", FIRST_USER_NAMESPACE, &[LOCKED, FILTERED]);
        assert!(locked.hides_memory());
        assert!(!said(&locked, Step::Maps).contains("lockdown"));
        let text = said(&locked, Step::Programs);
        assert!(
            text.contains("(confidentiality)") && text.contains("; or by a seccomp filter"),
            "{text}"
        );
        assert!(text.ends_with("it ends with a boot without it"), "{text}");

        let modules = [("sys/fs/selinux/enforce", "1")];
        let text = said(&confined("selinux", FIRST_USER_NAMESPACE, &modules), Step::Maps);
        assert!(text.contains("SELinux") && text.contains("ausearch"), "{text}");
        let modules = [("proc/self/attr/apparmor/current", "docker-default (enforce)\n")];
        let text = said(&confined("apparmor", FIRST_USER_NAMESPACE, &modules), Step::Maps);
        assert!(text.contains("(docker-default (enforce))"), "{text}");
    }

    #[test]
    fn root_of_a_user_namespace_is_told() {
        let inside = confined("user", "user:[4026532201]", &[]);
        assert!(inside.user_namespace().unwrap().what.contains("user namespace"));
        // Without /proc nothing is concluded.
        assert!(Confinement::below(Path::new("/no/such")).user_namespace().is_none());
    }

    #[test]
    fn a_verifiers_no_is_no_prohibition() {
        let of = |errno: Errno| anyhow::Error::new(io::Error::from(errno)).context("cannot load");
        for step in [Step::Maps, Step::Programs] {
            assert!(is_denied(&of(Errno::PERM), step) && is_denied(&of(Errno::NOSYS), step));
            assert!(!is_denied(&of(Errno::INVAL), step));
        }
        assert!(is_denied(&of(Errno::ACCESS), Step::Maps));
        assert!(!is_denied(&of(Errno::ACCESS), Step::Programs));
    }
}
