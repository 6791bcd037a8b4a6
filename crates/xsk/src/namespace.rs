//! A network namespace for one thread.

use std::io;

/// Puts the calling thread, and no other one, into a new network namespace (unshare(2)). It goes
/// when nothing is in it any more: no thread, no socket, no TAP of it.
///
/// # Errors
/// `EPERM` without `CAP_SYS_ADMIN`.
pub fn enter_new_network_namespace() -> io::Result<()> {
    // SAFETY: takes and returns integers. CLONE_NEWNET changes which sockets and interfaces the
    // thread sees from now on, and nothing that memory safety could depend on.
    match unsafe { libc::unshare(libc::CLONE_NEWNET) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
