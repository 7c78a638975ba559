//! `cargo xtask bench healthy`: real servers under full load that are well, and what sockflow concludes.
//!
//! Nginx, haproxy and a Go server answer as many short connections as wrk can make, one after the other.
//! Whatever is concluded above a note is a false alarm, and fails the run.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::{Setup, output, print_header};
use crate::shell;

const ADDRESS: &str = "127.0.0.1:9981";
/// How long a server may take until it listens.
const READY_WITHIN: Duration = Duration::from_secs(20);

#[derive(clap::Args)]
pub(crate) struct Args {
    /// How long each server is under load
    #[arg(long, value_name = "N", default_value_t = 120, value_parser = clap::value_parser!(u32).range(1..=600))]
    seconds: u32,
}

/// A server: its program, the file it is told by, and its command line.
struct Server {
    name: &'static str,
    package: &'static str,
    file: &'static str,
    text: &'static str,
    /// `FILE` and `FOLDER` stand for themselves.
    command: &'static [&'static str],
}

const SERVERS: [Server; 3] = [
    Server {
        name: "nginx",
        package: "nginx-light",
        file: "nginx.conf",
        text: "daemon off; pid nginx.pid; error_log stderr crit; worker_processes 2;
events { worker_connections 4096; }
http { access_log off; server { listen 127.0.0.1:9981; keepalive_timeout 0; return 200 'ok'; } }
",
        command: &["nginx", "-p", "FOLDER", "-c", "FILE"],
    },
    Server {
        name: "haproxy",
        package: "haproxy",
        file: "haproxy.cfg",
        text: "defaults
  mode http
  timeout client 10s
  timeout connect 10s
  timeout server 10s
frontend short
  bind 127.0.0.1:9981
  option httpclose
  http-request return status 200 content-type text/plain string ok
",
        command: &["haproxy", "-db", "-f", "FILE"],
    },
    Server {
        name: "Go",
        package: "golang-go",
        file: "main.go",
        text: r#"package main

import "net/http"

func main() {
	answer := func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("ok")) }
	server := http.Server{Addr: "127.0.0.1:9981", Handler: http.HandlerFunc(answer)}
	server.SetKeepAlivesEnabled(false)
	panic(server.ListenAndServe())
}
"#,
        command: &["FOLDER/server"],
    },
];

/// Ended with this process, however that ends.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Asked first: nginx and haproxy take their workers with them.
        let pid = self.0.id().to_string();
        let _ = Command::new("kill").args(["-TERM", &pid]).status();
        let asked = Instant::now();
        while asked.elapsed() < Duration::from_secs(5) {
            if !matches!(self.0.try_wait(), Ok(None)) {
                return;
            }
            sleep(Duration::from_millis(20));
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(super) fn run(setup: &Setup, args: &Args) -> Result<()> {
    let mut missing: Vec<&str> = SERVERS
        .iter()
        .filter(|server| !has(if server.name == "Go" { "go" } else { server.command[0] }))
        .map(|server| server.package)
        .collect();
    if !has("wrk") {
        missing.push("wrk");
    }
    ensure!(missing.is_empty(), "not installed: apt-get install {}", missing.join(" "));
    print_header(&format!("cargo xtask bench healthy --seconds {}", args.seconds))?;
    println!("server   requests/s  moments  worst  above a note");
    let mut alarms = Vec::new();
    for server in &SERVERS {
        let _running = start(server, &setup.folder)?;
        let seen = output(&setup.folder, &format!("healthy-{}.jsonl", server.name));
        let duration = format!("{}s", args.seconds);
        let mut top = Command::new(&setup.sockflow)
            .args(["top", "--json", "--interval", "1s", "--duration", &duration])
            .stdout(File::create(&seen)?)
            .spawn()
            .context("cannot run sockflow")?;
        let said = shell::read(Command::new("wrk").args([
            "-t1",
            "-c32",
            &format!("-d{duration}"),
            &format!("http://{ADDRESS}/"),
        ]))?;
        ensure!(top.wait()?.success(), "sockflow top failed");
        let (moments, worst, above) = concluded(&fs::read_to_string(&seen)?);
        let rate = said.lines().find_map(|line| line.trim().strip_prefix("Requests/sec:"));
        println!(
            "{:<8} {:>10}  {moments:>7}  {worst:<5}  {}",
            server.name,
            rate.unwrap_or("?").trim(),
            above.values().sum::<usize>()
        );
        alarms.extend(
            above.into_iter().map(|(text, count)| format!("{}: {count} × {text}", server.name)),
        );
    }
    if !alarms.is_empty() {
        bail!("false alarms: {}", alarms.join("; "));
    }
    Ok(())
}

fn has(program: &str) -> bool {
    Command::new("sh")
        .args(["-c", &format!("PATH=$PATH:/usr/sbin command -v {program}")])
        .stdout(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

fn start(server: &Server, folder: &Path) -> Result<Running> {
    let file = folder.join(server.file);
    fs::write(&file, server.text)?;
    if server.name == "Go" {
        let mut build = Command::new("go");
        build.args(["build", "-o"]).arg(folder.join("server")).arg(&file);
        shell::run(build.env("GO111MODULE", "off").env("GOCACHE", folder.join("go-cache")))?;
    }
    let word = |word: &&str| {
        word.replace("FILE", &file.display().to_string())
            .replace("FOLDER", &folder.display().to_string())
    };
    let words: Vec<String> = server.command.iter().map(word).collect();
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    let mut running = Running(command.spawn().with_context(|| format!("cannot run {}", words[0]))?);
    let began = Instant::now();
    while TcpStream::connect(ADDRESS).is_err() {
        ensure!(running.0.try_wait()?.is_none(), "{} has ended", server.name);
        ensure!(began.elapsed() < READY_WITHIN, "{} does not listen", server.name);
        sleep(Duration::from_millis(50));
    }
    Ok(running)
}

/// How many snapshots there are, the worst severity, and the sentences above a note with how often each
/// check said so.
fn concluded(snapshots: &str) -> (usize, &'static str, BTreeMap<String, usize>) {
    const WORDS: [&str; 4] = ["ok", "note", "warn", "crit"];
    let (mut worst, mut above) = (0, BTreeMap::new());
    for line in snapshots.lines() {
        let verdict = line.split_once("\"verdict\":").map_or("", |(_, verdict)| verdict);
        let said = |name: &str| {
            let (_, rest) = verdict.split_once(&format!("\"{name}\":\""))?;
            rest.split('"').next()
        };
        let severity = said("severity").unwrap_or_default();
        let rank = WORDS.iter().position(|word| *word == severity).unwrap_or(WORDS.len() - 1);
        worst = worst.max(rank);
        if rank > 1 {
            let text: String = said("text").unwrap_or(line).chars().take(120).collect();
            *above.entry(text).or_default() += 1;
        }
    }
    (snapshots.lines().count(), WORDS[worst], above)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_above_a_note_is_found() {
        let line = |severity: &str| {
            format!("{{\"x\":1,\"verdict\":{{\"severity\":\"{severity}\",\"text\":\"why\"}}}}\n")
        };
        let (moments, worst, above) = concluded(&(line("ok") + &line("note")));
        assert_eq!((moments, worst, above.len()), (2, "note", 0));
        let (moments, worst, above) = concluded(&(line("warn") + &line("ok") + &line("warn")));
        assert_eq!((moments, worst), (3, "warn"));
        assert_eq!(above, [("why".to_owned(), 2)].into());
        assert_eq!(concluded("{}\n").1, "crit", "no verdict is not a good one");
    }
}
