//! The `tallow` command.

/// Measured against the system's allocator on the indicator benchmark: a quarter less time and about the same memory,
/// given `no_thp` and few threads that read files (without these, half as much again).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    tallow::cli::main(give_back_soon)
}

/// Makes the allocator give memory back to the system soon after it is freed, for a process whose memory is limited. By
/// default it keeps it for a second, which is quicker by a few percent and takes half as much memory again, or more.
fn give_back_soon() {
    const MILLISECONDS: std::ffi::c_long = 10;
    #[allow(
        unsafe_code,
        reason = "the allocator's own crate declares this only together with all of its other functions"
    )]
    mod allocator {
        use std::ffi::{c_int, c_long};

        /// `mi_option_purge_delay` in mimalloc's list of options.
        pub const PURGE_DELAY: c_int = 15;

        unsafe extern "C" {
            // Stores a number; options may be set at any time and from any thread.
            pub safe fn mi_option_set(option: c_int, value: c_long);
        }
    }
    allocator::mi_option_set(allocator::PURGE_DELAY, MILLISECONDS);
}
