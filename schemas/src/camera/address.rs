//! Which addresses pictures may be fetched from.
//!
//! Whoever may configure a camera makes the machines of `ingest` connect to where its URL leads
//! (server-side request forgery). Cameras normally live in private networks, so those are allowed unless said
//! otherwise; this machine itself, link-local addresses (which cloud providers serve credentials at) and what is
//! no host's address are not. A name is judged by every address that it resolves to, once when the camera is
//! configured and again before each connection.
//!
//! The ranges are those of the IANA special-purpose address registries (RFC 6890).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use url::{Host, Url};

/// What may be connected to. `refuse` wins over `allow`, and both over the rest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AddressPolicy {
    /// Private networks: 10/8, 172.16/12, 192.168/16, 100.64/10 and fc00::/7.
    pub private_networks: bool,
    /// The machine that `ingest` itself runs on: 127/8 and ::1.
    pub loopback: bool,
    /// 169.254/16 and fe80::/10.
    pub link_local: bool,
    /// Networks that are allowed whatever they are.
    pub allow: Vec<IpNet>,
    /// Networks that are refused whatever they are.
    pub refuse: Vec<IpNet>,
}

impl Default for AddressPolicy {
    fn default() -> Self {
        Self {
            private_networks: true,
            loopback: false,
            link_local: false,
            allow: Vec::new(),
            refuse: Vec::new(),
        }
    }
}

/// Why an address is not connected to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("leads to {address}, {reason}")]
pub struct AddressRefused {
    /// The address.
    pub address: IpAddr,
    reason: &'static str,
}

/// A host that still has to be resolved: each of its addresses must pass [`AddressPolicy::check`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unresolved {
    /// Its name.
    pub name: String,
    /// The port, or 0 where the scheme has no usual one.
    pub port: u16,
}

/// What serves credentials to whoever asks, in a network that is otherwise private.
const METADATA_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);

impl AddressPolicy {
    /// Everything: for sources that the operator names on the command line.
    pub fn anything() -> Self {
        let all = [(IpAddr::from([0; 4])), IpAddr::from([0; 16])]
            .map(|address| IpNet::new(address, 0).unwrap_or_else(|_| IpNet::from(address)));
        Self { allow: all.into(), ..Self::default() }
    }

    /// Whether `address` may be connected to.
    pub fn check(&self, address: IpAddr) -> Result<(), AddressRefused> {
        let address = plain(address);
        let refused = |reason| Err(AddressRefused { address, reason });
        let within = |networks: &[IpNet]| networks.iter().any(|network| network.contains(&address));
        if within(&self.refuse) {
            return refused("which is refused by configuration");
        }
        if within(&self.allow) {
            return Ok(());
        }
        match kind(address) {
            Kind::Nobody => refused("which is no host's address"),
            Kind::Loopback if !self.loopback => refused("which is this machine itself"),
            Kind::LinkLocal if !self.link_local => refused("which is link-local"),
            Kind::Private if !self.private_networks => refused("which is in a private network"),
            _ => Ok(()),
        }
    }

    /// Judges a URL as far as that goes without resolving names. Gives the name that must be resolved; none
    /// where the URL names an address, or no host at all.
    pub fn check_url(&self, url: &Url) -> Result<Option<Unresolved>, AddressRefused> {
        let Some(host) = url.host() else { return Ok(None) };
        // Schemes that the URL standard does not know keep their host as it is written; a resolver would
        // still take `0x7f.1` or `2130706433` for an address.
        let host = match host {
            Host::Domain(name) => Host::parse(name).unwrap_or(Host::Domain(name.to_owned())),
            other => other.to_owned(),
        };
        match host {
            Host::Ipv4(address) => self.check(address.into()).map(|()| None),
            Host::Ipv6(address) => self.check(address.into()).map(|()| None),
            Host::Domain(name) => {
                let port = url.port_or_known_default().unwrap_or(0);
                Ok(Some(Unresolved { name, port }))
            }
        }
    }
}

/// The IPv4 address that an IPv6 one stands for: mapped (RFC 4291), translated (NAT64, RFC 6052) or
/// tunnelled (6to4, RFC 3056).
fn plain(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address.to_canonical() else { return address.to_canonical() };
    match v6.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => {
            let [[a, b], [c, d]] = [high.to_be_bytes(), low.to_be_bytes()];
            Ipv4Addr::new(a, b, c, d).into()
        }
        _ => v6.into(),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Public,
    Private,
    LinkLocal,
    Loopback,
    Nobody,
}

fn kind(address: IpAddr) -> Kind {
    match address {
        IpAddr::V4(v4) => match v4.octets() {
            [127, ..] => Kind::Loopback,
            [169, 254, ..] => Kind::LinkLocal,
            [10, ..] | [192, 168, ..] => Kind::Private,
            [172, second, ..] if (16..32).contains(&second) => Kind::Private,
            [100, second, ..] if (64..128).contains(&second) => Kind::Private,
            // This network, protocol assignments and benchmarks, multicast, reserved, broadcast.
            [0, ..] | [192, 0, 0, _] | [198, 18 | 19, ..] | [224..=255, ..] => Kind::Nobody,
            _ => Kind::Public,
        },
        IpAddr::V6(METADATA_V6) => Kind::LinkLocal,
        IpAddr::V6(v6) => match v6.segments() {
            [0, 0, 0, 0, 0, 0, 0, 1] => Kind::Loopback,
            [0, 0, 0, 0, 0, 0, ..] => Kind::Nobody,
            [first, ..] if first & 0xffc0 == 0xfe80 => Kind::LinkLocal,
            [first, ..] if first & 0xfe00 == 0xfc00 => Kind::Private,
            [first, ..] if first & 0xff00 == 0xff00 => Kind::Nobody,
            _ => Kind::Public,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("8.8.8.8", true)]
    #[case("192.168.1.20", true)]
    #[case("10.0.0.7", true)]
    #[case("172.31.255.255", true)]
    #[case("100.64.0.1", true)]
    #[case("fd12::1", true)]
    #[case("2a00:1450::1", true)]
    #[case("127.0.0.1", false)]
    #[case("127.9.9.9", false)]
    #[case("::1", false)]
    #[case("::ffff:127.0.0.1", false)]
    #[case("64:ff9b::7f00:1", false)]
    #[case("2002:7f00:1::", false)]
    #[case("169.254.169.254", false)]
    #[case("::ffff:169.254.169.254", false)]
    #[case("fe80::1", false)]
    #[case("fd00:ec2::254", false)]
    #[case("0.0.0.0", false)]
    #[case("::", false)]
    #[case("224.0.0.1", false)]
    #[case("255.255.255.255", false)]
    #[case("ff02::1", false)]
    fn cameras_live_in_private_networks_and_not_here(#[case] address: &str, #[case] allowed: bool) {
        let address: IpAddr = address.parse().expect("an address");
        assert_eq!(AddressPolicy::default().check(address).is_ok(), allowed);
        assert_eq!(AddressPolicy::anything().check(address), Ok(()));
    }

    #[test]
    fn the_operator_decides() {
        let network = |text: &str| text.parse().expect("a network");
        let policy = AddressPolicy {
            private_networks: false,
            loopback: true,
            allow: vec![network("10.1.0.0/16")],
            refuse: vec![network("10.1.9.0/24"), network("127.0.0.2/32")],
            ..AddressPolicy::default()
        };
        let allowed = |address: &str| policy.check(address.parse().expect("an address")).is_ok();
        assert!(allowed("10.1.2.3") && allowed("127.0.0.1") && allowed("8.8.8.8"));
        assert!(!allowed("10.2.0.1") && !allowed("10.1.9.1") && !allowed("127.0.0.2"));
    }

    #[rstest]
    #[case("rtsp://10.0.0.7/main", Ok(None))]
    #[case("rtsp://camera.example:8554/main", Ok(Some(("camera.example", 8554))))]
    #[case("https://camera.example/a.m3u8", Ok(Some(("camera.example", 443))))]
    #[case("rtsp://camera.example/main", Ok(Some(("camera.example", 0))))]
    #[case("rtsp://127.0.0.1/main", Err("127.0.0.1"))]
    #[case("rtsp://[::1]/main", Err("::1"))]
    #[case("http://2130706433/", Err("127.0.0.1"))]
    #[case("rtsp://2130706433/", Err("127.0.0.1"))]
    #[case("rtsp://0x7f.1/", Err("127.0.0.1"))]
    #[case("rtsp://0251.0376.0251.0376/", Err("169.254.169.254"))]
    fn urls_are_judged_however_they_are_written(
        #[case] url: &str,
        #[case] expected: Result<Option<(&str, u16)>, &str>,
    ) {
        let found = AddressPolicy::default().check_url(&Url::parse(url).expect("a URL"));
        let found = found.map_err(|refused| refused.address.to_string());
        let found = found.map(|left| left.map(|host| (host.name, host.port)));
        let expected = expected.map(|left| left.map(|(name, port)| (name.to_owned(), port)));
        assert_eq!(found, expected.map_err(str::to_owned));
    }
}
