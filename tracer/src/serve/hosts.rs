//! Which names the server answers to: the defence against DNS rebinding.
//!
//! A web page may ask only servers of its own name. So its author lets that name resolve to
//! 127.0.0.1, and the browser of whoever reads the page then fetches metrics for it. The request gives
//! itself away: its `Host` is the author's name. An address cannot be lent like that, and neither can
//! `localhost`, nor a name that the author does not own.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};

use hyper::header::HOST;
use hyper::http::uri::Authority;
use hyper::{Request, Version};

/// The longest name DNS has.
const LONGEST: usize = 253;

/// A host name as an option: a name, `.domain` for all names below a domain, or `*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Allowed {
    /// This name.
    Name(String),
    /// Any name that ends in this, which begins with a dot.
    Below(String),
    /// Any name.
    Any,
}

impl Allowed {
    /// Understands what was typed.
    ///
    /// # Errors
    ///
    /// It is no host name.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text == "*" {
            return Ok(Self::Any);
        }
        let name = plain(text);
        let (below, labels) = match name.strip_prefix('.') {
            Some(labels) => (true, labels),
            None => (false, name.as_str()),
        };
        if labels.is_empty() || labels.split('.').any(|label| !is_label(label)) {
            return Err("expected a host name without a port such as metrics.example.com, \
                        .example.com for all names below it, or '*' for any name"
                .to_owned());
        }
        Ok(if below { Self::Below(name) } else { Self::Name(name) })
    }
}

/// Why a request is not answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It names no host, several, or one that cannot be read.
    Unclear,
    /// It is meant for a host of this name.
    Other(String),
}

/// The names it answers to, besides addresses and `localhost`.
#[derive(Clone, Debug, Default)]
pub struct Hosts {
    any: bool,
    names: BTreeSet<String>,
    below: Vec<String>,
}

impl Hosts {
    /// This host's own name, and what else is allowed.
    #[must_use]
    pub fn new(own: &str, allowed: &[Allowed]) -> Self {
        let mut hosts = Self::default();
        hosts.names.insert(plain(own));
        for allowed in allowed {
            match allowed {
                Allowed::Name(name) => {
                    hosts.names.insert(name.clone());
                }
                Allowed::Below(domain) => hosts.below.push(domain.clone()),
                Allowed::Any => hosts.any = true,
            }
        }
        hosts
    }

    /// Whether a request is meant for this server.
    ///
    /// # Errors
    ///
    /// It is not.
    pub fn check<B>(&self, request: &Request<B>) -> Result<(), Refused> {
        if self.any {
            return Ok(());
        }
        // Where the request line has a whole URL, that is what counts, and Host may say more.
        if let Some(authority) = request.uri().authority() {
            self.answers_to(authority)?;
        }
        let mut named = request.headers().get_all(HOST).iter();
        match (named.next(), named.next()) {
            (Some(host), None) => {
                let host = host.to_str().ok().and_then(|text| text.trim().parse().ok());
                self.answers_to(&host.ok_or(Refused::Unclear)?)
            }
            // HTTP/1.0 has no Host. No browser speaks it, some health checks do.
            (None, None) if request.version() == Version::HTTP_10 => Ok(()),
            _ => Err(Refused::Unclear),
        }
    }

    fn answers_to(&self, authority: &Authority) -> Result<(), Refused> {
        let name = plain(authority.host());
        let in_brackets = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let is_address = in_brackets.map_or_else(
            || name.parse::<Ipv4Addr>().is_ok(),
            |address| address.parse::<Ipv6Addr>().is_ok(),
        );
        let has_user = authority.as_str().contains('@');
        if has_user || name.len() > LONGEST || !(is_address || name.split('.').all(is_label)) {
            return Err(Refused::Unclear);
        }
        let known = is_address
            || name == "localhost"
            || self.names.contains(&name)
            || self.below.iter().any(|domain| name.ends_with(domain));
        if known { Ok(()) } else { Err(Refused::Other(name)) }
    }
}

/// A name as it is compared: case and a final dot do not matter.
fn plain(name: &str) -> String {
    let name = name.to_ascii_lowercase();
    name.strip_suffix('.').map(str::to_owned).unwrap_or(name)
}

/// What may stand between two dots. DNS has no underscore in host names; containers do.
fn is_label(label: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (1..=63).contains(&label.len()) && label.bytes().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(hosts: &Hosts, host: &str) -> Result<(), Refused> {
        hosts.check(&Request::get("/metrics").header(HOST, host).body(()).unwrap())
    }

    #[test]
    fn addresses_and_own_names_are_answered() {
        let allowed =
            ["metrics.example.com", ".svc.cluster.local"].map(|it| Allowed::parse(it).unwrap());
        let hosts = Hosts::new("Web-17", &allowed);
        for host in [
            "127.0.0.1:9982",
            "10.4.0.17",
            "[::1]:9982",
            "[2001:db8::7]",
            "localhost:9982",
            "LOCALHOST.",
            "web-17:9982",
            "metrics.example.com:443",
            "sockflow.monitoring.svc.cluster.local:9982",
        ] {
            assert_eq!(check(&hosts, host), Ok(()), "{host}");
        }
        for host in [
            "evil.example",
            "evil.example:9982",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "web-17.evil.example",
            "xmetrics.example.com",
            "evil-svc.cluster.local",
            "svc.cluster.local",
            "127.1",
            "2130706433",
        ] {
            let refused = check(&hosts, host);
            assert!(matches!(refused, Err(Refused::Other(_))), "{host}: {refused:?}");
        }
        for host in ["", "a b", "me@localhost", "[::1", "[localhost]", "a/b", "a..b", "a<b>"] {
            assert_eq!(check(&hosts, host), Err(Refused::Unclear), "{host}");
        }
        let any = Hosts::new("a", &[Allowed::Any]);
        assert_eq!(check(&any, "evil.example"), Ok(()));
    }

    #[test]
    fn one_host_and_no_other() {
        let hosts = Hosts::new("a", &[]);
        let request = |version, uri: &str, named: &[&str]| {
            let request = Request::get(uri).version(version);
            let request = named.iter().fold(request, |request, host| request.header(HOST, *host));
            hosts.check(&request.body(()).unwrap())
        };
        assert_eq!(request(Version::HTTP_10, "/", &[]), Ok(()));
        assert_eq!(request(Version::HTTP_11, "/", &[]), Err(Refused::Unclear));
        assert_eq!(request(Version::HTTP_11, "/", &["a", "a"]), Err(Refused::Unclear));
        assert_eq!(request(Version::HTTP_11, "/", &["a", "evil.example"]), Err(Refused::Unclear));
        assert_eq!(request(Version::HTTP_11, "http://a/", &["a"]), Ok(()));
        for (uri, host) in [("http://evil.example/", "a"), ("http://a/", "evil.example")] {
            let refused = request(Version::HTTP_11, uri, &[host]);
            assert_eq!(refused, Err(Refused::Other("evil.example".into())));
        }
        assert!(request(Version::HTTP_10, "/", &["evil.example"]).is_err());
    }

    #[test]
    fn names_as_typed() {
        assert_eq!(Allowed::parse("A.Example."), Ok(Allowed::Name("a.example".into())));
        assert_eq!(Allowed::parse(".Example"), Ok(Allowed::Below(".example".into())));
        assert_eq!(Allowed::parse("*"), Ok(Allowed::Any));
        for wrong in ["", ".", "a..b", "*.example", "a:80", "http://a", "a b"] {
            assert!(Allowed::parse(wrong).is_err(), "{wrong}");
        }
    }
}
