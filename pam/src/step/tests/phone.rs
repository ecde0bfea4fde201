//! Logins that go on at a phone.

use super::*;

#[test]
fn a_number_stands_in_the_question_and_is_approved_on_the_phone() {
    let approval = || {
        let asked = Challenge {
            number: Some(Secret::new("42".into())),
            prompt: Secret::new("Approve on your phone".into()),
            qr: None,
            sent_to: None,
            expires_in: 120,
        };
        vec![verify(&[LoginApproval, SecurityCode]), Line::Challenge(LoginApproval, Ok(asked))]
    };
    const ASKED: &[&str] = &["Number 42: Approve on your phone (then press Enter, ? for other ways): "];
    let play_on = |more: Vec<Line>, expected| {
        let mut lines = approval();
        lines.push(types(ASKED, ""));
        lines.extend(more);
        ends(lines, expected);
    };
    play_on(vec![Line::Wait(Ok(WaitOutcome::Verified))], Ok(Pass::Verified));
    let later = vec![Line::Wait(Ok(WaitOutcome::Waiting)), types(&["Not approved yet.\n"], "ok"), Line::Wait(Ok(WaitOutcome::Verified))];
    play_on(later, Ok(Pass::Verified));
    let no = vec![Line::Wait(Ok(WaitOutcome::Denied)), Line::Cancel, Line::Tell(Tone::Error, "denied on the phone, or the number")];
    play_on(no, Err(Why::Wrong));
    let late = vec![Line::Wait(Ok(WaitOutcome::Expired)), Line::Cancel, Line::Tell(Tone::Error, "another login took its place")];
    play_on(late, Err(Why::Wrong));
    play_on(vec![Line::Wait(Ok(WaitOutcome::Locked)), Line::Cancel, Line::Tell(Tone::Error, "administrator")], Err(Why::TooMany));
    let mut other = approval();
    other.extend([types(ASKED, "?"), types(&["Ways"], "2"), challenge(SecurityCode, APP), leaves(&[APP]), Line::Cancel]);
    ends(other, Err(Why::NoAnswer));
}

#[test]
fn a_qr_code_begins_on_a_line_of_its_own() {
    for (form, sign) in [(Form::Blocks, "█"), (Form::Ascii, "##")] {
        let qr = Some(Secret::new("twostep:login:0123456789".into()));
        let asked = Challenge { prompt: Secret::new("Scan it".into()), qr, number: None, sent_to: None, expires_in: 120 };
        let script = vec![
            verify(&[QrCode]),
            Line::Challenge(QrCode, Ok(asked)),
            types(&["Scan it (then press Enter): "], ""),
            Line::Wait(Ok(WaitOutcome::Verified)),
        ];
        let played = play(Facts { qr: form, ..facts() }, script);
        assert_eq!(played.result, Ok(Pass::Verified));
        assert!(played.questions[0].starts_with(&format!("\n{sign}")), "{}", played.questions[0]);
        assert!(played.questions[0].ends_with("\ntwostep:login:0123456789\nScan it (then press Enter): "), "{}", played.questions[0]);
    }
}

#[test]
fn where_no_qr_code_is_drawn_its_address_can_be_opened() {
    let qr = Some(Secret::new("https://nas.example/scan#1.0123\x1b[2J".into()));
    let asked = Challenge { prompt: Secret::new("Scan it".into()), qr, number: None, sent_to: None, expires_in: 120 };
    let script = vec![verify(&[QrCode]), Line::Challenge(QrCode, Ok(asked)), types(&[], ""), Line::Wait(Ok(WaitOutcome::Verified))];
    let played = play(Facts { qr: Form::None, ..facts() }, script);
    let expected = "\nhttps://nas.example/scan#1.0123[2J\nOpen this address on your phone, and approve there (then press Enter): ";
    assert_eq!(played.questions, [expected]);
}

#[test]
fn a_recovery_code_is_understood_in_place_of_the_phones_answer() {
    let lines = |outcome| {
        let code = "DFHF-RW84-VC2R-JEVW";
        let asked = [verify(&[LoginApproval, RecoveryCodes]), challenge(LoginApproval, "Approve: 42"), types(&["Approve: 42"], code)];
        asked.into_iter().chain([Line::Answer(RecoveryCodes, code, outcome)])
    };
    ends(lines(Ok(answered(Outcome::Verified))).collect(), Ok(Pass::Verified));
    // What is gone then is the recovery code, not the phone.
    let gone = Err(Failure::Unavailable("not enabled".into()));
    let on = [
        challenge(LoginApproval, "Approve: 42"),
        types(&["Recovery code: not enabled.\nThere is no other way than the Login Approval.\nApprove: 42"], ""),
        Line::Wait(Ok(WaitOutcome::Verified)),
    ];
    ends(lines(gone).chain(on).collect(), Ok(Pass::Verified));
}
