//! The phone's pages.

use std::process::ExitCode;

fn main() -> ExitCode {
    twostep::web::main()
}
