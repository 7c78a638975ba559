//! Limits of this process, or of the host, that keep programs from being loaded: they are named, and
//! not taken for a kernel that refuses BPF.

use std::io;

use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};

use crate::error::Failure;

/// `error` of a hook, with the limit and what raises it, if no descriptor was free: then every other
/// hook would fail as well. A lack of memory may concern the one hook, which has another below it.
pub(super) fn exhausted(error: anyhow::Error) -> Option<anyhow::Error> {
    let no_descriptor = |errno| matches!(errno, Errno::MFILE | Errno::NFILE);
    errno(&error).filter(|errno| no_descriptor(*errno)).map(|_| named(error))
}

/// `error`, with the limit and what raises it where such a limit caused it.
pub(super) fn named(error: anyhow::Error) -> anyhow::Error {
    match failure(&error) {
        Some(failure) => error.context(failure),
        None => error,
    }
}

pub(super) fn errno(error: &anyhow::Error) -> Option<Errno> {
    error.chain().find_map(|cause| {
        let code = cause.downcast_ref::<io::Error>()?.raw_os_error()?;
        Some(Errno::from_raw_os_error(code))
    })
}

fn failure(error: &anyhow::Error) -> Option<Failure> {
    Some(match errno(error)? {
        Errno::MFILE => {
            let most = getrlimit(Resource::Nofile).current;
            let most = most.map_or_else(|| "too few".to_owned(), |most| most.to_string());
            Failure::environment(format!(
                "this process may have {most} files open, and tracing needs more"
            ))
            .hint("raise the limit: `ulimit -n 1024`")
        }
        Errno::NFILE => Failure::environment("the host has as many files open as it may")
            .hint("see how many: `sysctl fs.file-nr fs.file-max`"),
        Errno::NOMEM => Failure::environment("the kernel has no memory for the BPF maps")
            .hint("see what is left, here and in this cgroup: `free -h`; or ask for less: `--max-sockets 65536`"),
        Errno::AGAIN => Failure::environment("a limit of this user's processes or locked memory is reached")
            .hint("see them: `ulimit -a`"),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_named_and_another_refusal_is_left_alone() {
        let of = |errno: Errno| {
            let error = anyhow::Error::new(io::Error::from(errno)).context("cannot create a map");
            crate::error::report(&named(error))
        };
        let (text, code) = of(Errno::MFILE);
        assert!(text.contains("files open, and tracing needs more"), "{text}");
        assert!(text.ends_with("hint: raise the limit: `ulimit -n 1024`"), "{text}");
        assert_eq!(code, 3);
        assert!(of(Errno::NOMEM).0.contains("no memory for the BPF maps"));
        assert_eq!(of(Errno::PERM).1, 1);
    }
}
