//! The program `activity-relay`.

/// A delivery is many small pieces of memory: this allocator takes half the time over them.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let code = activity_relay::cli::main(std::env::args_os());
    std::process::exit(code);
}
