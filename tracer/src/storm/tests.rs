//! Storm against the kernel.
