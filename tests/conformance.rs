//! Clients that nobody here wrote talk to the socket: the Python package `varlink`, the crate `zlink`, systemd's `varlinkctl`; and our own.

use std::pin::pin;
use std::process::Command;

use twostep::client::{Client, Error as ClientError};
use twostep::proto::recovery::{self, AccountState, DefaultPassword, Event, EventKind, Pressed, Status};
use twostep::proto::varlink::{Empty, Info, ServiceError};
use zlink::futures_util::{Stream, StreamExt};
use zlink::varlink_service::Proxy as _;

#[path = "support/service.rs"]
mod service;
#[path = "support/skip.rs"]
mod skip;

use service::{SOON, Service, Setup, Told};
use skip::{Lack, skipped};

fn client(service: &Service) -> Client {
    Client::connect(&service.socket(), SOON).unwrap()
}

#[test]
fn the_python_package_gets_on_with_us() {
    if !Command::new("python3").args(["-c", "import varlink"]).output().is_ok_and(|import| import.status.success()) {
        skipped(Lack::Package, "python3 has no module varlink (python3 -m pip install varlink)");
        return;
    }
    let service = Service::start(Setup::default());
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/conformance.py");
    let run = Command::new("python3").arg(script).arg(service.socket()).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&run.stdout), "OK\n", "{}", String::from_utf8_lossy(&run.stderr));
}

#[test]
fn varlinkctl_gets_on_with_us() {
    if Command::new("varlinkctl").arg("--version").output().is_err() {
        skipped(Lack::Package, "no varlinkctl here (systemd 255 or later)");
        return;
    }
    let service = Service::start(Setup::default());
    let address = format!("unix:{}", service.socket().display());
    let varlinkctl = |arguments: &[&str]| {
        let run = Command::new("varlinkctl").args(arguments).output().unwrap();
        (run.status.success(), String::from_utf8_lossy(&run.stdout).into_owned() + &String::from_utf8_lossy(&run.stderr))
    };
    for (arguments, success, expected) in [
        (["info", &address, "", ""], true, "io.twostep.Recovery"),
        (["introspect", &address, "io.twostep.Recovery", ""], true, "ShowDefaultPassword"),
        (["call", &address, "io.twostep.Recovery.Status", "{}"], true, "\"admin\""),
        (["call", &address, "io.twostep.Recovery.Press", "{\"hold_ms\":\"long\"}"], false, "InvalidParameter"),
    ] {
        let given: Vec<&str> = arguments.into_iter().filter(|argument| !argument.is_empty()).collect();
        let (succeeded, output) = varlinkctl(&given);
        assert!(succeeded == success && output.contains(expected), "{given:?} said {output}");
    }
}

#[zlink::proxy("io.twostep.Recovery")]
trait RecoveryProxy {
    async fn status(&mut self) -> zlink::Result<Result<Status, ZlinkError>>;
    #[zlink(more)]
    async fn monitor(&mut self) -> zlink::Result<impl Stream<Item = zlink::Result<Result<Event, ZlinkError>>>>;
    async fn show_default_password(&mut self) -> zlink::Result<Result<DefaultPassword, ZlinkError>>;
    async fn disable_account(&mut self) -> zlink::Result<Result<Empty, ZlinkError>>;
    async fn press(&mut self, hold_ms: i64) -> zlink::Result<Result<Pressed, ZlinkError>>;
}

#[derive(Debug, PartialEq, zlink::ReplyError)]
#[zlink(interface = "io.twostep.Recovery")]
enum ZlinkError {
    PermissionDenied,
    NotSimulated,
    NoStableAddress { reason: String },
    AccountsFailed { reason: String },
}

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

#[test]
fn the_zlink_crate_gets_on_with_us() {
    let service = Service::start(Setup::default());
    block_on(async {
        let mut caller = zlink::tokio::unix::connect(service.socket()).await.unwrap();
        let mut watcher = zlink::tokio::unix::connect(service.socket()).await.unwrap();
        assert_eq!(caller.status().await.unwrap().unwrap().account.state, AccountState::Disabled);

        let mut events = pin!(watcher.monitor().await.unwrap());
        let mut seen = Vec::new();
        seen.push(events.next().await.unwrap().unwrap().unwrap().event);
        assert_eq!(caller.press(3200).await.unwrap().unwrap().fired.unwrap().outcome, "recovered");
        for _ in 0..3 {
            seen.push(events.next().await.unwrap().unwrap().unwrap().event);
        }
        assert_eq!(seen, [EventKind::Ready, EventKind::Pressed, EventKind::Fired, EventKind::Released]);

        assert_eq!(caller.status().await.unwrap().unwrap().account.state, AccountState::Recovered);
        assert_eq!(caller.show_default_password().await.unwrap().unwrap().password.expose(), "00089BF0CAFE");
        caller.disable_account().await.unwrap().unwrap();
        let refused = caller.press(1).await.unwrap();
        assert_eq!(refused, Err(ZlinkError::AccountsFailed { reason: "no space left".into() }));
    });
}

#[test]
fn the_zlink_crate_reads_our_descriptions() {
    let service = Service::start(Setup::default());
    block_on(async {
        let mut caller = zlink::tokio::unix::connect(service.socket()).await.unwrap();
        let info = caller.get_info().await.unwrap().unwrap();
        assert_eq!(info.product, "twostep");
        let names: Vec<String> = info.interfaces.iter().map(ToString::to_string).collect();
        assert_eq!(names, ["org.varlink.service", "io.twostep.Recovery"]);
        let description = caller.get_interface_description("io.twostep.Recovery".try_into().unwrap()).await.unwrap().unwrap();
        let interface = description.parse().unwrap();
        assert_eq!(interface.name(), "io.twostep.Recovery");
        let methods: Vec<&str> = interface.methods().map(|method| method.name().as_ref()).collect();
        assert_eq!(methods, ["Status", "Monitor", "ShowDefaultPassword", "DisableAccount", "Press"]);
    });
}

#[test]
fn every_description_is_read_by_the_zlink_crate() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/proto");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut names = Vec::new();
    for file in files.filter(|path| path.extension().is_some_and(|extension| extension == "varlink")) {
        let text = std::fs::read_to_string(&file).unwrap();
        let interface = zlink::idl::Interface::try_from(text.as_str()).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        assert_eq!(file.file_stem().unwrap().to_str(), Some(interface.name().as_ref()));
        names.push(interface.name().to_string());
    }
    names.sort();
    let expected = ["Account", "Admin", "Authenticator", "Login", "Recovery"].map(|name| format!("io.twostep.{name}"));
    assert_eq!(names[..5], expected);
}

#[test]
fn the_errors_are_those_of_the_description() {
    let interface = zlink::idl::Interface::try_from(recovery::DESCRIPTION).unwrap();
    for error in interface.errors() {
        let parameters: serde_json::Map<_, _> = error.fields().map(|field| (field.name().to_string(), "x".into())).collect();
        let tagged = serde_json::json!({ "error": format!("{}.{}", recovery::NAME, error.name()), "parameters": parameters });
        let typed: recovery::Error = serde_json::from_value(tagged.clone()).unwrap();
        assert_eq!(serde_json::to_value(&typed).unwrap(), tagged);
    }
}

#[test]
fn our_own_client_gets_replies_errors_and_streams() {
    let service = Service::start(Setup::default());
    let (mut caller, mut watcher) = (client(&service), client(&service));
    let info: Info = caller.call("org.varlink.service.GetInfo", &Empty {}).unwrap();
    assert_eq!(info.interfaces, ["org.varlink.service", "io.twostep.Recovery"]);

    let mut events = watcher.call_more::<Event>("io.twostep.Recovery.Monitor", &Empty {}).unwrap();
    let mut next = || events.next().unwrap().unwrap().event;
    assert_eq!(next(), EventKind::Ready);
    let Empty {} = caller.call("io.twostep.Recovery.Press", &serde_json::json!({ "hold_ms": 2800 })).unwrap();
    assert_eq!([next(), next()], [EventKind::Pressed, EventKind::Released]);

    let status: Status = caller.call("io.twostep.Recovery.Status", &Empty {}).unwrap();
    assert_eq!(status.account.state, AccountState::Disabled);
    let failure = caller.call::<Empty>("io.twostep.Recovery.Press", &serde_json::json!({ "hold_ms": 1 }));
    let Err(ClientError::Service(failure)) = failure else { panic!("{failure:?}") };
    assert_eq!(failure.typed(), Some(recovery::Error::AccountsFailed { reason: "no space left".into() }));
    assert_eq!(failure.typed::<ServiceError>(), None);
    assert!(failure.to_string().contains("no space left"));
    let failure = caller.call::<Empty>("io.twostep.Recovery.Monitor", &Empty {});
    let Err(ClientError::Service(failure)) = failure else { panic!("{failure:?}") };
    assert_eq!(failure.typed(), Some(ServiceError::ExpectedMore {}));

    caller.call_oneway("io.twostep.Recovery.DisableAccount", &Empty {}).unwrap();
    let told: Vec<Told> = (0..2).map(|_| service.told.recv_timeout(SOON).unwrap()).collect();
    assert_eq!(told, [Told::Waiting, Told::Disabled]);
}

#[test]
fn our_own_client_makes_no_other_call_while_a_stream_is_open() {
    let service = Service::start(Setup::default());
    let mut client = client(&service);
    let mut events = client.call_more::<Event>("io.twostep.Recovery.Monitor", &Empty {}).unwrap();
    assert_eq!(events.next().unwrap().unwrap().event, EventKind::Ready);
    let second = client.call::<Status>("io.twostep.Recovery.Status", &Empty {});
    assert!(matches!(second, Err(ClientError::Protocol(_))), "{second:?}");
}
