//! The second step, with an engine and a conversation that are scripted line by line.

use super::Method::{EmailCode, LoginApproval, QrCode, RecoveryCode as RecoveryCodes, SecurityCode};
use super::*;
use crate::script::{Line, PASSWORD, USER, answer, answered, challenge, facts, leaves, play, setup_required, started, types, verify};

mod phone;

const APP: &str = "Enter the code that your authenticator app shows";
const BOTH: &[Method] = &[SecurityCode, RecoveryCodes];

fn denied(why: Why) -> impl Fn(&Result<Pass, Denial>) -> bool {
    move |result| matches!(result, Err(denial) if denial.why == why)
}

#[track_caller]
fn ends(lines: Vec<Line>, expected: Result<Pass, Why>) -> Vec<String> {
    let played = play(facts(), lines);
    assert_eq!(played.result.map_err(|denial| denial.why), expected);
    played.questions
}

#[test]
fn who_has_no_second_step_is_asked_nothing() {
    ends(vec![Line::Start(Ok(started(Decision::NotRequired)))], Ok(Pass::NotRequired));
    ends(vec![Line::Start(Ok(started(Decision::Trusted)))], Ok(Pass::Trusted));
}

#[test]
fn whatever_is_said_begins_with_a_capital_letter_and_ends() {
    assert_eq!(sentence("already used: next code in 12 s"), "Already used: next code in 12 s.");
    assert_eq!((&*sentence("3 are left."), &*sentence("really?")), ("3 are left.", "Really?"));
    for failure in [Failure::Over, Failure::Unavailable("no server".into()), Failure::Silent("x".into()), Failure::Lost] {
        let denial = without_decision(&failure, USER, &|_| false).unwrap_err();
        assert!(!denial.told.starts_with(char::is_lowercase) && denial.told.ends_with('.'), "{}", denial.told);
    }
    for error in ["AlreadyEnabled", "PasswordlessEnabled", "PermissionDenied", "NotVerified", "SecurityCodeMissing"] {
        let error = format!("io.twostep.Account.{error}");
        let denial = without_decision(&Failure::Refused(error.clone()), USER, &|_| false).unwrap_err();
        assert!(denial.told.ends_with('.') && !denial.told.contains("io.twostep"), "{}", denial.told);
        assert_eq!(denial.logged, error);
    }
}

#[test]
fn a_notice_is_said_whatever_the_decision() {
    let with = |decision| Started { notice: Some("denied yesterday\x1b[2J".into()), ..started(decision) };
    let told = || Line::Tell(Tone::Info, "Denied yesterday [2J.");
    ends(vec![Line::Start(Ok(with(Decision::NotRequired))), told()], Ok(Pass::NotRequired));
    ends(vec![Line::Start(Ok(with(Decision::Trusted))), told()], Ok(Pass::Trusted));
    let Line::Start(Ok(verify)) = verify(BOTH) else { unreachable!() };
    let verify = Started { notice: Some("denied yesterday".into()), ..verify };
    let asked = types(&["Denied yesterday.\nEnter the code"], "123456");
    let right = answer(SecurityCode, "123456", Outcome::Verified);
    ends(vec![Line::Start(Ok(verify)), challenge(SecurityCode, APP), asked, right], Ok(Pass::Verified));
}

#[test]
fn the_common_case_is_one_question() {
    let questions = ends(
        vec![verify(BOTH), challenge(SecurityCode, APP), types(&[], "123456"), answer(SecurityCode, "123456", Outcome::Verified)],
        Ok(Pass::Verified),
    );
    assert_eq!(questions, ["Enter the code that your authenticator app shows (? for other ways): "]);
}

#[test]
fn a_login_that_begins_with_its_question_needs_no_challenge_for_it() {
    let begun = |methods| {
        let Line::Start(Ok(started)) = verify(methods) else { unreachable!() };
        Started { prompt: Some(Secret::new(APP.into())), ..started }
    };
    let right = || answer(SecurityCode, "123456", Outcome::Verified);
    let questions = ends(vec![Line::Start(Ok(begun(BOTH))), types(&[], "123456"), right()], Ok(Pass::Verified));
    assert_eq!(questions, ["Enter the code that your authenticator app shows (? for other ways): "]);
    // Whoever comes back to it begins it anew, and what is said of no method is a question for none.
    let there_and_back = vec![Line::Start(Ok(begun(BOTH))), types(&[APP], "?"), types(&["Which one"], "")];
    let again = vec![challenge(SecurityCode, APP), types(&[], "123456"), right()];
    ends(there_and_back.into_iter().chain(again).collect(), Ok(Pass::Verified));
    let of_none = Started { preferred: None, ..begun(BOTH) };
    ends(vec![Line::Start(Ok(of_none)), challenge(SecurityCode, APP), types(&[], "123456"), right()], Ok(Pass::Verified));
}

#[test]
fn a_wrong_code_is_said_in_the_next_question_and_three_end_it() {
    let wrong = |code| Line::Answer(SecurityCode, code, Ok(Answered { attempts_left: Some(4), ..answered(Outcome::Wrong) }));
    let hinted = Answered { hint: Some("the clock is 3 min ahead".into()), attempts_left: Some(0), ..answered(Outcome::Wrong) };
    ends(
        vec![
            verify(BOTH),
            challenge(SecurityCode, APP),
            types(&[], "000001"),
            wrong("000001"),
            types(&["Wrong code.\nEnter the code"], " 000002 "),
            Line::Answer(SecurityCode, "000002", Ok(hinted)),
            types(&["the next try has to wait. The clock is 3 min ahead.\n"], "000003"),
            wrong("000003"),
            Line::Cancel,
            Line::Tell(Tone::Error, "Too many wrong codes"),
        ],
        Err(Why::TooMany),
    );
}

#[test]
fn a_used_code_is_no_wrong_one_and_the_wait_is_said() {
    let used = || Answered { hint: Some("already used: next code in 12 s".into()), ..answered(Outcome::AlreadyUsed) };
    let mut lines = vec![verify(BOTH), challenge(SecurityCode, APP), types(&[], "123456")];
    for _ in 0..4 {
        lines.push(Line::Answer(SecurityCode, "123456", Ok(used())));
        lines.push(types(&["Already used: next code in 12 s.\nEnter the code"], "123456"));
    }
    lines.push(answer(SecurityCode, "123456", Outcome::Verified));
    ends(lines, Ok(Pass::Verified));
}

#[test]
fn locked_is_said_with_what_to_do() {
    for (retry_after, words) in [(Some(30), "in 30 s"), (None, "administrator")] {
        let at_start = Started { retry_after, ..started(Decision::Locked) };
        ends(vec![Line::Start(Ok(at_start)), Line::Tell(Tone::Error, words)], Err(Why::TooMany));
        let on_the_way = Answered { retry_after, ..answered(Outcome::Locked) };
        let script = vec![
            verify(BOTH),
            challenge(SecurityCode, APP),
            types(&[], "123456"),
            Line::Answer(SecurityCode, "123456", Ok(on_the_way)),
            Line::Cancel,
            Line::Tell(Tone::Error, words),
        ];
        ends(script, Err(Why::TooMany));
    }
}

#[test]
fn a_login_that_took_too_long_is_refused() {
    let late = [answer(SecurityCode, "123456", Outcome::Expired), Line::Answer(SecurityCode, "123456", Err(Failure::Over))];
    for late in late {
        let told = Line::Tell(Tone::Error, "took too long");
        ends(vec![verify(BOTH), challenge(SecurityCode, APP), types(&[], "123456"), late, told], Err(Why::Wrong));
    }
    let script = vec![verify(BOTH), Line::Challenge(SecurityCode, Err(Failure::Over)), Line::Tell(Tone::Error, "took too long")];
    ends(script, Err(Why::Wrong));
}

#[test]
fn an_empty_answer_or_a_question_mark_offers_the_other_ways() {
    let all = &[SecurityCode, EmailCode, RecoveryCodes];
    for (help, choice, method) in [
        ("", "2", EmailCode),
        ("?", "3", RecoveryCodes),
        (" ", "mail", EmailCode),
        ("?", "Recovery", RecoveryCodes),
        ("?", "e-mail code", EmailCode),
    ] {
        ends(
            vec![
                verify(all),
                challenge(SecurityCode, APP),
                types(&[], help),
                types(&["  1  Security Code\n  2  e-mail code\n  3  recovery code\n", "(Enter: Security Code): "], choice),
                challenge(method, "Enter that one:"),
                types(&["Enter that one (? for other ways): "], "42"),
                answer(method, "42", Outcome::Verified),
            ],
            Ok(Pass::Verified),
        );
    }
}

#[test]
fn what_names_no_way_is_asked_again_and_enter_goes_back() {
    let mut lines = vec![verify(&[SecurityCode, EmailCode, RecoveryCodes]), challenge(SecurityCode, APP), types(&[], "?")];
    for nothing in ["code", "0", "4", "-1", "x", "99999999999999999999", "sms"] {
        lines.push(types(&["Which one"], nothing));
        lines.push(types(&["There is no such way.\nWays to verify:"], "?"));
    }
    lines.extend([
        types(&[], ""),
        challenge(SecurityCode, APP),
        types(&[APP], "123456"),
        answer(SecurityCode, "123456", Outcome::Verified),
    ]);
    ends(lines, Ok(Pass::Verified));
}

#[test]
fn where_there_is_one_way_that_is_said() {
    ends(
        vec![
            verify(&[SecurityCode]),
            challenge(SecurityCode, APP),
            types(&["app shows: "], ""),
            challenge(SecurityCode, APP),
            types(&["There is no other way than the Security Code.\nEnter"], "123456"),
            answer(SecurityCode, "123456", Outcome::Verified),
        ],
        Ok(Pass::Verified),
    );
}

#[test]
fn a_recovery_code_is_understood_where_another_was_asked_for() {
    let left = Answered { hint: Some("9 recovery codes are left".into()), ..answered(Outcome::Verified) };
    ends(
        vec![
            verify(BOTH),
            challenge(SecurityCode, APP),
            types(&[], "DFHF-RW84-VC2R-JEVW"),
            Line::Answer(RecoveryCodes, "DFHF-RW84-VC2R-JEVW", Ok(left)),
            Line::Tell(Tone::Info, "9 recovery codes are left."),
        ],
        Ok(Pass::Verified),
    );
    // Without that method it is a wrong Security Code.
    let script = vec![
        verify(&[SecurityCode]),
        challenge(SecurityCode, APP),
        types(&[], "DFHF-RW84-VC2R-JEVW"),
        answer(SecurityCode, "DFHF-RW84-VC2R-JEVW", Outcome::Wrong),
        leaves(&["Wrong code"]),
        Line::Cancel,
    ];
    ends(script, Err(Why::NoAnswer));
}

#[test]
fn a_method_that_fails_is_said_and_the_others_are_offered() {
    let down = |method| Line::Challenge(method, Err(Failure::Unavailable("the clock is wrong".into())));
    ends(
        vec![
            verify(BOTH),
            down(SecurityCode),
            challenge(RecoveryCodes, "Enter one of your recovery codes"),
            types(&["Security Code: the clock is wrong.\nThere is no other way than the recovery code.\nEnter one"], "x"),
            answer(RecoveryCodes, "x", Outcome::Verified),
        ],
        Ok(Pass::Verified),
    );
    let void = Line::Answer(EmailCode, "1", Err(Failure::Unavailable("the code is void".into())));
    let script = vec![
        verify(&[EmailCode, SecurityCode, RecoveryCodes]),
        challenge(EmailCode, "Enter"),
        types(&[], "1"),
        void,
        types(&["E-mail code: the code is void.\nWays to verify:\n  1  Security Code"], ""),
        challenge(SecurityCode, APP),
        types(&[], "123456"),
        answer(SecurityCode, "123456", Outcome::Verified),
    ];
    ends(script, Ok(Pass::Verified));
    let none = vec![verify(&[SecurityCode]), down(SecurityCode), Line::Cancel, Line::Tell(Tone::Error, "the clock is wrong")];
    ends(none, Err(Why::Wrong));
}

#[test]
fn nobody_answering_is_refused_and_told_how() {
    let script =
        vec![verify(BOTH), challenge(SecurityCode, APP), leaves(&[]), Line::Cancel, Line::Tell(Tone::Error, "keyboard-interactive")];
    ends(script, Err(Why::NoAnswer));
    let later = vec![verify(BOTH), challenge(SecurityCode, APP), types(&[], "?"), leaves(&["Ways to verify"]), Line::Cancel];
    ends(later, Err(Why::NoAnswer));
}

#[test]
fn an_answer_that_can_be_no_code_is_not_sent_on() {
    ends(
        vec![
            verify(BOTH),
            challenge(SecurityCode, APP),
            Line::Ask(&[], Ok(Reply::Unreadable)),
            types(&["That is no code.\nEnter the code"], "123456"),
            answer(SecurityCode, "123456", Outcome::Verified),
        ],
        Ok(Pass::Verified),
    );
}

#[test]
fn a_client_that_answers_everything_with_one_value_uses_up_no_tries() {
    let password = Secret::new(PASSWORD.into());
    let with_password = Facts { password: Some(&password), ..facts() };
    for automatic in [PASSWORD, "alice"] {
        let script = vec![
            verify(BOTH),
            challenge(SecurityCode, APP),
            types(&[], automatic),
            types(&["That is the name or the password, not a code."], automatic),
            Line::Cancel,
            Line::Tell(Tone::Error, "keyboard-interactive"),
        ];
        let played = play(with_password, script);
        assert!(denied(Why::NoAnswer)(&played.result), "{:?}", played.result);
    }
    // A person who typed it by mistake goes on.
    let script = vec![
        verify(BOTH),
        challenge(SecurityCode, APP),
        types(&[], PASSWORD),
        types(&[], "123456"),
        answer(SecurityCode, "123456", Outcome::Wrong),
        types(&[], PASSWORD),
        types(&[], "123457"),
        answer(SecurityCode, "123457", Outcome::Verified),
    ];
    assert_eq!(play(with_password, script).result, Ok(Pass::Verified));
    // An empty password is no reason to take Enter for one.
    let empty = Secret::new(String::new());
    let script = vec![verify(BOTH), challenge(SecurityCode, APP), types(&[], ""), leaves(&["Ways to verify"]), Line::Cancel];
    assert!(denied(Why::NoAnswer)(&play(Facts { password: Some(&empty), ..facts() }, script).result));
}

#[test]
fn no_client_goes_on_for_ever() {
    let mut lines = vec![verify(BOTH), challenge(SecurityCode, APP)];
    lines.extend((0..QUESTIONS).map(|_| Line::Ask(&[], Ok(Reply::Unreadable))));
    lines.extend([Line::Cancel, Line::Tell(Tone::Error, "Too many questions")]);
    ends(lines, Err(Why::TooMany));
}

#[test]
fn an_engine_that_is_started_anew_is_begun_with_again_twice_at_most() {
    let lost = |code| Line::Answer(SecurityCode, code, Err(Failure::Lost));
    ends(
        vec![
            verify(BOTH),
            challenge(SecurityCode, APP),
            types(&[], "123456"),
            lost("123456"),
            verify(BOTH),
            challenge(SecurityCode, APP),
            types(&["was started anew: once more, please.\nEnter the code"], "123457"),
            answer(SecurityCode, "123457", Outcome::Verified),
        ],
        Ok(Pass::Verified),
    );
    let gone = || [verify(BOTH), Line::Challenge(SecurityCode, Err(Failure::Lost))];
    let mut lines: Vec<Line> = (0..=RESTARTS).flat_map(|_| gone()).collect();
    lines.push(Line::Tell(Tone::Error, "can't be checked now"));
    ends(lines, Err(Why::Undecided));
}

/// Each place where the engine may fail, with the lines that lead there.
fn failing(failure: &Failure) -> Vec<Vec<Line>> {
    let failed = || failure.clone();
    let ask = || vec![verify(BOTH), challenge(SecurityCode, APP), types(&[], "123456")];
    let with = |mut lines: Vec<Line>, last| {
        lines.push(last);
        lines
    };
    vec![
        vec![Line::Start(Err(failed()))],
        vec![verify(BOTH), Line::Challenge(SecurityCode, Err(failed()))],
        with(ask(), Line::Answer(SecurityCode, "123456", Err(failed()))),
        vec![verify(&[LoginApproval]), challenge(LoginApproval, "Approve"), types(&[], ""), Line::Wait(Err(failed()))],
    ]
}

#[test]
fn without_a_decision_nobody_is_let_in_but_the_account_that_the_button_brought_back() {
    let silent = Failure::Silent("the disk is full\x07".into());
    for mut lines in failing(&silent) {
        let admin = Facts { user: "admin", ..facts() };
        assert_eq!(play(admin, failing(&silent).remove(0)).result, Ok(Pass::Recovered));
        lines.push(Line::Tell(Tone::Error, "can't be checked now"));
        let denial = play(facts(), lines).result.unwrap_err();
        assert_eq!((denial.why, denial.logged.as_str()), (Why::Undecided, "the disk is full "));
    }
    for lines in failing(&silent) {
        assert_eq!(play(Facts { user: "admin", ..facts() }, lines).result, Ok(Pass::Recovered));
    }
}

#[test]
fn what_is_a_decision_holds_for_the_recovered_account_too() {
    let admin = Facts { user: "admin", ..facts() };
    for (failure, why) in [
        (Failure::NoSuchAccount, Why::UnknownUser),
        (Failure::Over, Why::Wrong),
        (Failure::Unavailable("x".into()), Why::Wrong),
        (Failure::Refused("x".into()), Why::NotPassed),
    ] {
        let mut lines = vec![Line::Start(Err(failure.clone()))];
        if failure != Failure::NoSuchAccount {
            lines.push(Line::Tell(Tone::Error, ""));
        }
        assert!(denied(why)(&play(admin, lines).result), "{failure:?}");
    }
    let locked = vec![Line::Start(Ok(started(Decision::Locked))), Line::Tell(Tone::Error, "")];
    assert!(denied(Why::TooMany)(&play(admin, locked).result));
}

#[test]
fn an_answer_without_login_or_method_is_no_decision() {
    let without_login = Line::Start(Ok(Started { methods: Some(BOTH.to_vec()), ..started(Decision::Verify) }));
    let without_methods = Line::Start(Ok(Started { login: Some(Secret::new("x".into())), ..started(Decision::Verify) }));
    for rubbish in [without_login, without_methods, verify(&[])] {
        ends(vec![rubbish, Line::Tell(Tone::Error, "can't be checked")], Err(Why::Undecided));
    }
    // A preferred method that is not among them is not begun.
    let Line::Start(Ok(odd)) = verify(&[SecurityCode]) else { unreachable!() };
    let odd = Started { preferred: Some(EmailCode), ..odd };
    let script =
        vec![Line::Start(Ok(odd)), challenge(SecurityCode, APP), types(&[], "123456"), answer(SecurityCode, "123456", Outcome::Verified)];
    ends(script, Ok(Pass::Verified));
}

#[test]
fn a_setup_that_this_service_may_not_do_is_refused_with_what_to_do() {
    let script = vec![Line::Start(Ok(started(Decision::SetupRequired))), Line::Tell(Tone::Error, "twostep setup")];
    ends(script, Err(Why::NotPassed));
    let script = vec![setup_required(), Line::BeginSetup(Err(Failure::Over)), Line::Tell(Tone::Error, "")];
    ends(script, Err(Why::Wrong));
}

#[test]
fn trusting_the_address_is_offered_only_where_configured_and_only_a_yes_counts() {
    let offering = Facts { trust_address: true, ..facts() };
    let verified =
        || vec![verify(BOTH), challenge(SecurityCode, APP), types(&[], "123456"), answer(SecurityCode, "123456", Outcome::Verified)];
    let play_on = |facts, more: Vec<Line>| {
        let mut lines = verified();
        lines.extend(more);
        play(facts, lines).result
    };
    const ASKED: &[&str] = &["from 192.0.2.7?", "Whoever else comes from there", "[y/N]"];
    for yes in ["y", "YES"] {
        let more = vec![types(ASKED, yes), Line::Trust(Ok(30 * 86_400)), Line::Tell(Tone::Info, "trusted for 30 days")];
        assert_eq!(play_on(offering, more), Ok(Pass::Verified));
    }
    for no in ["", "n", "?", "yess"] {
        assert_eq!(play_on(offering, vec![types(ASKED, no)]), Ok(Pass::Verified));
    }
    let refused = vec![
        types(ASKED, "y"),
        Line::Trust(Err(Failure::Refused("io.twostep.Login.PermissionDenied".into()))),
        Line::Tell(Tone::Info, "login.trust_by_address"),
    ];
    assert_eq!(play_on(offering, refused), Ok(Pass::Verified));
    assert!(denied(Why::NoAnswer)(&play_on(offering, vec![leaves(ASKED), Line::Cancel])));
    assert_eq!(play_on(facts(), vec![]), Ok(Pass::Verified));
}

#[test]
fn the_engines_words_move_no_cursor() {
    let script = vec![
        verify(&[SecurityCode]),
        challenge(SecurityCode, "Enter\x1b[2J\nnow:"),
        leaves(&["Enter [2J now: "]),
        Line::Cancel,
        Line::Tell(Tone::Error, ""),
    ];
    ends(script, Err(Why::NoAnswer));
}
