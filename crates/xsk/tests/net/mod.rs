//! A network namespace of its own for a test, and a wire to put frames on.
#![allow(dead_code, reason = "each test file uses its part")]

use std::{
    fs::File,
    io::{self, Read, Write},
    os::fd::FromRawFd,
    process::Command,
    thread,
};

/// Runs `test` on a thread in a fresh network and mount namespace; both go with the thread.
pub(crate) fn in_namespace(test: impl FnOnce() + Send) {
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            // SAFETY: takes and returns integers; only this thread changes namespaces.
            let result = unsafe { libc::unshare(libc::CLONE_NEWNET | libc::CLONE_NEWNS) };
            assert_eq!(
                result,
                0,
                "unshare: {}: this test needs root (CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_BPF)",
                io::Error::last_os_error()
            );
            run("mount --make-rprivate /");
            run("ip link set lo up");
            run("sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1");
            test();
        });
        if let Err(panic) = thread.join() {
            std::panic::resume_unwind(panic);
        }
    });
}

/// Runs a command of plain words.
pub(crate) fn run(command: &str) {
    let mut words = command.split_whitespace();
    let program = words.next().unwrap();
    let output = Command::new(program).args(words).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}: is it installed?"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command}: {said}");
}

/// A veth pair that is up, without checksum offload; `queues` on both ends.
pub(crate) fn veth(near: &str, far: &str, queues: u32) {
    let count = format!("numtxqueues {queues} numrxqueues {queues}");
    run(&format!("ip link add {near} {count} type veth peer name {far} {count}"));
    for name in [near, far] {
        xsk::link::set_feature(name, xsk::link::Feature::TxChecksum, false).unwrap();
        run(&format!("ip link set {name} up"));
    }
}

/// A raw socket on an interface.
pub(crate) struct Wire(File);

impl Wire {
    pub(crate) fn new(ifname: &str) -> Self {
        let protocol = (libc::ETH_P_ALL as u16).to_be();
        let name = std::ffi::CString::new(ifname).unwrap();
        // SAFETY: `address` is a zeroed sockaddr_ll with its members set; the descriptor is
        // new and owned by the file.
        unsafe {
            let fd = libc::socket(libc::AF_PACKET, libc::SOCK_RAW, i32::from(protocol));
            assert!(fd >= 0, "packet socket: {}: needs root", io::Error::last_os_error());
            let mut address: libc::sockaddr_ll = std::mem::zeroed();
            address.sll_family = libc::AF_PACKET as u16;
            address.sll_protocol = protocol;
            address.sll_ifindex = libc::if_nametoindex(name.as_ptr()) as i32;
            let length = size_of_val(&address) as u32;
            assert_eq!(libc::bind(fd, (&raw const address).cast(), length), 0);
            let patience = libc::timeval { tv_sec: 0, tv_usec: 200_000 };
            let option = (&raw const patience).cast();
            let length = size_of_val(&patience) as u32;
            libc::setsockopt(fd, libc::SOL_SOCKET, libc::SO_RCVTIMEO, option, length);
            let buffer: i32 = 16 << 20;
            let option = (&raw const buffer).cast();
            libc::setsockopt(fd, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, option, 4);
            Self(File::from_raw_fd(fd))
        }
    }

    pub(crate) fn send(&self, frame: &[u8]) {
        assert_eq!((&self.0).write(frame).unwrap(), frame.len());
    }

    /// The next frame, within a fifth of a second.
    pub(crate) fn receive(&self) -> Option<Vec<u8>> {
        let mut buffer = vec![0; 4096];
        let length = (&self.0).read(&mut buffer).ok()?;
        buffer.truncate(length);
        Some(buffer)
    }
}
