//! glibc's own call for it: the one place of the product with unsafe code, for no safe interface has it.
#![allow(unsafe_code, reason = "malloc_trim has no safe interface")]

use std::ffi::c_int;

unsafe extern "C" {
    /// Gives the pages back in which nothing is allocated, in all arenas; keeps `pad` bytes at the top.
    fn malloc_trim(pad: usize) -> c_int;
}

/// Gives freed memory back to the system.
pub(super) fn trim() {
    // SAFETY: it takes a number and keeps no pointer, any thread may call it at any time (it is
    // MT-Safe: it takes the lock of each arena), and it touches only what is free.
    // Whether anything was given back does not matter.
    let _ = unsafe { malloc_trim(0) };
}

#[cfg(test)]
mod tests {
    /// Resident bytes that are no file's.
    fn anonymous() -> usize {
        let status = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap();
        let line = status.lines().find(|line| line.starts_with("Anonymous:"));
        let number = line.and_then(|line| line.split_whitespace().nth(1));
        1024 * number.unwrap().parse::<usize>().unwrap()
    }

    /// Small blocks, each too small to have a mapping of its own, with one that stays on top of them.
    #[test]
    fn freed_memory_goes_back() {
        let blocks: Vec<Vec<u8>> = (0..40_000).map(|_| vec![1; 1_000]).collect();
        let above = vec![1; 1_000];
        drop(blocks);
        let before = anonymous();
        super::trim();
        let after = anonymous();
        // Other tests run beside it.
        assert!(after + 10_000_000 < before, "{before}, then {after}");
        drop(above);
    }
}
