//! Files that say what the code says, made from it: each is what an example program prints.
//!
//! xtask is built before every test run and so does not link the product. Whether a file is current
//! is a test beside the code it is made from.

use std::fs;

use anyhow::{Context, Result};

use crate::shell;
use crate::workspace::Workspace;

/// A file made from the code.
struct Generated {
    file: &'static str,
    /// What `tracer/examples/docs.rs` calls it.
    name: &'static str,
}

/// One row a file; `tracer/examples/docs.rs` prints it by its name.
const FILES: &[Generated] = &[Generated { file: "docs/METRICS.md", name: "metrics" }];

/// `cargo xtask docs`: writes them all.
pub(crate) fn write(workspace: &Workspace) -> Result<()> {
    for Generated { file, name } in FILES {
        let mut cargo = shell::cargo();
        cargo.args(["run", "--quiet", "--package", "tracer", "--example", "docs", "--", name]);
        let text = shell::read(cargo.current_dir(&workspace.root))?;
        let path = workspace.path(file);
        let before = fs::read_to_string(&path).unwrap_or_default();
        // `read` takes the last line's end off.
        let text = format!("{text}\n");
        if text == before {
            println!("{file} is current");
        } else {
            fs::write(&path, text).with_context(|| format!("cannot write {file}"))?;
            println!("{file} is written");
        }
    }
    Ok(())
}
