//! Memory for tables: cache lines of atomic words, on huge pages where there are any,
//! present before the first packet; and the prefetches that hide its latency.

use std::{io, ops::Deref, ptr, ptr::NonNull, slice};

use crate::line::Line;

/// The page size of x86-64 huge pages, in octets; mappings are rounded up to it.
const HUGE_PAGE: usize = 2 << 20;

/// What kind of pages a mapping got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageKind {
    /// Pages of the hugetlb pool (`vm.nr_hugepages`).
    Huge,
    /// Ordinary memory that the kernel was asked to back with transparent huge pages.
    Transparent,
    /// Ordinary pages only.
    Small,
}

/// A fixed number of zeroed [`Line`]s, faulted in at creation.
#[derive(Debug)]
pub struct Lines {
    start: NonNull<Line>,
    count: usize,
    mapped: usize,
    kind: PageKind,
}

// SAFETY: `Lines` owns its mapping alone, and a `Line` is made of atomics only, so moving it
// to another thread or sharing it between threads cannot race.
unsafe impl Send for Lines {}
// SAFETY: as above.
unsafe impl Sync for Lines {}

impl Lines {
    /// Maps `count` zeroed lines and touches every page, so that no packet pays for a fault.
    ///
    /// # Errors
    /// `InvalidInput` for a count that does not fit the address space, else what mmap(2)
    /// or the population reported (`ENOMEM`: not enough memory for the table).
    pub fn new(count: usize) -> io::Result<Self> {
        let mapped = count
            .checked_mul(size_of::<Line>())
            .and_then(|octets| octets.max(1).checked_next_multiple_of(HUGE_PAGE))
            .filter(|octets| isize::try_from(*octets).is_ok())
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "table too large"))?;
        let (start, kind) = match map(mapped, libc::MAP_HUGETLB | libc::MAP_POPULATE) {
            Ok(start) => (start, PageKind::Huge),
            Err(_) => Self::map_ordinary(mapped)?,
        };
        // A program that is started (a hook, an exec check) would share the pages with the workers
        // until it is executed: each would be copied when a worker writes it, huge ones split.
        // Without the advice nothing breaks.
        // SAFETY: advice on a mapping that we own does not change its contents.
        unsafe { libc::madvise(start.as_ptr().cast(), mapped, libc::MADV_DONTFORK) };
        Ok(Self { start: start.cast(), count, mapped, kind })
    }

    /// The fallback: the alignment that transparent huge pages need, then the advice, then
    /// the population; in this order, or the pages would be small already.
    fn map_ordinary(mapped: usize) -> io::Result<(NonNull<u8>, PageKind)> {
        let reserved = map(mapped + HUGE_PAGE, libc::MAP_NORESERVE)?;
        let lead = reserved.as_ptr().align_offset(HUGE_PAGE);
        // SAFETY: `reserved` has `mapped + HUGE_PAGE` octets and `lead < HUGE_PAGE`, so the
        // parts cut off and the part kept lie within it; nothing refers to them yet.
        let start = unsafe {
            let start = reserved.add(lead);
            if lead > 0 {
                libc::munmap(reserved.as_ptr().cast(), lead);
            }
            libc::munmap(start.as_ptr().add(mapped).cast(), HUGE_PAGE - lead);
            start
        };
        // SAFETY: advice on a mapping that we own does not change its contents.
        let advised =
            unsafe { libc::madvise(start.as_ptr().cast(), mapped, libc::MADV_HUGEPAGE) } == 0;
        // SAFETY: as above; it faults the pages in, zeroed.
        if unsafe { libc::madvise(start.as_ptr().cast(), mapped, libc::MADV_POPULATE_WRITE) } != 0 {
            let error = io::Error::last_os_error();
            // SAFETY: the mapping is ours and nothing refers to it.
            unsafe { libc::munmap(start.as_ptr().cast(), mapped) };
            return Err(error);
        }
        Ok((start, if advised { PageKind::Transparent } else { PageKind::Small }))
    }

    /// What kind of pages these are.
    pub const fn page_kind(&self) -> PageKind {
        self.kind
    }
}

impl Deref for Lines {
    type Target = [Line];

    #[inline]
    fn deref(&self) -> &[Line] {
        // SAFETY: the mapping holds at least `count` lines, is page-aligned, was zeroed by
        // the kernel (a valid `Line`), and lives as long as `self`; all access is atomic.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.count) }
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and no borrow of it outlives `self`.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.mapped) };
    }
}

/// A private anonymous mapping: zeroed, readable, writable.
fn map(octets: usize, flags: libc::c_int) -> io::Result<NonNull<u8>> {
    let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | flags;
    // SAFETY: a new anonymous mapping at an address of the kernel's choice touches no
    // existing memory.
    let start = unsafe {
        libc::mmap(ptr::null_mut(), octets, libc::PROT_READ | libc::PROT_WRITE, kind, -1, 0)
    };
    if start == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    NonNull::new(start.cast()).ok_or_else(|| io::Error::other("mmap returned null"))
}

/// Asks for the cache line at `place`, into all levels. Does nothing off x86-64.
#[inline(always)]
pub fn prefetch<T>(place: &T) {
    touch(ptr::from_ref(place).cast());
}

/// Asks for the first two lines of a packet: headers, which will be written. Another core's copy of
/// them (the one that received the packet) is given up at once, not at the first write. Also of a
/// packet that ends in the first line: it may grow, and with many connections it pays where it does
/// not (`bench/runs`, `rig-both-lines.json`). Does nothing off x86-64.
#[inline(always)]
pub fn prefetch_packet(bytes: &[u8]) {
    own(bytes.as_ptr());
    own(bytes.as_ptr().wrapping_add(64));
}

#[inline(always)]
#[cfg(target_arch = "x86_64")]
fn touch(place: *const u8) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    // SAFETY: a prefetch is a hint: it reads nothing that the program can see and does not
    // fault, whatever the address.
    unsafe { _mm_prefetch(place.cast(), _MM_HINT_T0) };
}

#[inline(always)]
#[cfg(not(target_arch = "x86_64"))]
fn touch(_place: *const u8) {}

/// As `touch`, to write. The compiler makes a `prefetch` of its intrinsic unless the build asks
/// for a later CPU; one without the instruction takes it for none (Intel SDM, PREFETCHW).
#[inline(always)]
#[cfg(target_arch = "x86_64")]
fn own(place: *const u8) {
    // SAFETY: a hint, as in `touch`.
    unsafe {
        std::arch::asm!("prefetchw [{}]", in(reg) place, options(nostack, preserves_flags, readonly));
    }
}

#[inline(always)]
#[cfg(not(target_arch = "x86_64"))]
fn own(_place: *const u8) {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::Ordering::Relaxed;

    #[test]
    fn lines_are_zeroed_aligned_and_shared() {
        for count in [0, 1, 7, HUGE_PAGE / 64, HUGE_PAGE / 64 + 1] {
            let lines = Lines::new(count).unwrap();
            assert_eq!(lines.len(), count);
            assert_eq!(lines.as_ptr() as usize % 64, 0);
            assert!(lines.iter().all(|line| line.0.iter().all(|word| word.load(Relaxed) == 0)));
            std::thread::scope(|scope| {
                scope.spawn(|| lines.iter().for_each(|line| line.0[7].store(9, Relaxed)));
            });
            assert!(lines.iter().all(|line| line.0[7].load(Relaxed) == 9));
            lines.first().inspect(|line| prefetch(*line));
        }
    }

    /// The kernel says so of a mapping by `dc` among its flags (proc_pid_smaps(5)).
    #[test]
    fn children_do_not_get_them() {
        let lines = Lines::new(1).unwrap();
        let place = lines.as_ptr() as usize;
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mut here = false;
        let flags = maps.lines().find_map(|line| {
            let range = line.split_once(' ').and_then(|(range, _)| range.split_once('-'));
            if let Some((from, to)) = range {
                let number = |text| usize::from_str_radix(text, 16);
                if let (Ok(from), Ok(to)) = (number(from), number(to)) {
                    here = (from..to).contains(&place);
                }
            }
            line.strip_prefix("VmFlags:").filter(|_| here).map(ToOwned::to_owned)
        });
        let flags = flags.expect("its mapping");
        assert!(flags.split_whitespace().any(|flag| flag == "dc"), "{flags}");
    }

    #[test]
    fn absurd_counts_are_refused() {
        assert!(Lines::new(usize::MAX / 64).is_err());
        assert!(Lines::new(usize::MAX).is_err());
    }

    #[test]
    fn prefetch_takes_any_length() {
        for len in [0, 1, 64, 65, 1500] {
            prefetch_packet(&vec![0; len]);
        }
    }
}
