//! Attaching an XDP program to an interface by a BPF link, which detaches when its last
//! descriptor closes; pinned, it outlives the process.

use crate::{
    bpf::{check, owned, path_of},
    rings::index_of,
};
use libxdp_sys as sys;
use std::{
    ffi::{CStr, CString},
    fmt, fs, io,
    os::fd::{AsRawFd, OwnedFd},
    path::{Path, PathBuf},
};

/// Of linux/if_link.h.
const XDP_ATTACHED_DRV: u8 = 1;
const XDP_ATTACHED_SKB: u8 = 2;

/// How a program is wanted to be attached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AttachMode {
    /// In the driver, else in the generic stack, with the reason kept.
    #[default]
    Auto,
    /// In the driver only.
    Native,
    /// In the generic stack only: after the kernel built an skb.
    Generic,
}

/// Where a program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XdpMode {
    /// In the driver.
    Native,
    /// In the generic stack.
    Generic,
}

impl XdpMode {
    const fn flag(self) -> u32 {
        match self {
            Self::Native => 1 << 2,
            Self::Generic => 1 << 1,
        }
    }
}

impl fmt::Display for XdpMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Native => "native",
            Self::Generic => "generic",
        })
    }
}

/// Why a program could not be attached.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// There is no such interface (in this network namespace).
    #[error("{0}: no such interface")]
    NoInterface(String),
    /// Somebody else's program is there.
    #[error(
        "{ifname}: another XDP program is attached: {program}; `bpftool net` shows it, `ip link set dev {ifname} xdp off` removes one without a link"
    )]
    Busy {
        /// The interface.
        ifname: String,
        /// Its program's name and id, as far as they can be had.
        program: String,
    },
    /// The kernel refused.
    #[error("{ifname}: {mode} XDP: {source}")]
    Refused {
        /// The interface.
        ifname: String,
        /// The last mode that was tried.
        mode: XdpMode,
        /// What the kernel said.
        source: io::Error,
    },
    /// The pin could not be made, read or replaced.
    #[error("{}: {source}; it must lie on a BPF file system (mount -t bpf bpf /sys/fs/bpf)", path.display())]
    Pin {
        /// The path.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// A program of `load_dry` has no business on a NIC.
    #[error("this instance is only for dry runs")]
    Dry,
}

/// A program on an interface. Dropping it detaches the program, unless it is pinned.
#[derive(Debug)]
pub struct Attached {
    _link: OwnedFd,
    mode: XdpMode,
    fallback: Option<String>,
    pin: Option<PathBuf>,
    taken_over: bool,
}

impl Attached {
    /// Where it really runs.
    pub const fn mode(&self) -> XdpMode {
        self.mode
    }

    /// Why it does not run in the driver, if that was tried first.
    pub fn fallback(&self) -> Option<&str> {
        self.fallback.as_deref()
    }

    /// Whether a pinned link of an earlier process was taken over, without a gap.
    pub const fn taken_over(&self) -> bool {
        self.taken_over
    }

    /// Removes the pin: from now on the program goes when this value goes.
    ///
    /// # Errors
    /// What unlink(2) reports.
    pub fn unpin(&mut self) -> io::Result<()> {
        self.pin.take().map_or(Ok(()), fs::remove_file)
    }

    /// Detaches the program, pinned or not.
    ///
    /// # Errors
    /// What unlink(2) reports; then it is still attached by its pin.
    pub fn detach(mut self) -> io::Result<()> {
        self.unpin()
    }
}

pub(crate) fn attach(
    program: &OwnedFd,
    ifname: &str,
    mode: AttachMode,
    pin: Option<&Path>,
) -> Result<Attached, AttachError> {
    let missing = || AttachError::NoInterface(ifname.to_owned());
    let name = CString::new(ifname).map_err(|_| missing())?;
    let index = index_of(&name).ok_or_else(missing)?;
    if let Some(path) = pin
        && let Some((link, mode)) = take_over(program, index, mode, path)?
    {
        let pin = Some(path.to_owned());
        return Ok(Attached { _link: link, mode, fallback: None, pin, taken_over: true });
    }
    let (link, mode, fallback) = create(program, ifname, index, mode)?;
    if let Some(path) = pin {
        let pinned = path_of(path).and_then(|name| {
            // SAFETY: the path is a C string; the link is open.
            check(unsafe { sys::bpf_obj_pin(link.as_raw_fd(), name.as_ptr()) })
        });
        pinned.map_err(|source| AttachError::Pin { path: path.to_owned(), source })?;
    }
    Ok(Attached { _link: link, mode, fallback, pin: pin.map(Path::to_owned), taken_over: false })
}

/// Makes a new link, natively if wanted and possible.
fn create(
    program: &OwnedFd,
    ifname: &str,
    index: u32,
    wanted: AttachMode,
) -> Result<(OwnedFd, XdpMode, Option<String>), AttachError> {
    let refused = |mode, source: io::Error| match source.raw_os_error() {
        Some(libc::EBUSY | libc::EEXIST) => {
            AttachError::Busy { ifname: ifname.to_owned(), program: attached_program(index) }
        }
        _ => AttachError::Refused { ifname: ifname.to_owned(), mode, source },
    };
    let native = match wanted {
        AttachMode::Generic => None,
        _ => match link(program, index, XdpMode::Native) {
            Ok(link) => return Ok((link, XdpMode::Native, None)),
            Err(error) => Some(refused(XdpMode::Native, error)),
        },
    };
    match native {
        Some(error) if wanted == AttachMode::Native => Err(error),
        Some(error @ AttachError::Busy { .. }) => Err(error),
        reason => link(program, index, XdpMode::Generic)
            .map(|link| (link, XdpMode::Generic, reason.map(|reason| reason.to_string())))
            .map_err(|error| refused(XdpMode::Generic, error)),
    }
}

fn link(program: &OwnedFd, index: u32, mode: XdpMode) -> io::Result<OwnedFd> {
    // SAFETY: all zeroes is a valid option struct.
    let mut options: sys::bpf_link_create_opts = unsafe { std::mem::zeroed() };
    options.sz = size_of_val(&options);
    options.flags = mode.flag();
    // SAFETY: the program is open and the options are valid for the call.
    owned(unsafe {
        sys::bpf_link_create(
            program.as_raw_fd(),
            index as i32,
            sys::bpf_attach_type_BPF_XDP,
            &raw const options,
        )
    })
}

/// Puts the program into the pinned link, if there is one, on this interface and in a mode
/// that will do; removes it otherwise.
fn take_over(
    program: &OwnedFd,
    index: u32,
    wanted: AttachMode,
    path: &Path,
) -> Result<Option<(OwnedFd, XdpMode)>, AttachError> {
    let failed = |source| AttachError::Pin { path: path.to_owned(), source };
    let name = path_of(path).map_err(failed)?;
    // SAFETY: the path is a C string.
    let link = match owned(unsafe { sys::bpf_obj_get(name.as_ptr()) }) {
        Ok(link) => link,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let now = query(index);
    let mode = now.and_then(mode_of);
    let fits = mode.is_some_and(|mode| match wanted {
        AttachMode::Auto => true,
        AttachMode::Native => mode == XdpMode::Native,
        AttachMode::Generic => mode == XdpMode::Generic,
    });
    // The program, too: another network namespace may have an interface of that index.
    let facts = link_facts(&link);
    let here = now.map(|now| (index, now.prog_id));
    if fits && facts.is_some() && facts == here {
        // SAFETY: link and program are open; no options.
        let updated = check(unsafe {
            sys::bpf_link_update(link.as_raw_fd(), program.as_raw_fd(), std::ptr::null())
        });
        if updated.is_ok() {
            return Ok(mode.map(|mode| (link, mode)));
        }
    }
    fs::remove_file(path).map_err(failed)?;
    if facts.is_some() && facts == here {
        // At once: a link whose last reference goes is detached some time later, and the new
        // one would meet it.
        // SAFETY: the link is open.
        let _ = unsafe { sys::bpf_link_detach(link.as_raw_fd()) };
    }
    Ok(None)
}

/// The interface of the link that is pinned at `path`; none if it is gone.
///
/// # Errors
/// `NotFound` if nothing is pinned there, else what bpf(2) reports.
pub fn pinned_interface(path: &Path) -> io::Result<Option<u32>> {
    let name = path_of(path)?;
    // SAFETY: the path is a C string.
    let link = owned(unsafe { sys::bpf_obj_get(name.as_ptr()) })?;
    Ok(link_facts(&link).map(|(index, _)| index))
}

/// Interface and program id of an XDP link; none if it is another kind or its interface is
/// gone.
fn link_facts(link: &OwnedFd) -> Option<(u32, u32)> {
    // SAFETY: all zeroes is a valid `bpf_link_info`.
    let mut info: sys::bpf_link_info = unsafe { std::mem::zeroed() };
    let mut len = size_of_val(&info) as u32;
    // SAFETY: `info` has the `len` octets that the call may write.
    let result =
        unsafe { sys::bpf_link_get_info_by_fd(link.as_raw_fd(), &raw mut info, &raw mut len) };
    if result != 0 || info.type_ != sys::bpf_link_type_BPF_LINK_TYPE_XDP {
        return None;
    }
    // SAFETY: the kernel filled the member that the type names.
    let index = unsafe { info.__bindgen_anon_1.xdp.ifindex };
    (index != 0).then_some((index, info.prog_id))
}

fn query(index: u32) -> Option<sys::bpf_xdp_query_opts> {
    // SAFETY: all zeroes is a valid option struct.
    let mut options: sys::bpf_xdp_query_opts = unsafe { std::mem::zeroed() };
    options.sz = size_of_val(&options);
    // SAFETY: the options are valid for the call.
    let result = unsafe { sys::bpf_xdp_query(index as i32, 0, &raw mut options) };
    (result == 0).then_some(options)
}

/// The mode of the program that an interface has.
fn mode_of(now: sys::bpf_xdp_query_opts) -> Option<XdpMode> {
    match now.attach_mode {
        XDP_ATTACHED_DRV => Some(XdpMode::Native),
        XDP_ATTACHED_SKB => Some(XdpMode::Generic),
        _ => None,
    }
}

/// What an operator needs to find the program that is in the way.
fn attached_program(index: u32) -> String {
    let Some(options) = query(index) else { return "unknown".to_owned() };
    let ids = [options.prog_id, options.drv_prog_id, options.skb_prog_id, options.hw_prog_id];
    let Some(id) = ids.into_iter().find(|id| *id != 0) else { return "unknown".to_owned() };
    let named = || -> io::Result<String> {
        // SAFETY: takes and returns integers.
        let program = owned(unsafe { sys::bpf_prog_get_fd_by_id(id) })?;
        // SAFETY: all zeroes is a valid `bpf_prog_info`: no buffers.
        let mut info: sys::bpf_prog_info = unsafe { std::mem::zeroed() };
        let mut len = size_of_val(&info) as u32;
        // SAFETY: `info` has the `len` octets that the call may write.
        check(unsafe {
            sys::bpf_prog_get_info_by_fd(program.as_raw_fd(), &raw mut info, &raw mut len)
        })?;
        let octets = info.name.map(|octet| octet as u8);
        let name = CStr::from_bytes_until_nul(&octets).unwrap_or_default();
        Ok(name.to_string_lossy().into_owned())
    };
    named().map_or_else(|_| format!("id {id}"), |name| format!("{name}, id {id}"))
}
