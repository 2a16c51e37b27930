//! The `tallow` command.

/// Measured against the system's allocator on the indicator benchmark: a quarter less time and about the same memory,
/// given `no_thp` and few threads that read files (without these, half as much again).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    tallow::cli::main()
}
