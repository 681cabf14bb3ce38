//! The program `activity-relay`.

fn main() {
    let code = activity_relay::cli::main(std::env::args_os());
    std::process::exit(code);
}
