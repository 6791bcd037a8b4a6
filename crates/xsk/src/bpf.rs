//! BPF objects, maps and links through libbpf: the few calls that xlvs needs, with errors.

use libxdp_sys as sys;
use std::{
    ffi::{CStr, CString, c_void},
    io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
    path::Path,
    ptr::{self, NonNull},
};

/// Room for the verifier's words when it refuses a program.
const LOG_OCTETS: usize = 64 << 10;

// Two functions of the libbpf that libxdp-sys links, which its bindings leave out.
unsafe extern "C" {
    fn libbpf_num_possible_cpus() -> libc::c_int;
    /// Takes and returns a function pointer; null is silence.
    fn libbpf_set_print(print: *const c_void) -> *const c_void;
}

/// libbpf answers a negative errno.
pub(crate) fn check(result: i32) -> io::Result<i32> {
    if result < 0 { Err(io::Error::from_raw_os_error(-result)) } else { Ok(result) }
}

/// A descriptor that a libbpf call just made.
pub(crate) fn owned(result: i32) -> io::Result<OwnedFd> {
    // SAFETY: on success the call returned a new descriptor that nobody else owns.
    check(result).map(|fd| unsafe { OwnedFd::from_raw_fd(fd) })
}

pub(crate) fn path_of(path: &Path) -> io::Result<CString> {
    use std::os::unix::ffi::OsStrExt;
    CString::new(path.as_os_str().as_bytes())
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "a zero octet in the path"))
}

/// Plain words: any bit pattern is a value and there is no padding, so the kernel may read
/// and write them as octets.
///
/// # Safety
/// The type must be `repr(C)`, without padding, and valid for every bit pattern.
pub(crate) unsafe trait Plain: Copy {}

// SAFETY: integers and arrays of octets have neither padding nor invalid values.
unsafe impl Plain for u8 {}
// SAFETY: as above.
unsafe impl Plain for u32 {}
// SAFETY: as above.
unsafe impl Plain for u64 {}
// SAFETY: as above.
unsafe impl Plain for [u8; 16] {}

/// A map whose keys and values have these types.
#[derive(Debug)]
pub(crate) struct Map<K, V> {
    fd: OwnedFd,
    shape: std::marker::PhantomData<fn(K, V)>,
}

impl<K: Plain, V: Plain> Map<K, V> {
    /// Makes a map that several programs share.
    pub(crate) fn create(kind: u32, name: &CStr, capacity: u32) -> io::Result<Self> {
        let (key, value) = (size_of::<K>() as u32, size_of::<V>() as u32);
        // SAFETY: the name is a C string and the options may be null.
        let fd =
            unsafe { sys::bpf_map_create(kind, name.as_ptr(), key, value, capacity, ptr::null()) };
        Ok(Self { fd: owned(fd)?, shape: std::marker::PhantomData })
    }

    /// A map of a loaded object, kept open on its own.
    fn of(fd: OwnedFd) -> io::Result<Self> {
        // SAFETY: all zeroes is a valid `bpf_map_info`.
        let mut info: sys::bpf_map_info = unsafe { std::mem::zeroed() };
        let mut len = size_of_val(&info) as u32;
        // SAFETY: `info` has the `len` octets that the call may write.
        check(unsafe { sys::bpf_map_get_info_by_fd(fd.as_raw_fd(), &raw mut info, &raw mut len) })?;
        if info.key_size as usize != size_of::<K>() || info.value_size as usize != size_of::<V>() {
            return Err(io::Error::other("a map of the program has another shape than expected"));
        }
        Ok(Self { fd, shape: std::marker::PhantomData })
    }

    pub(crate) fn fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    pub(crate) fn set(&self, key: &K, value: &V) -> io::Result<()> {
        let (key, value) = (ptr::from_ref(key).cast(), ptr::from_ref(value).cast());
        // SAFETY: key and value have the sizes of this map (set at its creation, or checked
        // by `of`), and the kernel only reads them.
        check(unsafe { sys::bpf_map_update_elem(self.fd(), key, value, 0) }).map(drop)
    }

    /// Removes a key; false if it was not there.
    pub(crate) fn remove(&self, key: &K) -> io::Result<bool> {
        // SAFETY: the key has the size of this map.
        let result =
            unsafe { sys::bpf_map_delete_elem(self.fd(), ptr::from_ref(key).cast::<c_void>()) };
        match check(result) {
            Ok(_) => Ok(true),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The values of all CPUs of a per-CPU map; the value's size is a multiple of 8.
    pub(crate) fn of_all_cpus(&self, key: &K) -> io::Result<Vec<V>> {
        assert!(size_of::<V>().is_multiple_of(8), "the kernel pads per-CPU values to 8 octets");
        // SAFETY: no arguments.
        let cpus = check(unsafe { libbpf_num_possible_cpus() })? as usize;
        let mut values: Vec<V> = Vec::with_capacity(cpus);
        let out = values.as_mut_ptr().cast();
        // SAFETY: the kernel writes one value for each possible CPU, for which there is
        // room; then they are initialised, and any bits are a `V`.
        unsafe {
            check(sys::bpf_map_lookup_elem(self.fd(), ptr::from_ref(key).cast(), out))?;
            values.set_len(cpus);
        }
        Ok(values)
    }
}

/// An opened BPF object; loaded by [`Object::load`].
#[derive(Debug)]
pub(crate) struct Object {
    object: NonNull<sys::bpf_object>,
    log: Vec<u8>,
}

// SAFETY: the object is owned alone, and libbpf keeps no thread-local state for it.
unsafe impl Send for Object {}
// SAFETY: `&self` methods only read it, or make system calls.
unsafe impl Sync for Object {}

impl Object {
    /// Parses a compiled object.
    pub(crate) fn open(bytes: &[u8], name: &CStr) -> io::Result<Self> {
        // SAFETY: null means no printing; verifier messages come through `log`.
        unsafe { libbpf_set_print(ptr::null()) };
        let mut log = vec![0u8; LOG_OCTETS];
        // SAFETY: all zeroes is a valid option struct (null pointers, zero sizes).
        let mut options: sys::bpf_object_open_opts = unsafe { std::mem::zeroed() };
        options.sz = size_of_val(&options);
        options.object_name = name.as_ptr();
        options.kernel_log_buf = log.as_mut_ptr().cast();
        options.kernel_log_size = log.len();
        // SAFETY: `bytes` and `options` are valid for the call; the log buffer is on the
        // heap and moves into the result, which outlives the object.
        let object = unsafe {
            sys::bpf_object__open_mem(bytes.as_ptr().cast(), bytes.len(), &raw const options)
        };
        let object = NonNull::new(object).ok_or_else(io::Error::last_os_error)?;
        Ok(Self { object, log })
    }

    fn map(&self, name: &CStr) -> io::Result<NonNull<sys::bpf_map>> {
        // SAFETY: the object is open and the name is a C string.
        let map = unsafe { sys::bpf_object__find_map_by_name(self.object.as_ptr(), name.as_ptr()) };
        NonNull::new(map).ok_or_else(|| {
            io::Error::other(format!("no map {} in the object", name.to_string_lossy()))
        })
    }

    /// Before loading: the program shall use this map for its own of that name.
    pub(crate) fn share<K: Plain, V: Plain>(&self, name: &CStr, map: &Map<K, V>) -> io::Result<()> {
        // SAFETY: the map belongs to the open object; libbpf duplicates the descriptor.
        check(unsafe { sys::bpf_map__reuse_fd(self.map(name)?.as_ptr(), map.fd()) }).map(drop)
    }

    /// Before loading: the contents of a section of constants.
    pub(crate) fn constants(&mut self, section: &CStr, words: &[u32]) -> io::Result<()> {
        let map = self.map(section)?;
        // SAFETY: libbpf copies the octets and checks that their number is the section's.
        check(unsafe {
            sys::bpf_map__set_initial_value(map.as_ptr(), words.as_ptr().cast(), size_of_val(words))
        })
        .map(drop)
    }

    /// Loads maps and programs into the kernel.
    pub(crate) fn load(&mut self) -> io::Result<()> {
        // SAFETY: the object is open and not yet loaded.
        let result = check(unsafe { sys::bpf_object__load(self.object.as_ptr()) });
        result.map(drop).map_err(|error| {
            let said = CStr::from_bytes_until_nul(&self.log).unwrap_or_default().to_string_lossy();
            let tail: Vec<&str> = said.trim_end().lines().rev().take(3).collect();
            let words = tail.into_iter().rev().collect::<Vec<_>>().join(" | ");
            io::Error::new(error.kind(), format!("{error} {words}"))
        })
    }

    /// After loading: a map of the object, by a descriptor of its own.
    pub(crate) fn take_map<K: Plain, V: Plain>(&self, name: &CStr) -> io::Result<Map<K, V>> {
        // SAFETY: the map belongs to the open object.
        let fd = check(unsafe { sys::bpf_map__fd(self.map(name)?.as_ptr()) })?;
        Map::of(duplicate(fd)?)
    }

    /// After loading: a program of the object, by a descriptor of its own.
    pub(crate) fn take_program(&self, name: &CStr) -> io::Result<OwnedFd> {
        // SAFETY: the object is open and the name is a C string.
        let program =
            unsafe { sys::bpf_object__find_program_by_name(self.object.as_ptr(), name.as_ptr()) };
        let program = NonNull::new(program).ok_or_else(|| io::Error::other("no such program"))?;
        // SAFETY: the program belongs to the open object.
        duplicate(check(unsafe { sys::bpf_program__fd(program.as_ptr()) })?)
    }

    /// After loading: the live words of a writable section, shared with the program.
    pub(crate) fn words<const N: usize>(
        &self,
        section: &CStr,
    ) -> io::Result<NonNull<[std::sync::atomic::AtomicU64; N]>> {
        let mut size = 0;
        // SAFETY: the map belongs to the open object; `size` is valid for the call.
        let start =
            unsafe { sys::bpf_map__initial_value(self.map(section)?.as_ptr(), &raw mut size) };
        if size != 8 * N {
            return Err(io::Error::other("a section of the program has another size"));
        }
        NonNull::new(start.cast()).ok_or_else(|| io::Error::other("section is not mapped"))
    }
}

impl Drop for Object {
    fn drop(&mut self) {
        // SAFETY: the object is ours and is not used again.
        unsafe { sys::bpf_object__close(self.object.as_ptr()) };
    }
}

fn duplicate(fd: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: duplicating a descriptor has no effect on memory.
    let copy = unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 3) };
    if copy < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: `copy` is new and ours.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

/// Runs an XDP program once on a frame (`BPF_PROG_RUN`); returns its action.
pub(crate) fn run_once(program: &OwnedFd, frame: &[u8]) -> io::Result<u32> {
    // SAFETY: all zeroes is a valid option struct.
    let mut options: sys::bpf_test_run_opts = unsafe { std::mem::zeroed() };
    options.sz = size_of_val(&options);
    options.data_in = frame.as_ptr().cast();
    options.data_size_in = frame.len() as u32;
    options.repeat = 1;
    // SAFETY: `options` and the frame it points to are valid for the call; the kernel only
    // reads the frame, as no output buffer is given.
    check(unsafe { sys::bpf_prog_test_run_opts(program.as_raw_fd(), &raw mut options) })?;
    Ok(options.retval)
}

/// Runs an XDP program `count` times on copies of a frame that really go where it sends
/// them (`BPF_F_TEST_XDP_LIVE_FRAMES`).
pub(crate) fn run_live(program: &OwnedFd, frame: &[u8], count: u32, batch: u32) -> io::Result<()> {
    // SAFETY: all zeroes is a valid option struct.
    let mut options: sys::bpf_test_run_opts = unsafe { std::mem::zeroed() };
    options.sz = size_of_val(&options);
    options.data_in = frame.as_ptr().cast();
    options.data_size_in = frame.len() as u32;
    options.repeat = count.min(i32::MAX as u32) as i32;
    options.flags = sys::BPF_F_TEST_XDP_LIVE_FRAMES;
    options.batch_size = batch;
    // SAFETY: as in `run_once`; the kernel sends copies in pages of its own.
    check(unsafe { sys::bpf_prog_test_run_opts(program.as_raw_fd(), &raw mut options) }).map(drop)
}
