//! The cards of logins, against a carrier that lies and a finger that slips.

use serde_json::{Value, json};

use super::nas::Nas;
use super::webdriver::Browser;
use super::{approval, browser_is_missing, outcome};

/// Keeps what the NAS told last, for a script to tell it otherwise.
const KEEP_TOLD: &str = "
    const real = JSON.parse;
    JSON.parse = (text) => {
        const body = real(text);
        if (body?.requests?.length) window.told = body.requests;
        return body;
    };";

#[test]
fn the_number_on_the_screen_is_the_one_that_is_signed() {
    if browser_is_missing() {
        return;
    }
    let nas = Nas::start("compare");
    let (phone, _) = approval(&nas);
    phone.run(KEEP_TOLD, &[]);
    let mut service = nas.service();
    let (login, challenge) = nas.login(&mut service, "login_approval");
    assert_eq!(json!(phone.text("number")), challenge["number"]);
    let other = if challenge["number"] == "42" { "43" } else { "42" };
    let tell = "
        const { take } = await import('/assets/home.js');
        const { loadAccounts } = await import('/assets/store.js');
        const [account] = await loadAccounts();
        take(account, { requests: told.map((request) => ({ ...request, number: arguments[0] })) });";
    in_page(&phone, tell, &[json!(other)]);
    assert_eq!(json!(phone.text("number")), challenge["number"], "the card stays as it is");
    phone.tap("approve");
    phone.see("outcome");
    assert_eq!(outcome(&mut service, &login), "verified");
}

/// Runs a script that may await.
#[track_caller]
fn in_page(phone: &Browser, script: &str, arguments: &[Value]) -> Value {
    phone.run(&format!("return (async function () {{ {script} }})(...arguments)"), arguments)
}
