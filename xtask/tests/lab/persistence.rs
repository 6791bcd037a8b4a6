//! Clients that keep their server: FTP with a real vsftpd, persistence over two queues, marks;
//! and destinations that keep theirs, in front of caches.
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use xtask::lab::{Director, Lab, Namespace, Page};
use xtask::shell;

use crate::{CLIENT, VISITOR, server, stage};

/// A second address of the client, in the network of its first one.
const NEIGHBOUR: [&str; 2] = ["192.0.2.20", "2001:db8:1::20"];

/// A director's file with these services, and with other keys in front of them.
fn yaml(lab: &Lab, keys: &str, services: &str) -> String {
    let interfaces = lab.topology().interfaces.join(", ");
    format!("version: 1\ninterfaces: [{interfaces}]\n{keys}services:\n{services}")
}

/// The first so many real servers, each on the port that the client asked for.
fn servers(lab: &Lab, count: usize, family: usize) -> String {
    let own = (1..=count).map(|number| format!("\"{}\"", server(lab, number, family)));
    let own: Vec<String> = own.map(|address| format!("{{address: {address}}}")).collect();
    own.join(", ")
}

fn bracketed(address: &str) -> String {
    if address.contains(':') { format!("[{address}]") } else { address.to_owned() }
}

/// Fetches `/who` that often at once, from one of the host's addresses: each time over a
/// connection, and so from a port, of its own.
fn fetch_as(host: &Namespace, from: &str, to: &str, times: usize) -> Page {
    let mut curl = host.command("curl");
    curl.args(["-sS", "--fail", "--max-time", "5", "--interface", from]);
    curl.args(["--parallel", "--parallel-immediate", "-H", "Connection: close"]);
    let page = shell::output(curl.arg(format!("http://{}/who?[1-{times}]", bracketed(to))));
    let mut answers = Page::new();
    for line in page.unwrap().lines() {
        *answers.entry(line.to_owned()).or_default() += 1;
    }
    assert_eq!(answers.values().sum::<usize>(), times, "{from}: {answers:?}");
    answers
}

/// The one server that gave all these answers.
fn the_only(answers: &Page) -> String {
    assert_eq!(answers.len(), 1, "{answers:?}");
    answers.keys().next().unwrap().clone()
}

#[test]
fn ftp_in_dr() {
    ftp("dr");
}

#[test]
fn ftp_in_tun() {
    ftp("tun");
}

/// How curl may ask for the data connection, and the command by which the server's log shows
/// that it did.
const WAYS: [(&[&str], &str); 4] = [
    (&[], "EPSV"),
    (&["--ftp-port", "-"], "EPRT"),
    (&["--disable-epsv"], "PASV"),
    (&["--disable-eprt", "--ftp-port", "-"], "PORT"),
];

fn ftp(mode: &str) {
    let lab = stage(mode, 2);
    let [v4, v6] = lab.topology().vips;
    let services = [(4, v4), (6, v6)].map(|(name, vip)| {
        let family = usize::from(name == 6);
        format!(
            "  - {{name: ftp{name}, listen: \"{}:21/tcp\", forward: {mode}, scheduler: rr, \
             persistence: 6m, servers: [{}]}}\n",
            bracketed(vip),
            servers(&lab, 3, family)
        )
    });
    for (name, _) in lab.topology().servers() {
        start_vsftpd(&lab, &name);
    }
    let director = Director::start_with_text(&lab, &yaml(&lab, "", &services.concat())).unwrap();
    for vip in [v4, v6] {
        // PASV and PORT have no words for an IPv6 address.
        let ways = if vip == v4 { &WAYS[..] } else { &WAYS[..2] };
        let used = ["client", "visitor"].map(|client| transfers(&lab, client, vip, ways));
        assert_ne!(used[0], used[1], "{vip}: round robin takes the next for the second client");
    }
    director.settled_ledgers().unwrap();
    director.stop().unwrap();
}

/// Two files by each way, always from the same server; which.
fn transfers(lab: &Lab, client: &str, vip: &str, ways: &[(&[&str], &str)]) -> String {
    let host = lab.host(client);
    let url = format!("ftp://{}", bracketed(vip));
    let mut used = BTreeSet::new();
    for (words, command) in ways {
        let before = asked(lab, command);
        let (who, bytes) = (lab.file("ftp-who"), lab.file("ftp-10M"));
        let mut curl = host.command("curl");
        curl.args(["-sS", "-g", "-v", "--max-time", "20"]).args(*words);
        curl.arg("-o").arg(&who).arg(format!("{url}/who"));
        curl.arg("-o").arg(&bytes).arg(format!("{url}/10M"));
        let log = lab.file(&format!("{client}.curl.log"));
        let status = host.start(&mut curl, &log).unwrap().wait(Duration::from_secs(30)).unwrap();
        let said = fs::read_to_string(&log).unwrap();
        assert!(status.success(), "{client}, {vip}, {command}: {said}");
        let name = fs::read_to_string(&who).unwrap();
        assert!(said.contains(&format!("220 {name}")), "data by {name}, control by\n{said}");
        let same = fs::read(&bytes).unwrap() == fs::read(lab.file("10M")).unwrap();
        assert!(same, "{client}, {vip}, {command}: other bytes");
        assert!(asked(lab, command) > before, "nobody was asked by {command}: {said}");
        used.insert(name);
    }
    assert_eq!(used.len(), 1, "{client}, {vip}: {used:?}");
    used.pop_first().unwrap()
}

/// How often the servers' logs have this FTP command.
fn asked(lab: &Lab, command: &str) -> usize {
    let logs = lab.topology().servers().map(|(name, _)| lab.file(&format!("{name}.ftp.log")));
    let logs = logs.map(|log| fs::read_to_string(log).unwrap_or_default());
    logs.map(|log| log.matches(&format!("\"{command}")).count()).sum()
}

/// An anonymous FTP server that greets with its host's name and has it in the file `who`.
fn start_vsftpd(lab: &Lab, name: &str) {
    let home = lab.file(&format!("{name}.ftp"));
    let (files, empty) = (home.join("files"), home.join("empty"));
    for directory in [&files, &empty] {
        fs::create_dir_all(directory).unwrap();
    }
    fs::write(files.join("who"), name).unwrap();
    fs::hard_link(lab.file("10M"), files.join("10M")).unwrap();
    let file = home.join("vsftpd.conf");
    let log = lab.file(&format!("{name}.ftp.log"));
    let text = vsftpd_configuration(lab.topology().vips[0], name, [&files, &empty, &log]);
    fs::write(&file, text).unwrap();
    let host = lab.host(name);
    let mut vsftpd = host.command("vsftpd");
    host.start(vsftpd.arg(&file), &lab.file(&format!("{name}.vsftpd.log"))).unwrap();
    listens(&host, 21);
}

/// It isolates nothing, so that its children stay in their host's namespace, where the lab's
/// end finds them. Its files are read by the package's user `ftp`, who may not write them.
fn vsftpd_configuration(vip: &str, name: &str, [files, empty, log]: [&Path; 3]) -> String {
    format!(
        "listen_ipv6=YES
background=NO
isolate=NO
isolate_network=NO
seccomp_sandbox=NO
anonymous_enable=YES
local_enable=NO
write_enable=NO
no_anon_password=YES
anon_root={}
secure_chroot_dir={}
pasv_address={vip}
connect_from_port_20=YES
ftpd_banner={name}
xferlog_enable=YES
log_ftp_protocol=YES
vsftpd_log_file={}
",
        files.display(),
        empty.display(),
        log.display()
    )
}

fn listens(host: &Namespace, port: u16) {
    let deadline = Instant::now() + Duration::from_secs(5);
    let end = format!(":{port}");
    while !host.run("ss -Hlnt").unwrap().split_whitespace().any(|word| word.ends_with(&end)) {
        assert!(Instant::now() < deadline, "{}: nothing on port {port}", host.name());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// In DR with one NIC a worker receives only what clients send, so its count tells whether
/// their connections came on its queue.
#[test]
fn persistence_holds_across_queues() {
    for (masks, shared) in [([32, 128], false), ([24, 64], true)] {
        let lab = stage("dr", 2);
        let vips = lab.topology().vips;
        let services = [0, 1].map(|family| {
            format!(
                "  - {{name: web{family}, listen: \"{}:80/tcp\", forward: dr, scheduler: rr, \
                 persistence: {{timeout: 6m, mask: {}}}, servers: [{}]}}\n",
                bracketed(vips[family]),
                masks[family],
                servers(&lab, 3, family)
            )
        });
        let text = yaml(&lab, "", &services.concat());
        let director = Director::start_with_text(&lab, &text).unwrap();
        give_neighbour(&lab);
        for (family, vip) in vips.into_iter().enumerate() {
            let client = lab.host("client");
            let first = the_only(&fetch_as(&client, CLIENT[family], vip, 40));
            let second = the_only(&fetch_as(&client, NEIGHBOUR[family], vip, 40));
            assert_eq!(first == second, shared, "mask {}", masks[family]);
            let third = the_only(&fetch_as(&lab.host("visitor"), VISITOR[family], vip, 40));
            assert_ne!(first, third, "mask {}", masks[family]);
            // Still so after the others came.
            assert_eq!(the_only(&fetch_as(&client, CLIENT[family], vip, 40)), first);
        }
        both_workers(&director);
        director.settled_ledgers().unwrap();
        director.stop().unwrap();
    }
}

fn both_workers(director: &Director<'_>) {
    let received = director.received_by_worker().unwrap();
    let all: u64 = received.iter().sum();
    assert_eq!(received.len(), 2, "{received:?}");
    assert!(received.iter().all(|share| share * 4 >= all), "an idle worker: {received:?}");
}

fn give_neighbour(lab: &Lab) {
    let [v4, v6] = NEIGHBOUR;
    let lines = [
        format!("address add {v4}/24 dev eth0"),
        format!("address add {v6}/64 dev eth0 nodad preferred_lft 0"),
    ];
    lab.host("client").batch(&lines).unwrap();
}

/// A line of text for whoever connects to the port.
fn listen(host: &Namespace, log: &Path, port: u16, banner: &str) {
    let mut socat = host.command("socat");
    socat.arg(format!("TCP6-LISTEN:{port},fork,reuseaddr,ipv6only=0"));
    host.start(socat.arg(format!("EXEC:echo {banner}")), log).unwrap();
    listens(host, port);
}

/// What the line says, or how the connection failed.
fn banner(host: &Namespace, from: &str, to: &str, port: u16) -> Result<String, String> {
    let mut socat = host.command("timeout");
    socat.args(["5", "socat", "-u", &format!("TCP4:{to}:{port},bind={from}"), "-"]);
    match shell::output(&mut socat) {
        Ok(words) => Ok(words.trim().to_owned()),
        Err(why) => Err(why.to_string()),
    }
}

#[test]
fn two_ports_of_one_mark_share_a_server_and_the_others_stay_with_the_kernel() {
    let lab = stage("nat", 2);
    let vip = lab.topology().vips[0];
    for (name, _) in lab.topology().servers() {
        listen(&lab.host(&name), &lab.file(&format!("{name}.443.log")), 443, &name);
    }
    listen(&lab.director(), &lab.file("listen.log"), 22, "director");
    let marks = format!(
        "marks:\n  - {{mark: 10, destination: {vip}/32, protocol: tcp, ports: [80, 443]}}\n"
    );
    let service = format!(
        "  - {{name: web, mark: 10, forward: nat, scheduler: rr, persistence: 6m, servers: [{}]}}\n",
        servers(&lab, 3, 0)
    );
    let director = Director::start_with_text(&lab, &yaml(&lab, &marks, &service)).unwrap();
    give_neighbour(&lab);
    let clients = [("client", CLIENT[0]), ("client", NEIGHBOUR[0]), ("visitor", VISITOR[0])];
    let mut used = BTreeSet::new();
    for (name, from) in clients {
        let host = lab.host(name);
        let own = the_only(&fetch_as(&host, from, vip, 40));
        for _ in 0..10 {
            assert_eq!(banner(&host, from, vip, 443).as_ref(), Ok(&own), "{from}");
        }
        assert_eq!(the_only(&fetch_as(&host, from, vip, 5)), own);
        assert_eq!(banner(&host, from, vip, 22).unwrap(), "director", "{from}");
        let refused = banner(&host, from, vip, 8080).unwrap_err();
        assert!(refused.contains("Connection refused"), "{from}: {refused}");
        used.insert(own);
    }
    assert_eq!(used.len(), 3, "three clients in turns: {used:?}");
    both_workers(&director);
    director.settled_ledgers().unwrap();
    director.stop().unwrap();
}

/// The numbers of the caches of 198.51.100.1 to .8. The kernel's slot of a destination is
/// `hash_32(address, 8)` (`linux/hash.h`): the top octet of the low 32 bits of the address
/// times 0x61C88647. Slots belong to the servers in turns (`ip_vs_dh.c`), here in the file's
/// order: an even slot to the first. Computed by that formula, not taken from the product.
const CACHES: [usize; 8] = [1, 1, 2, 2, 2, 2, 2, 1];

/// Two caches that take eight addresses of a network which is routed to the director.
#[test]
fn dh_divides_the_destinations_between_two_caches() {
    let lab = stage("dr", 2);
    let addresses: Vec<String> = (1..=8).map(|host| format!("198.51.100.{host}")).collect();
    let on_lo: Vec<String> =
        addresses.iter().map(|address| format!("address add {address}/32 dev lo")).collect();
    for name in ["server1", "server2"] {
        lab.host(name).batch(&on_lo).unwrap();
    }
    let way = format!("route add 198.51.100.0/24 via {}", lab.topology().local[0]);
    for name in ["client", "router"] {
        lab.host(name).batch(std::slice::from_ref(&way)).unwrap();
    }
    let marks = "marks:\n  - {mark: 10, destination: 198.51.100.0/24, protocol: tcp, ports: 80, \
                 interface: eth0}\n";
    let service = format!(
        "  - {{name: caches, mark: 10, forward: dr, scheduler: dh, servers: [{}]}}\n",
        servers(&lab, 2, 0)
    );
    let director = Director::start_with_text(&lab, &yaml(&lab, marks, &service)).unwrap();
    let caches: Vec<String> = addresses
        .iter()
        .map(|address| {
            let cache = the_only(&fetch_as(&lab.host("client"), CLIENT[0], address, 10));
            let other = the_only(&fetch_as(&lab.host("visitor"), VISITOR[0], address, 10));
            assert_eq!(cache, other, "{address}: the client does not count");
            cache
        })
        .collect();
    assert_eq!(caches, CACHES.map(|number| format!("server{number}")));
    both_workers(&director);
    director.settled_ledgers().unwrap();
    director.stop().unwrap();
}
