//! Who may connect: networks in CIDR notation. The list can be changed while the server runs.
//!
//! Nobody but the machine itself gets in unless a network is allowed. Unix sockets are guarded by their file's mode
//! instead.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;
use std::sync::RwLock;

/// A network: all addresses that begin with the same bits. IPv4 addresses are kept as IPv6 ones that stand for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Network {
    first: u128,
    bits: u32,
}

impl Network {
    const LOOPBACK: [Network; 2] = [
        Network { first: mapped(Ipv4Addr::new(127, 0, 0, 0)), bits: 96 + 8 },
        Network { first: Ipv6Addr::LOCALHOST.to_bits(), bits: 128 },
    ];

    fn contains(self, address: IpAddr) -> bool {
        (number(address) ^ self.first).leading_zeros() >= self.bits
    }
}

const fn mapped(address: Ipv4Addr) -> u128 {
    address.to_ipv6_mapped().to_bits()
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => mapped(address),
        IpAddr::V6(address) => address.to_bits(),
    }
}

impl FromStr for Network {
    type Err = String;

    /// `192.0.2.0/24`, `2001:db8::/32`, or one address.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| format!("'{text}' is no network: {why}; write it as 192.0.2.0/24 or 2001:db8::/32");
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong("no IP address before the slash"))?;
        let before = if address.is_ipv4() { 96 } else { 0 };
        let bits = match bits {
            Some(bits) => bits.parse::<u32>().map_err(|_| wrong("no number of bits after the slash"))?,
            None => 128 - before,
        };
        if bits > 128 - before {
            return Err(wrong("an address has not that many bits"));
        }
        let bits = bits + before;
        let first = number(address);
        if bits < 128 && first << bits != 0 {
            return Err(wrong("the address has bits set beyond the network's"));
        }
        Ok(Network { first, bits })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = Ipv6Addr::from_bits(self.first);
        match address.to_ipv4_mapped() {
            Some(address) if self.bits >= 96 => write!(f, "{address}/{}", self.bits - 96),
            _ => write!(f, "{address}/{}", self.bits),
        }
    }
}

/// The networks that are let in.
#[derive(Debug)]
pub(crate) struct AllowList(RwLock<Vec<Network>>);

impl AllowList {
    /// This machine and `networks`.
    pub(crate) fn new(networks: &[Network]) -> Self {
        AllowList(RwLock::new(Self::with_loopback(networks)))
    }

    /// Replaces the list by this machine and `networks`; says whether that was a change. Connections that are open are
    /// to be looked at again by whoever calls this.
    pub(crate) fn replace(&self, networks: &[Network]) -> bool {
        let new = Self::with_loopback(networks);
        let mut list = self.0.write().unwrap_or_else(|poisoned| poisoned.into_inner());
        let changed = *list != new;
        *list = new;
        changed
    }

    pub(crate) fn allows(&self, address: IpAddr) -> bool {
        let list = self.0.read().unwrap_or_else(|poisoned| poisoned.into_inner());
        list.iter().any(|network| network.contains(address))
    }

    fn with_loopback(networks: &[Network]) -> Vec<Network> {
        Network::LOOPBACK.iter().chain(networks).copied().collect()
    }
}

impl fmt::Display for AllowList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = self.0.read().unwrap_or_else(|poisoned| poisoned.into_inner());
        let names: Vec<String> = list.iter().map(Network::to_string).collect();
        f.write_str(&names.join(" "))
    }
}

/// The networks in a file: one a line, `#` begins a comment.
pub(crate) fn networks_in(text: &str) -> Result<Vec<Network>, String> {
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
    lines.filter(|line| !line.is_empty()).map(str::parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn only_this_machine_unless_more_is_allowed() {
        let list = AllowList::new(&[]);
        for (text, allowed) in
            [("127.0.0.1", true), ("127.9.9.9", true), ("::1", true), ("::ffff:127.0.0.1", true), ("10.0.0.1", false)]
        {
            assert_eq!(list.allows(address(text)), allowed, "{text}");
        }
        assert!(list.replace(&["10.0.0.0/8".parse().unwrap(), "2001:db8::/33".parse().unwrap()]));
        for (text, allowed) in [
            ("10.200.1.2", true),
            ("::ffff:10.1.1.1", true),
            ("11.0.0.1", false),
            ("2001:db8:7fff::1", true),
            ("2001:db8:8000::1", false),
            ("127.0.0.1", true),
        ] {
            assert_eq!(list.allows(address(text)), allowed, "{text}");
        }
        assert!(list.replace(&[]) && !list.replace(&[]));
        assert!(!list.allows(address("10.200.1.2")));
    }

    #[test]
    fn networks_are_read_and_written() {
        for text in ["0.0.0.0/0", "10.0.0.0/8", "192.0.2.7/32", "::/0", "2001:db8::/32", "::1/128"] {
            assert_eq!(text.parse::<Network>().unwrap().to_string(), text);
        }
        assert_eq!("192.0.2.7".parse::<Network>().unwrap().to_string(), "192.0.2.7/32");
        assert!("0.0.0.0/0".parse::<Network>().unwrap().contains(address("203.0.113.9")));
        assert!(!"0.0.0.0/0".parse::<Network>().unwrap().contains(address("2001:db8::1")));
        for wrong in ["", "10.0.0.1/8", "10.0.0.0/33", "::/129", "ten/8", "10.0.0.0/-1", "10.0.0.0/"] {
            assert!(wrong.parse::<Network>().is_err(), "{wrong}");
        }
        assert_eq!(networks_in("# office\n10.0.0.0/8 # all\n\n::1\n").unwrap().len(), 2);
        assert!(networks_in("10.0.0.0/8\nx\n").is_err());
    }
}
