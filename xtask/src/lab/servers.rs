//! What the real servers run: nginx, a UDP answerer and iperf3, all three on all of them.
//!
//! nginx serves `/who` (the server's name), `/10M`, and takes uploads by PUT below `/up/`.
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use super::topology::Preparation;
use super::{Lab, Namespace};
use crate::failure::{Outcome, fail};
use crate::shell;

const ANSWER: &str = include_str!("udp_answer.py");
const DECAPSULATE: &str = include_str!("decap.bpf.c");

/// The size of `/10M`.
pub const FILE_BYTES: usize = 10 * 1024 * 1024;

/// Starts everything, prepares the servers for the topology's mode, and waits until the
/// last of them listens. The visitor runs nginx and the answerer too, as an outside server.
pub(super) fn start(lab: &Lab) -> Outcome {
    fs::write(lab.file("10M"), noise(FILE_BYTES))?;
    fs::write(lab.file("udp_answer.py"), ANSWER)?;
    if lab.topology.preparation == Preparation::VipOnLoAndDecapsulation {
        compile_decapsulation(lab)?;
    }
    for (name, _) in lab.topology.servers() {
        prepare(lab, &name)?;
        prepare_web(lab, &name)?;
        start_web(lab, &name)?;
        start_udp(lab, &name, &["53", "123"])?;
        let host = lab.host(&name);
        let mut iperf = host.command("iperf3");
        host.start(iperf.arg("--server"), &lab.file(&format!("{name}.iperf3.log")))?;
    }
    prepare_web(lab, "visitor")?;
    start_web(lab, "visitor")?;
    start_udp(lab, "visitor", &["53", "123"])?;
    for (name, _) in lab.topology.servers() {
        wait_for_ports(&lab.host(&name), &[":80", ":53", ":5201"])?;
    }
    wait_for_ports(&lab.host("visitor"), &[":80", ":53"])
}

/// Bytes that no compression and no repeating fault can fake: a 64-bit xorshift.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.take(length / 8).flatten().collect()
}

/// The VIP on lo by the script that operators use, and the tunnel's other end.
fn prepare(lab: &Lab, name: &str) -> Outcome {
    if lab.topology.preparation == Preparation::None {
        return Ok(());
    }
    let host = lab.host(name);
    let mut script = host.command("sh");
    script.arg(shell::repository().join("scripts/realserver")).arg("start");
    script.env("XLVS_REALSERVER_STATE", lab.file(&format!("{name}.realserver")));
    shell::output(script.args(lab.topology.vips))?;
    if lab.topology.preparation == Preparation::VipOnLoAndDecapsulation {
        let object = lab.file("decap.bpf.o");
        host.run(&format!("ip link set dev eth0 xdp obj {} sec xdp", object.display()))?;
    }
    Ok(())
}

fn compile_decapsulation(lab: &Lab) -> Outcome {
    let source = lab.file("decap.bpf.c");
    fs::write(&source, DECAPSULATE)?;
    let mut clang = std::process::Command::new("clang");
    clang.args(["-O2", "-g", "-Wall", "-Werror", "-target", "bpf"]);
    // Where Debian keeps <asm/types.h>, which the kernel's headers include.
    clang.arg(format!("-I/usr/include/{}-linux-gnu", std::env::consts::ARCH));
    clang.arg("-c").arg(&source).arg("-o").arg(lab.file("decap.bpf.o"));
    shell::output(&mut clang).map(drop)
}

/// What a host's nginx needs.
pub(super) fn prepare_web(lab: &Lab, name: &str) -> Outcome {
    let home = lab.file(name);
    fs::create_dir_all(home.join("up"))?;
    fs::hard_link(lab.file("10M"), home.join("10M"))?;
    fs::write(home.join("nginx.conf"), nginx_configuration(name, &home))?;
    Ok(())
}

/// Starts it; again, if it has ended.
pub(super) fn start_web(lab: &Lab, name: &str) -> Outcome {
    let home = lab.file(name);
    let host = lab.host(name);
    let mut nginx = host.command("nginx");
    nginx.arg("-c").arg(home.join("nginx.conf")).arg("-p").arg(&home);
    nginx.arg("-e").arg(home.join("error.log"));
    host.start(&mut nginx, &lab.file(&format!("{name}.nginx.log")))?;
    Ok(())
}

/// The process that its workers belong to.
pub(super) fn web_pid(lab: &Lab, name: &str) -> Outcome<String> {
    let pid = fs::read_to_string(lab.file(name).join("nginx.pid"))?;
    Ok(pid.trim().to_owned())
}

fn nginx_configuration(name: &str, home: &Path) -> String {
    let home = home.display();
    format!(
        "daemon off;
user root;
worker_processes 1;
pid {home}/nginx.pid;
events {{ worker_connections 2048; }}
http {{
  log_format short '$remote_addr $request_method $uri $status';
  access_log {home}/access.log short;
  client_body_temp_path {home}/body;
  proxy_temp_path {home}/proxy;
  fastcgi_temp_path {home}/fastcgi;
  uwsgi_temp_path {home}/uwsgi;
  scgi_temp_path {home}/scgi;
  client_max_body_size 20m;
  default_type application/octet-stream;
  keepalive_requests 1000000;
  server {{
    listen 80 backlog=1024;
    listen [::]:80 backlog=1024;
    add_header X-Server {name} always;
    root {home};
    location = /who {{ default_type text/plain; return 200 '{name}\\n'; }}
    location /up/ {{ dav_methods PUT; }}
  }}
}}
"
    )
}

fn start_udp(lab: &Lab, name: &str, ports: &[&str]) -> Outcome {
    let host = lab.host(name);
    let mut python = host.command("/usr/bin/python3");
    python.arg(lab.file("udp_answer.py")).arg(name).args(ports);
    host.start(&mut python, &lab.file(&format!("{name}.udp.log")))?;
    Ok(())
}

pub(super) fn wait_for_ports(host: &Namespace, ports: &[&str]) -> Outcome {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let listening = host.run("ss -Hlntu")?;
        let is_closed =
            |port: &&&str| !listening.split_whitespace().any(|word| word.ends_with(**port));
        match ports.iter().find(is_closed) {
            None => return Ok(()),
            Some(_) if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(20));
            }
            Some(port) => return fail(format!("{}: nothing on port {port}", host.name())),
        }
    }
}
