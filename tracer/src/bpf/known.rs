//! What the kernel's type information says before anything is loaded: where fields are, which hooks
//! have other arguments than the programs know, what the numbers for resets mean.

use std::path::Path;

use anyhow::{Context as _, Result};
use aya::Endianness;
use tracer_common::reset::ResetReason;

use super::btf::Btf;
use super::offsets::{self, Resolved};
use super::probes::{Hook, PROBES, Rung};

/// For tests: fields (`tcp_sock.linger2`) and functions that shall be as if this kernel did not have
/// them.
const HIDE: &str = "SOCKFLOW_HIDE";

/// What the running kernel calls its reasons for a RST, by its numbers.
#[derive(Clone, Debug, Default)]
pub struct ResetReasons(Vec<Option<ResetReason>>);

impl ResetReasons {
    fn of(btf: &Btf) -> Self {
        let mut known = Vec::new();
        for (number, name) in btf.enumerators("sk_rst_reason") {
            let Ok(number) = usize::try_from(number) else { continue };
            // Larger than any kernel's; what it says comes from outside.
            if number < 256 {
                known.resize(known.len().max(number + 1), None);
                known[number] = ResetReason::named(name);
            }
        }
        Self(known)
    }

    /// Whether the kernel gives reasons at all.
    #[must_use]
    pub const fn are_told(&self) -> bool {
        !self.0.is_empty()
    }

    /// The reason with the kernel's number `number`; `None` for one that is newer than this build.
    #[must_use]
    pub fn named(&self, number: u32) -> Option<ResetReason> {
        self.0.get(usize::try_from(number).ok()?).copied().flatten()
    }
}

/// What the kernel's type information says that the programs need.
pub(super) struct Known {
    btf: Btf,
    pub(super) resolved: Resolved,
    pub(super) reset_reasons: ResetReasons,
}

impl Known {
    pub(super) fn read(path: &Path) -> Result<Self> {
        let mut btf = Btf::from_file(path)?;
        for name in std::env::var(HIDE).unwrap_or_default().split(',') {
            btf.hide(name);
        }
        let resolved = offsets::resolve(&btf)?;
        // (sk, skb, reason) since 6.10.
        let tells = btf.tracepoint_params("tcp_send_reset") == Some(3);
        let reset_reasons = if tells { ResetReasons::of(&btf) } else { ResetReasons::default() };
        Ok(Self { btf, resolved, reset_reasons })
    }

    /// `SOCK_MIN_SNDBUF`; 0, which tells nobody apart, where it is not known.
    pub(super) fn min_sndbuf(&self) -> u32 {
        offsets::min_sndbuf(&self.btf).unwrap_or(0)
    }

    /// Whether tracing programs may ask for a socket's cookie (5.12): `bpf_get_socket_ptr_cookie` in
    /// `net/core/filter.c`.
    pub(super) fn has_cookie_helper(&self) -> bool {
        const HELPER: &str = "bpf_get_socket_ptr_cookie";
        !self.btf.is_hidden(HELPER) && self.btf.params(HELPER).is_some()
    }

    /// Whether a walk through sockets has each locked while a program looks at it (5.15): since then the
    /// kernel gathers them in batches, whose place it keeps in this struct.
    fn has_locking_walk(&self, kind: &str) -> bool {
        !self.btf.is_hidden(&format!("bpf_iter_{kind}"))
            && self.btf.size_of(&format!("bpf_{kind}_iter_state")).is_ok()
    }

    /// The ids of what programs are attached to.
    pub(super) fn hooks(&self) -> Result<aya::Btf> {
        let hooks = PROBES.iter().flat_map(Rung::all_parts).map(|(hook, _)| hook);
        let names = hooks.filter_map(|hook| match hook {
            Hook::TpBtf(name) => Some(format!("btf_trace_{name}")),
            Hook::Iter(kind) => Some(format!("bpf_iter_{kind}")),
            hook => hook.target().map(str::to_owned),
        });
        let raw = self.btf.only(&names.collect());
        aya::Btf::parse(&raw, Endianness::default())
            .context("cannot read the kernel's type information")
    }

    /// Why a rung need not be tried, if so.
    pub(super) fn refuses(&self, rung: &Rung) -> Option<String> {
        if rung.program.is_some()
            && let Some(why) = self.resolved.hooks_lack(rung.signal)
        {
            return Some(why.to_owned());
        }
        if let Hook::Iter(kind) = rung.hook
            && !self.has_locking_walk(kind)
        {
            return Some(format!("this kernel does not lock what it walks through ({kind})"));
        }
        let hidden = |hook: Hook| hook.target().filter(|name| self.btf.is_hidden(name));
        if let Some(name) = rung.parts().find_map(|(hook, _)| hidden(hook)) {
            return Some(format!("this kernel has no {name} ({HIDE})"));
        }
        let function = rung.hook.target()?;
        (rung.params.is_some() && self.btf.params(function) != rung.params)
            .then(|| format!("{function} has other arguments on this kernel"))
    }
}
