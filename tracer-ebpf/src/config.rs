//! The constants from user space, written into `.rodata` before the programs load.

use core::ptr;

use tracer_common::config::Config;

/// Filled in by the loader. Always read through [`config!`]: the compiler must not fold the
/// zeros that stand here, while the verifier sees the real values and folds those.
#[unsafe(no_mangle)]
pub(crate) static CONFIG: Config = {
    // SAFETY: all-zero is a valid Config: it holds only integers.
    unsafe { core::mem::zeroed() }
};

/// Reads one field.
#[inline(always)]
pub(crate) fn read<T: Copy>(field: *const T) -> T {
    // SAFETY: `field` points into CONFIG, which is never written while programs run.
    unsafe { ptr::read_volatile(field) }
}

/// `config!(offsets.sk_err)`: one field of the configuration, as the loader wrote it.
macro_rules! config {
    ($($field:tt)+) => {
        $crate::config::read(&raw const $crate::config::CONFIG.$($field)+)
    };
}
pub(crate) use config;
