//! What xlvs is told in the rig: one UDP service with ten servers behind the second interface.

use dataplane::forward::Forward;

use super::ground::LOCAL_ADDRESSES;

/// The file for one mode, with more lines at the top if need be.
pub(crate) fn yaml(mode: Forward, cpu: usize, more: &str) -> String {
    let addresses = LOCAL_ADDRESSES.map(|last| format!("10.0.2.{last}")).collect::<Vec<_>>();
    let local = format!(
        "local_addresses: {{rig: {{addresses: [{}], ports: 10000-32767}}}}\n",
        addresses.join(", ")
    );
    let (pool, use_pool) = match mode {
        Forward::FullNat => (local.as_str(), "    local_addresses: rig\n"),
        _ => ("", ""),
    };
    let servers: Vec<String> = (11..21).map(|n| format!("{{address: 10.0.2.{n}}}")).collect();
    format!(
        "version: 1\n\
         interfaces: [in, out]\n\
         workers: {{cores: [{cpu}], idle: poll}}\n\
         {more}\
         {pool}\
         services:\n  \
           - name: rig\n    \
             listen: 203.0.113.10:80/udp\n    \
             forward: {}\n    \
             scheduler: rr\n\
         {use_pool}    \
             servers: [{}]\n",
        mode.name(),
        servers.join(", ")
    )
}
