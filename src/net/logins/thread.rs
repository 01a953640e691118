//! A thread for what takes long: it does one thing after the other, and is nicer than the rest, so that on
//! one core it has what that leaves.

use std::io;
use std::sync::mpsc::{self, Sender};
use std::thread;

use rustix::process::{getpriority_process, setpriority_process};

/// How much nicer the thread is.
const NICER: i32 = 5;

/// Starts one that does `work` with each thing that it is sent, on a stack of so many bytes; it ends with the
/// sender.
///
/// # Errors
/// The system's.
pub(in crate::net) fn start<T: Send + 'static>(
    name: &str,
    stack: usize,
    work: impl Fn(T) + Send + 'static,
) -> io::Result<Sender<T>> {
    let (sender, things) = mpsc::channel::<T>();
    let work = move || {
        // In Linux this is of the thread alone. One that can't be nicer works all the same.
        let _ = getpriority_process(None).and_then(|n| setpriority_process(None, n + NICER));
        while let Ok(thing) = things.recv() {
            work(thing);
        }
    };
    let thread = thread::Builder::new().name(name.to_owned());
    thread.stack_size(stack).spawn(work).map(|_| sender)
}
