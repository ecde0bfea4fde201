//! The daemon. The engine is the same program, started again by the supervisor.

use std::process::ExitCode;

fn main() -> ExitCode {
    if std::env::args_os().nth(1).is_some_and(|word| word == twostep::proto::privileged::ENGINE_ARGUMENT) {
        return twostep::engine::main();
    }
    twostep::supervisor::main()
}
