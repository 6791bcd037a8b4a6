//! The options of a real server.

use std::net::IpAddr;

use super::legal::{Field, Given, TunnelType};
use super::options::ServerOption;
use super::service::{ServicePart, same_family};
use super::{endpoint, number};
use crate::command::{Checksum, Forward, ServerRef, ServerSpec, ServiceRef, Tunnel};
use crate::names::Resolver;
use crate::refusal::Refusal;

/// A forwarding method, before its tunnel is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Method {
    Nat,
    Tunnel,
    Dr,
    FullNat,
}

/// What has been read of a real server.
pub(super) struct ServerPart {
    key: Option<ServerRef>,
    method: Method,
    weight: u32,
    upper: u32,
    lower: u32,
    tunnel: TunnelType,
    tunnel_port: u16,
    checksum: Checksum,
}

impl Default for ServerPart {
    fn default() -> Self {
        Self {
            key: None,
            method: Method::Dr,
            weight: 1,
            upper: 0,
            lower: 0,
            tunnel: TunnelType::Ipip,
            tunnel_port: 0,
            checksum: Checksum::None,
        }
    }
}

impl ServerPart {
    pub(super) fn take(
        &mut self,
        option: ServerOption,
        text: &str,
        service: &ServicePart,
        names: &dyn Resolver,
    ) -> Result<(), Refusal> {
        match option {
            ServerOption::Server => {
                let endpoint = endpoint::parse(text, service.protocol, names).ok_or_else(|| {
                    Refusal::usage("illegal real server address[:port] specified")
                })?;
                let port = endpoint.port.unwrap_or(service.port());
                self.key = Some(ServerRef { address: endpoint.address, port });
            }
            ServerOption::Nat => self.method = Method::Nat,
            ServerOption::Tunnel => self.method = Method::Tunnel,
            ServerOption::Dr => self.method = Method::Dr,
            ServerOption::FullNat => self.method = Method::FullNat,
            ServerOption::Weight => self.weight = count(text, "weight")?,
            ServerOption::Upper => self.upper = count(text, "u_threshold")?,
            ServerOption::Lower => self.lower = count(text, "l_threshold")?,
            ServerOption::TunnelType => {
                self.tunnel = [TunnelType::Ipip, TunnelType::Gue, TunnelType::Gre]
                    .into_iter()
                    .find(|tunnel| tunnel.name() == text)
                    .ok_or_else(|| Refusal::usage("illegal tunnel type specified"))?;
            }
            ServerOption::TunnelPort => {
                self.tunnel_port = number::within(text, 1, u16::MAX.into())
                    .ok_or_else(|| Refusal::usage("illegal tunnel port specified"))?;
            }
            ServerOption::Checksum(checksum) => self.checksum = checksum,
        }
        Ok(())
    }

    /// The checks of `-a` and `-e`.
    pub(super) fn legal(&self, given: &Given, service: &ServicePart) -> Result<(), Refusal> {
        let tunnelled = self.method == Method::Tunnel;
        if !tunnelled && self.key.is_some_and(|key| !same_family(key.address, service)) {
            return Err(Refusal::usage(
                "Different address family is allowed only for tunneling servers",
            ));
        }
        let tunnel_options = [
            Field::TunnelType,
            Field::TunnelPort,
            Field::TunnelNoChecksum,
            Field::TunnelChecksum,
            Field::TunnelRemoteChecksum,
        ];
        if !tunnelled && given.has_any(&tunnel_options) {
            return Err(Refusal::usage("Tunnel options conflict with forward method"));
        }
        given.fit_tunnel(self.tunnel)
    }

    pub(super) fn key(&self) -> Option<ServerRef> {
        self.key
    }

    pub(super) fn spec(&self, service: &ServicePart) -> Option<ServerSpec> {
        let ServerRef { address, port } = self.key?;
        // The packet keeps its port where nothing rewrites it; a mark has none to compare with.
        let keeps_port = matches!(self.method, Method::Dr | Method::Tunnel);
        let port = match service.key()? {
            ServiceRef::Endpoint { port, .. } if keeps_port => port,
            _ => port,
        };
        Some(self.with(address, port))
    }

    fn with(&self, address: IpAddr, port: u16) -> ServerSpec {
        let forward = match self.method {
            Method::Nat => Forward::Nat,
            Method::Dr => Forward::Dr,
            Method::FullNat => Forward::FullNat,
            Method::Tunnel => Forward::Tun(match self.tunnel {
                TunnelType::Ipip => Tunnel::Ipip,
                TunnelType::Gre => Tunnel::Gre { checksum: self.checksum },
                TunnelType::Gue => Tunnel::Gue { port: self.tunnel_port, checksum: self.checksum },
            }),
        };
        let Self { weight, upper, lower, .. } = *self;
        ServerSpec { address, port, forward, weight, upper, lower }
    }
}

/// A weight or a threshold: C's int, and not negative. Debian's ipvsadm 1.31 takes weights
/// beyond 65535, upstream's does not.
fn count(text: &str, what: &str) -> Result<u32, Refusal> {
    number::within(text, 0, i32::MAX.into())
        .ok_or_else(|| Refusal::usage(format!("illegal {what} specified")))
}
