//! An engine that decides nothing: it hears and answers the calls of a login with texts that stand ready. How many logins a second it is asked
//! for, by the same load generator on the same cores, is what no engine can go beyond here.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

/// As long as what the engine answers.
const STARTED: &[u8] = concat!(
    r#"{"parameters":{"decision":"verify","login":"KRSXG5CTMVRXEZLUKRSXG5CTMVRXEZLU","methods":["security_code"],"#,
    r#""preferred":"security_code"}}"#,
    "\0"
)
.as_bytes();
const VERIFIED: &[u8] = concat!(r#"{"parameters":{"outcome":"verified"}}"#, "\0").as_bytes();

/// Serves so many connections, until the last has ended.
pub fn serve(socket: &Path, connections: usize) {
    let listener = UnixListener::bind(socket).expect("a socket");
    println!("READY");
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).expect("epoll");
    let mut callers: Vec<UnixStream> = (0..connections as u64)
        .map(|index| {
            let (caller, _) = listener.accept().expect("a caller");
            epoll.add(&caller, EpollEvent::new(EpollFlags::EPOLLIN, index)).expect("epoll");
            caller
        })
        .collect();
    let (mut events, mut left) = (vec![EpollEvent::empty(); connections], connections);
    while left > 0 {
        let count = epoll.wait(&mut events, EpollTimeout::NONE).expect("events");
        for event in &events[..count] {
            let caller = &mut callers[event.data() as usize];
            if !answers(caller) {
                epoll.delete(&*caller).expect("epoll");
                left -= 1;
            }
        }
    }
}

/// Answers one call; whether there was one.
fn answers(caller: &mut UnixStream) -> bool {
    let mut frame = [0; 512];
    match caller.read(&mut frame) {
        Ok(0) => false,
        Err(e) if e.kind() == ErrorKind::ConnectionReset => false,
        heard => {
            let frame = &frame[..heard.expect("a call")];
            assert_eq!(frame.last(), Some(&0), "a call comes in one piece");
            let is_start = frame.windows(7).any(|word| word == b".Start\"");
            caller.write_all(if is_start { STARTED } else { VERIFIED }).is_ok()
        }
    }
}
