//! The engine under measurement, and the accounts in its database.

use std::path::Path;

use tokio::net::UnixListener;
use tokio::sync::mpsc;
use twostep::config::Config;
use twostep::core::account::{Account, Method, Methods};
use twostep::engine;
use twostep::engine::desk::{Desk, Parts};
use twostep::engine::directory::Directory;
use twostep::engine::login::LoginInterface;
use twostep::engine::mail::Mailer;
use twostep::engine::root::RootChannel;
use twostep::engine::store::{Options, SealingKey, Store, Stored};
use twostep::proto::privileged::Channel;
use twostep::proto::server::Server;
use twostep::sys::{clock, peer};

use crate::clockwork;
use crate::people::{self, People};

/// Accounts of one commit.
const COMMIT: u32 = 20_000;

fn store(folder: &Path) -> Store {
    let store = Store::open(Options::new(folder.into(), clock::wall), SealingKey::from_slice(&[7; 32]));
    assert!(store.failure().is_none(), "{:?}", store.failure());
    store
}

/// Writes the accounts. The files know none of their users: each is looked up as a domain's is.
pub fn prepare(folder: &Path, accounts: u32) {
    people::write_files(folder);
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async {
        let store = store(folder);
        for first in (0..accounts).step_by(COMMIT as usize) {
            let last = accounts.min(first + COMMIT);
            let written = store.write(move |tx| {
                (first..last).try_for_each(|index| {
                    let (uid, name) = people::user(index);
                    let mut stored = Stored::new(uid, &name);
                    let methods = Methods::NONE.with(Method::SecurityCode);
                    stored.account = Account { methods, preferred: Some(Method::SecurityCode), ..Account::default() };
                    tx.save_enrolled(&stored, &people::enrolment(index))
                })
            });
            written.await.expect("accounts");
        }
        store.close().await;
    });
}

/// Serves them until it is killed, on what the engine process runs on.
pub fn serve(folder: &Path, accounts: u32) {
    engine::runtime().expect("a runtime").block_on(answer(folder, accounts));
}

async fn answer(folder: &Path, accounts: u32) {
    let (ours, _theirs) = std::os::unix::net::UnixStream::pair().expect("a pair");
    ours.set_nonblocking(true).expect("a pair that does not block");
    let (tell, _news) = mpsc::channel(1);
    let (root, _channel) = RootChannel::new(Channel::new(ours).expect("a channel"), tell);
    let desk = Desk::open(Parts {
        store: store(folder),
        directory: Directory::of(folder.into(), People(accounts)),
        root,
        config: Config::default(),
        mailer: Mailer::new(&Config::default().mail, None),
        host: "NAS".into(),
        moment: clockwork::moment,
        owner: nix::unistd::getuid().as_raw(),
    });
    let server = Server::new(peer::identify).privileged(|_| true).interface(LoginInterface(desk.await));
    let listener = UnixListener::bind(folder.join("socket")).expect("a socket");
    println!("READY");
    server.serve(listener).await;
}
