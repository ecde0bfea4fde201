//! Root's own socket: `io.twostep.Recovery`, served by the supervisor, so that it works without the engine.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast::error::RecvError;

use super::buttons;
use super::password::NoStableAddress;
use super::recovery::AccountState;
use super::station::Station;
use crate::core::gesture::State;
use crate::core::peer::Peer;
use crate::proto::recovery::{self as wire, Call, Error, Reply};
use crate::proto::varlink::{Failure, Interface, Replies, ServiceError};

/// The longest hold that `Press` takes: beyond the longest `stuck_after` there is nothing to see.
const LONGEST_PRESS_MS: u64 = 120_000;

/// The interface, over the supervisor's state.
pub struct RecoveryInterface(pub Arc<Station>);

impl Interface for RecoveryInterface {
    const NAME: &'static str = wire::NAME;
    const DESCRIPTION: &'static str = wire::DESCRIPTION;
    type Call = Call;
    type Reply = Reply;
    type Error = Error;

    async fn call(&self, peer: &Peer, call: Call, replies: &mut Replies<'_, Self>) -> Result<Reply, Failure<Error>> {
        wire::authorise(peer, wire::Owner(self.0.machine.owner))?;
        match call {
            Call::Status {} => Ok(Reply::Status(self.status().await?)),
            Call::Monitor {} => self.monitor(replies).await,
            Call::ShowDefaultPassword {} => {
                let shown = self.0.default_password().await.map_err(|e| Error::NoStableAddress { reason: e.reason })?;
                let password = shown.password;
                Ok(Reply::DefaultPassword(wire::DefaultPassword { password, interface: shown.interface, origin: shown.origin }))
            }
            Call::DisableAccount {} => {
                let by = format!("uid {}", peer.uid);
                self.0.turn_off(by).await.map_err(|reason| Error::AccountsFailed { reason })?;
                Ok(Reply::DONE)
            }
            Call::Press { hold_ms } => {
                if hold_ms > LONGEST_PRESS_MS {
                    return Err(Failure::invalid("hold_ms"));
                }
                self.press(hold_ms).await
            }
        }
    }
}

impl RecoveryInterface {
    async fn status(&self) -> Result<wire::Status, Failure<Error>> {
        let station = &self.0;
        let sources: Vec<_> = station.buttons.sources().into_iter().map(source).collect();
        let (account, last) = station.account().await.map_err(|reason| Error::AccountsFailed { reason })?;
        let password = station.default_password().await;
        let obstacles = self.obstacles(&sources, password.as_ref().err());
        let adapter = password.ok().and_then(|p| p.interface.map(|interface| wire::Adapter { interface, origin: p.origin }));
        Ok(wire::Status {
            board: station.machine.board.name.clone(),
            configuration: station.machine.fault.clone(),
            armed: obstacles.is_empty(),
            reason: (!obstacles.is_empty()).then(|| obstacles.join("\n")),
            hold_ms: millis(station.machine.config.button.hold),
            sources,
            adapter,
            account: wire::Account {
                name: station.machine.config.recovery.account.clone(),
                state: match account {
                    AccountState::Missing => wire::AccountState::Missing,
                    AccountState::Disabled => wire::AccountState::Disabled,
                    AccountState::Active => wire::AccountState::Active,
                    AccountState::Recovered { .. } => wire::AccountState::Recovered,
                },
                until: if let AccountState::Recovered { until } = account { until } else { None },
            },
            last,
        })
    }

    /// What keeps a press from firing now, and the way out, a line each.
    fn obstacles(&self, sources: &[wire::Source], no_password: Option<&NoStableAddress>) -> Vec<String> {
        let mut obstacles: Vec<_> = no_password.map(ToString::to_string).into_iter().collect();
        if sources.is_empty() {
            obstacles.push(match (self.0.machine.config.button.enabled, &self.0.machine.fault) {
                (true, _) => format!(
                    "the board profile {} has no button: `twostep recovery identify` finds the parts of /etc/twostep/board.toml",
                    self.0.machine.board.name
                ),
                (false, None) => "the configuration switches it off: button.enabled = false".into(),
                (false, Some(_)) => "it is off, as the configuration says, or until what is wrong there is mended".into(),
            });
        } else if sources.iter().all(|source| source.state != wire::SourceState::Ready) {
            obstacles.extend(sources.iter().map(|source| self.obstacle(source)));
        }
        obstacles
    }

    fn obstacle(&self, source: &wire::Source) -> String {
        let name = &source.name;
        match source.state {
            wire::SourceState::Ready => format!("{name} is ready"),
            wire::SourceState::Held => format!("{name} is held now"),
            wire::SourceState::Stuck => format!("{name} counts as stuck until it is released"),
            wire::SourceState::Missing => match self.0.missing(name) {
                Some(reason) => format!("{name} is missing: {reason}"),
                None => format!("{name} is missing"),
            },
        }
    }

    /// Every event from now on, until the listener hangs up.
    async fn monitor(&self, replies: &mut Replies<'_, Self>) -> Result<Reply, Failure<Error>> {
        if !replies.more() {
            return Err(Failure::Service(ServiceError::ExpectedMore {}));
        }
        let mut events = self.0.listen();
        loop {
            match events.recv().await {
                Ok(event) => replies.send(&Reply::Monitor(event)).await?,
                // A listener that reads too slowly has lost some; the next ones still count.
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return Err(Failure::Gone),
            }
        }
    }

    async fn press(&self, hold_ms: u64) -> Result<Reply, Failure<Error>> {
        let fired = self.0.press(Duration::from_millis(hold_ms)).await.map_err(|buttons::NotSimulated| Error::NotSimulated {})?;
        Ok(Reply::Pressed(wire::Pressed { fired }))
    }
}

fn source((name, kind, state): (String, buttons::Kind, State)) -> wire::Source {
    let kind = match kind {
        buttons::Kind::Input => wire::SourceKind::Input,
        buttons::Kind::Gpio => wire::SourceKind::Gpio,
        buttons::Kind::Simulated => wire::SourceKind::Simulated,
    };
    let state = match state {
        State::Ready => wire::SourceState::Ready,
        State::Held => wire::SourceState::Held,
        State::Stuck => wire::SourceState::Stuck,
        State::Missing => wire::SourceState::Missing,
    };
    wire::Source { name, kind, state }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
