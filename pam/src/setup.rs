//! The setup of an account for which the second step is enforced, inside its login (Q21).
//!
//! A setup that was cut off (sshd's LoginGraceTime, a closed lid) is gone on with at the next login from the same address: the QR code that was
//! scanned is good still, if its code is typed. All else is asked for anew, for it may be somebody else who comes now: nobody finishes here what
//! another has begun. Nothing is in force before the code was confirmed.
//!
//! The recovery address comes first (Q9), where a mail server is configured; nobody has to have one.

use twostep::core::account::Method;
use twostep::core::setup::Confirmation;
use twostep::proto::account::{Begun, Confirmed, SecurityCode};
use twostep::proto::secret::Secret;
use zeroize::Zeroizing;

use crate::engine::Failure;
use crate::qr;
use crate::step::{Said, Step, Stop, deny, sentence};
use crate::talk::{Tone, clean, moves};
use crate::verdict::{Denial, Pass, Why};

const REQUIRED: &str = "2-step verification is required for this account, and is not set up yet.";

/// For whoever can't be asked.
const ELSEWHERE: &str = "2-step verification is required for this account, and is not set up yet. Set it up where questions can be answered: \
                         log in by ssh with keyboard-interactive, or run `twostep setup` on the machine.";

impl Step<'_> {
    /// Goes through the setup that the login was given.
    pub(crate) fn set_up(&mut self, setup: &Secret) -> Result<Pass, Stop> {
        let Begun { setup, available, .. } = self.engine.begin_setup(self.facts.user, setup, None)?;
        self.note(REQUIRED);
        self.ask_all(&setup, &available).map_err(|stop| match stop {
            Stop::Silence => Stop::Denied(Denial::new(Why::NoAnswer, ELSEWHERE)),
            other => other,
        })?;
        let codes = self.engine.finish(&setup)?;
        self.summary(&codes)?;
        Ok(Pass::SetUp)
    }

    fn ask_all(&mut self, setup: &Secret, available: &[Method]) -> Result<(), Stop> {
        if available.contains(&Method::EmailCode) {
            self.ask_address(setup)?;
        }
        self.confirm_code(setup)
    }

    fn ask_address(&mut self, setup: &Secret) -> Result<(), Stop> {
        loop {
            let address = match self.ask("Recovery e-mail address, to get codes at when the phone is not at hand (Enter: none): ")? {
                Said::Code(address) => address,
                Said::Nothing => return Ok(()),
                Said::Help => {
                    self.note("A code is mailed there, to be entered here; later others, when you ask for one at a login.");
                    continue;
                }
                Said::NoCode => continue,
            };
            match self.engine.begin_setup(self.facts.user, setup, Some(address.expose())) {
                Ok(_) if self.confirm_address(setup, &clean(address.expose()))? => return Ok(()),
                Ok(_) => {}
                Err(Failure::Unavailable(reason)) => self.note(sentence(&reason)),
                Err(failure) => return Err(failure.into()),
            }
        }
    }

    /// Whether the mailed code was entered.
    fn confirm_address(&mut self, setup: &Secret, address: &str) -> Result<bool, Stop> {
        let question = format!("A code was mailed to {address}. Enter it (Enter: another address, or none): ");
        loop {
            let code = match self.ask(&question)? {
                Said::Code(code) => code,
                Said::Nothing => return Ok(false),
                Said::Help | Said::NoCode => continue,
            };
            let Confirmed { outcome, hint } = self.engine.confirm_email(setup, &code)?;
            let hint = hint.map(|hint| format!(" {}", sentence(&hint))).unwrap_or_default();
            match outcome {
                Confirmation::Confirmed => return Ok(true),
                Confirmation::Wrong => self.note(format!("That is not the code.{hint}")),
                Confirmation::Locked => {
                    self.note(format!("No more codes are taken.{hint}"));
                    return Ok(false);
                }
            }
        }
    }

    fn confirm_code(&mut self, setup: &Secret) -> Result<(), Stop> {
        let offered = self.engine.offer(setup)?;
        let again = "Enter the code that the app shows (? shows the QR code again): ";
        let mut shown = false;
        loop {
            let said = if shown { self.ask(again) } else { self.ask(&self.offer_text(&offered)) };
            shown = true;
            let code = match said? {
                Said::Code(code) => code,
                Said::Nothing | Said::NoCode => continue,
                Said::Help => {
                    shown = false;
                    continue;
                }
            };
            let Confirmed { outcome, hint } = match self.engine.confirm(setup, &code) {
                Ok(confirmed) => confirmed,
                Err(Failure::Unavailable(reason)) => return deny(Why::Undecided, sentence(&reason)),
                Err(failure) => return Err(failure.into()),
            };
            let hint = hint.map(|hint| format!(" {}", sentence(&hint))).unwrap_or_default();
            match outcome {
                Confirmation::Confirmed => {
                    if !hint.is_empty() {
                        self.note(hint.trim_start().to_owned());
                    }
                    return Ok(());
                }
                Confirmation::Wrong => self.note(format!("That is not the code.{hint}")),
                Confirmation::Locked => return deny(Why::TooMany, format!("No more codes are taken.{hint}")),
            }
        }
    }

    fn offer_text(&self, offered: &SecurityCode) -> Zeroizing<String> {
        let drawn = qr::draw(offered.uri.expose(), self.facts.qr);
        let drawn = drawn.as_ref().map_or("", |drawn| drawn.as_str());
        let secret = offered.secret.expose();
        let words = if drawn.is_empty() {
            "Give an authenticator app this key: "
        } else {
            "Scan this with an authenticator app, or give it the key: "
        };
        let ask = "Then enter the code that the app shows: ";
        let mut text = Zeroizing::new(String::with_capacity(drawn.len() + words.len() + secret.len() + ask.len() + 2));
        // On a line of its own: ssh puts `(alice@nas) ` before a question.
        let begin = if drawn.is_empty() || self.has_notes() { "" } else { "\n" };
        for part in [begin, drawn, words] {
            text.push_str(part);
        }
        text.extend(secret.chars().filter(|c| !moves(*c)));
        text.push('\n');
        text.push_str(ask);
        text
    }

    /// Shows the recovery codes inside a question, since sshd would show them only once the session has begun, or never.
    fn summary(&mut self, codes: &[Secret]) -> Result<(), Stop> {
        if codes.is_empty() {
            self.talk.tell(Tone::Info, "2-step verification is on.");
            return Ok(());
        }
        let (before, after) = (
            "2-step verification is on. These are your recovery codes, each good once.\nThey are shown only now; keep them away from the phone:\n",
            "Press Enter once you have kept them: ",
        );
        let length: usize = codes.iter().map(|code| code.expose().len() + 3).sum();
        let mut text = Zeroizing::new(String::with_capacity(before.len() + length + after.len()));
        text.push_str(before);
        for code in codes {
            text.push_str("  ");
            text.extend(code.expose().chars().filter(|c| !moves(*c)));
            text.push('\n');
        }
        text.push_str(after);
        // They are in force, and nothing shows them again.
        self.put(&text)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::qr::Form;
    use crate::script::{KEY, Line, Played, confirm, confirm_email, facts, leaves, play, setup_required, types};
    use crate::step::Facts;
    use crate::talk::Reply;
    use twostep::core::setup::Confirmation::{Confirmed, Locked, Wrong};
    use twostep::proto::login::Started;

    const CODES: [&str; 2] = ["DFHF-RW84-VC2R-JEVW", "0123-4567-89AB-CDEF"];
    const SUMMARY: &[&str] = &["good once", "\n  DFHF-RW84-VC2R-JEVW\n  0123-4567-89AB-CDEF\nPress Enter"];

    fn begun() -> Vec<Line> {
        vec![setup_required(), Line::BeginSetup(Ok(&[Method::SecurityCode])), Line::Offer(Ok(()))]
    }

    fn play_on(facts: Facts<'_>, more: Vec<Line>) -> Played {
        let mut lines = begun();
        lines.extend(more);
        play(facts, lines)
    }

    fn finished() -> Line {
        Line::Finish(Ok(CODES.to_vec()))
    }

    #[track_caller]
    fn is_denied(played: &Played, why: Why) {
        assert!(matches!(&played.result, Err(denial) if denial.why == why), "{:?}", played.result);
    }

    #[test]
    fn an_enforced_user_sets_up_in_the_login_and_is_in() {
        let offered = types(&["is required", "give it the key: JBSWY3DPEHPK3PXP", "Then enter the code"], "123456");
        let played = play_on(facts(), vec![offered, confirm("123456", Confirmed, None), finished(), types(SUMMARY, "")]);
        assert_eq!(played.result, Ok(Pass::SetUp));
        let offer = &played.questions[0];
        assert!(offer.contains("not set up yet.\n█"), "the QR code begins on its own line: {offer}");
        assert!(offer.lines().last().is_some_and(|line| line == "Then enter the code that the app shows: "));
    }

    #[test]
    fn without_a_picture_the_key_is_enough() {
        let facts = Facts { qr: Form::None, ..facts() };
        let offered = types(&["\nGive an authenticator app this key: JBSWY3DPEHPK3PXP"], "123456");
        let played =
            play_on(facts, vec![offered, confirm("123456", Confirmed, None), Line::Finish(Ok(vec![])), Line::Tell(Tone::Info, "is on")]);
        assert_eq!(played.result, Ok(Pass::SetUp));
        assert!(!played.questions[0].contains('█'));
    }

    #[test]
    fn a_wrong_code_is_said_and_the_picture_comes_again_only_when_asked_for() {
        let script = vec![
            types(&["█"], "000000"),
            confirm("000000", Wrong, Some("the clock is wrong")),
            types(&["That is not the code. The clock is wrong.\nEnter the code"], ""),
            types(&["Enter the code"], "?"),
            types(&["█", KEY], "123456"),
            confirm("123456", Confirmed, None),
            finished(),
            types(SUMMARY, ""),
        ];
        let played = play_on(facts(), script);
        assert_eq!(played.result, Ok(Pass::SetUp));
        assert!(!played.questions[1].contains('█') && !played.questions[1].contains(KEY));
    }

    #[test]
    fn the_recovery_codes_are_shown_however_many_questions_came_before() {
        let again = (0..19).map(|_| types(&["█"], "?"));
        let finish = [types(&["█"], "123456"), confirm("123456", Confirmed, None), finished(), types(SUMMARY, "")];
        assert_eq!(play_on(facts(), again.chain(finish).collect()).result, Ok(Pass::SetUp));
        let again = (0..20).map(|_| types(&["█"], "?"));
        let played = play_on(facts(), again.chain([Line::Tell(Tone::Error, "Too many questions")]).collect());
        is_denied(&played, Why::TooMany);
    }

    const ADDRESS: &[&str] = &["Recovery e-mail address", "Enter: none"];
    const MAILED: &[&str] = &["mailed to alice@example.org. Enter it"];

    /// Where there is a mail server.
    fn play_with_mail(more: Vec<Line>) -> Played {
        let begun = Line::BeginSetup(Ok(&[Method::SecurityCode, Method::EmailCode]));
        let mut lines = vec![setup_required(), begun];
        lines.extend(more);
        lines.extend([
            Line::Offer(Ok(())),
            types(&["█", KEY], "123456"),
            confirm("123456", Confirmed, None),
            finished(),
            types(SUMMARY, ""),
        ]);
        play(facts(), lines)
    }

    #[test]
    fn with_a_mail_server_an_address_is_asked_for_first_and_confirmed() {
        let played = play_with_mail(vec![
            types(&["is required", "yet.\nRecovery e-mail address"], "alice@example.org"),
            Line::Mail("alice@example.org", Ok(())),
            types(MAILED, "000000"),
            confirm_email("000000", Wrong, None),
            types(&["That is not the code.\nA code was mailed"], "111111"),
            confirm_email("111111", Confirmed, None),
        ]);
        assert_eq!(played.result, Ok(Pass::SetUp));
        assert!(played.questions[3].starts_with("\n█"), "the QR code begins on its own line: {}", played.questions[3]);
    }

    #[test]
    fn nobody_has_to_have_an_address() {
        assert_eq!(play_with_mail(vec![types(ADDRESS, "?"), types(&["A code is mailed there", "Recovery"], "")]).result, Ok(Pass::SetUp));
        // Nor to wait for the mail.
        let played = play_with_mail(vec![
            types(ADDRESS, "alice@example.org"),
            Line::Mail("alice@example.org", Ok(())),
            types(MAILED, ""),
            types(ADDRESS, ""),
        ]);
        assert_eq!(played.result, Ok(Pass::SetUp));
    }

    #[test]
    fn an_address_that_is_none_or_gets_no_mail_is_said_and_asked_for_again() {
        let unavailable = |reason: &str| Err(Failure::Unavailable(reason.into()));
        let played = play_with_mail(vec![
            types(ADDRESS, "alice"),
            types(&["That is the name"], "alice at example"),
            Line::Mail("alice at example", unavailable("an address has one @")),
            types(&["An address has one @.\nRecovery e-mail address"], "alice@example.net"),
            Line::Mail("alice@example.net", unavailable("too many mails")),
            types(&["Too many mails.\nRecovery"], "alice@example.org"),
            Line::Mail("alice@example.org", Ok(())),
            types(MAILED, "000000"),
            confirm_email("000000", Locked, Some("the code is void")),
            types(&["The code is void.\nRecovery e-mail address"], ""),
        ]);
        assert_eq!(played.result, Ok(Pass::SetUp));
    }

    #[test]
    fn whoever_goes_on_with_the_qr_code_of_before_is_told_which_entry_to_keep() {
        let Line::Start(Ok(required)) = setup_required() else { unreachable!() };
        let notice = Some("if you have scanned its QR code, go on".into());
        let lines = vec![
            Line::Start(Ok(Started { notice, ..required })),
            Line::BeginSetup(Ok(&[Method::SecurityCode])),
            Line::Offer(Ok(())),
            types(&["If you have scanned its QR code, go on.\n", "█", KEY], "123456"),
            confirm("123456", Confirmed, Some("delete the later entry")),
            finished(),
            types(&["Delete the later entry.\n2-step verification is on", "good once"], ""),
        ];
        assert_eq!(play(facts(), lines).result, Ok(Pass::SetUp));
    }

    #[test]
    fn an_engine_that_fails_at_the_address_lets_nobody_in() {
        let lines = |more: Vec<Line>| {
            let begun = Line::BeginSetup(Ok(&[Method::EmailCode]));
            let mut lines = vec![setup_required(), begun, types(ADDRESS, "alice@example.org")];
            lines.extend(more);
            lines.push(Line::Tell(Tone::Error, "can't be checked now"));
            lines
        };
        let silent = || Failure::Silent("the disk is full".into());
        for more in [
            vec![Line::Mail("alice@example.org", Err(silent()))],
            vec![Line::Mail("alice@example.org", Ok(())), types(MAILED, "1"), Line::ConfirmEmail("1", Err(silent()))],
        ] {
            is_denied(&play(facts(), lines(more)), Why::Undecided);
        }
    }

    #[test]
    fn who_cant_be_asked_is_told_where_to_set_up_and_nothing_is_cancelled() {
        let played = play_on(facts(), vec![leaves(&[]), Line::Tell(Tone::Error, "twostep setup")]);
        is_denied(&played, Why::NoAnswer);
    }

    #[test]
    fn breaking_off_at_the_recovery_codes_is_no_login() {
        let played = play_on(facts(), vec![types(&[], "123456"), confirm("123456", Confirmed, None), finished(), leaves(SUMMARY)]);
        is_denied(&played, Why::NoAnswer);
    }

    #[test]
    fn no_more_codes_is_the_end() {
        let locked = confirm("000000", Locked, Some("begin the setup again"));
        let played = play_on(facts(), vec![types(&[], "000000"), locked, Line::Tell(Tone::Error, "Begin the setup again.")]);
        is_denied(&played, Why::TooMany);
    }

    #[test]
    fn an_engine_without_a_usable_clock_confirms_nothing() {
        let clock = Line::Confirm("123456", Err(Failure::Unavailable("the clock is not set".into())));
        let played = play_on(facts(), vec![types(&[], "123456"), clock, Line::Tell(Tone::Error, "The clock is not set.")]);
        is_denied(&played, Why::Undecided);
    }

    #[test]
    fn whatever_fails_on_the_way_lets_nobody_in() {
        let silent = || Failure::Silent("the disk is full".into());
        let told = || Line::Tell(Tone::Error, "can't be checked now");
        let ask = || Line::Ask(&[], Ok(Reply::Typed(Secret::new("123456".into()))));
        for lines in [
            vec![setup_required(), Line::BeginSetup(Err(silent())), told()],
            vec![setup_required(), Line::BeginSetup(Ok(&[Method::SecurityCode])), Line::Offer(Err(silent())), told()],
            vec![
                setup_required(),
                Line::BeginSetup(Ok(&[Method::SecurityCode])),
                Line::Offer(Ok(())),
                ask(),
                Line::Confirm("123456", Err(silent())),
                told(),
            ],
            vec![
                setup_required(),
                Line::BeginSetup(Ok(&[Method::SecurityCode])),
                Line::Offer(Ok(())),
                ask(),
                confirm("123456", Confirmed, None),
                Line::Finish(Err(silent())),
                told(),
            ],
        ] {
            is_denied(&play(facts(), lines), Why::Undecided);
        }
    }

    #[test]
    fn an_engine_that_is_started_anew_has_forgotten_the_setup_and_gives_another() {
        let mut lines = vec![types(&[], "123456"), Line::Confirm("123456", Err(Failure::Lost))];
        lines.extend(begun());
        lines.extend([types(&["started anew", "█"], "654321"), confirm("654321", Confirmed, None), finished(), types(SUMMARY, "")]);
        assert_eq!(play_on(facts(), lines).result, Ok(Pass::SetUp));
    }
}
