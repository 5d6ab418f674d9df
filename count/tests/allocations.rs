//! Memory: none is taken per frame once warm, and a camera's stays flat for a day.
// Counting what is allocated needs an allocator, and an allocator is unsafe.
#![allow(unsafe_code)]

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use headcount_schemas::events::DetectionSet;
use support::*;

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
    static LIVE_BYTES: Cell<isize> = const { Cell::new(0) };
}

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = ALLOCATIONS.try_with(|n| n.set(n.get() + 1));
        let _ = LIVE_BYTES.try_with(|n| n.set(n.get() + layout.size() as isize));
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        let _ = LIVE_BYTES.try_with(|n| n.set(n.get() - layout.size() as isize));
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn frames_without_events_take_no_memory() {
    let sets = crowd(30, 60, 10, 4);
    let mut counter = counter();
    let mut out = Vec::with_capacity(100_000);
    let mut quiet = 0;
    // The first time all buffers find their size.
    run(&mut counter, &sets);
    for (i, set) in sets.iter().enumerate() {
        let set = &DetectionSet { epoch: EPOCH + 1, ..set.clone() };
        let (before, events) = (ALLOCATIONS.get(), out.len());
        counter.update(set, &mut out);
        // Events own their names; a frame without an event may allocate nothing.
        if out.len() == events {
            assert_eq!(ALLOCATIONS.get() - before, 0, "frame {i}");
            quiet += 1;
        }
    }
    assert!(quiet > 100, "only {quiet} frames without events");
}

#[test]
fn memory_is_flat_over_a_day() {
    // Two pictures a second, an hour of crowd over and over.
    let hour = crowd(6, 3600, 2, 8);
    let pictures = &hour[..hour.len() - 1];
    let mut counter = counter();
    let mut out = Vec::with_capacity(1000);
    let mut after_an_hour = 0;
    for day_hour in 0..24 {
        for set in pictures {
            let mut set = set.clone();
            set.sequence += day_hour * pictures.len() as i64;
            set.capture_us += day_hour * 3600 * SECOND;
            counter.update(&set, &mut out);
            out.clear();
        }
        if day_hour == 0 {
            after_an_hour = LIVE_BYTES.get();
        }
    }
    let growth = LIVE_BYTES.get() - after_an_hour;
    assert!(growth < 64 * 1024, "{growth} bytes more than after an hour");
    assert!(counter.snapshot().len() < 16 * 1024);
}
