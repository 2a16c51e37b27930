//! The `tallow` command.

/// Measured against the system's allocator: a quarter less time, half of it on one thread, for a third more memory.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    tallow::cli::main()
}
