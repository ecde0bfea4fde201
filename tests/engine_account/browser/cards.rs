//! The cards of logins, against a carrier that lies and a finger that slips.

use serde_json::{Value, json};

use super::nas::Nas;
use super::webdriver::Browser;
use super::{approval, outcome, scene};

/// Keeps what the NAS told last, for a script to tell it otherwise.
const KEEP_TOLD: &str = "
    const real = JSON.parse;
    JSON.parse = (text) => {
        const body = real(text);
        if (body?.told?.requests.length) window.told = body.told.requests;
        return body;
    };";

#[test]
fn the_number_on_the_screen_is_the_one_that_is_signed() {
    let Some((nas, phone)) = scene("compare") else { return };
    approval(&nas, &phone);
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

/// Tells of a login of somebody's, as a carrier would: `tell(account, ...logins)`.
const TELL: &str = "
    const { take } = await import('/assets/home.js');
    window.tell = (account, ...logins) => take({ authenticator: account, account, host: 'nas', wasKnown: true }, { requests: logins.map((login) => ({
        login, account, method: 'login_approval', service: 'sshd', host: 'nas', nonce: 'n', requested_at: Date.now() / 1000, expires_in: 100,
    })) });
    window.all = (id) => [...document.querySelectorAll(`[data-testid=${id}]`)];
    window.rest = () => all('approve').every((one) => one.disabled) && all('deny').every((one) => one.disabled);";

const ALL_ENABLED: &str = "all('approve').length > 0 && [...all('approve'), ...all('deny')].every((one) => !one.disabled)";

#[test]
fn no_button_catches_a_tap_while_the_cards_move() {
    let Some((_nas, phone)) = opened() else { return };
    in_page(&phone, TELL, &[]);
    let rests_after = |script: &str| {
        assert_eq!(in_page(&phone, &format!("{script}; return rest()"), &[]), true, "after {script}");
        phone.until(ALL_ENABLED);
    };
    rests_after("tell('alice', '1')");
    in_page(&phone, "all('deny')[0].focus()", &[]);
    rests_after("tell('bob', '2')");
    phone.until("document.activeElement === all('deny')[0]");
    rests_after("tell('alice')");
    rests_after("all('close')[0].click()");
    phone.tap("scan");
    phone.see("back");
    rests_after("document.querySelector('[data-testid=back]').click()");
}

#[test]
fn whoever_is_at_a_card_or_an_account_is_not_lost_when_it_is_replaced() {
    let Some((nas, phone)) = scene("compare") else { return };
    approval(&nas, &phone);
    in_page(&phone, TELL, &[]);
    let at = |what: &str| format!("document.activeElement === {what}");
    in_page(&phone, "tell('alice', '1'); all('number-input')[0].focus(); tell('alice')", &[]);
    phone.until(&at("all('request')[0].querySelector('h2')"));
    assert_eq!(in_page(&phone, "tell('alice', '2'); return all('request').length", &[]), 1);
    phone.until(&at("all('request')[0].querySelector('h2')"));
    // The account's row says that it is no longer paired.
    let revoke = "
        const { take } = await import('/assets/home.js');
        const { loadAccounts } = await import('/assets/store.js');
        const [account] = await loadAccounts();
        all('account-row')[0].focus();
        take({ ...account, wasKnown: true }, { error: 'NoSuchAuthenticator' });";
    in_page(&phone, revoke, &[]);
    phone.until(&at("all('account-row')[0]"));
    phone.until("all('account-row')[0].innerText.includes('No longer paired')");
    // It stands in another place of the list.
    let move_down = "
        const { setAccounts } = await import('/assets/home.js');
        const { loadAccounts } = await import('/assets/store.js');
        const [account] = await loadAccounts(), other = { ...account, authenticator: 'other', account: 'bob' };
        setAccounts([account, other]);
        all('account-row')[0].focus();
        setAccounts([other, account]);
        return document.activeElement.innerText.includes('alice');";
    assert_eq!(in_page(&phone, move_down, &[]), true);
}

/// Answers with what is tapped, while nothing arrives at the NAS: the page says so, and the focus is where it was.
#[track_caller]
fn stays_at(phone: &Browser, id: &str) {
    let tap = "
        const real = fetch, one = document.querySelector(`[data-testid=${arguments[0]}]`);
        window.fetch = async () => {
            await new Promise((resolve) => setTimeout(resolve, 200));
            window.fetch = real;
            throw new TypeError('away');
        };
        one.focus();
        one.click();";
    phone.see_enabled(id);
    in_page(phone, tap, &[json!(id)]);
    phone.until(&format!(
        "document.querySelector('[role=alert]:not(:empty)').innerText.startsWith('The NAS gave no answer') && document.activeElement.dataset.testid === '{id}'"
    ));
}

#[test]
fn an_answer_that_is_lost_leaves_who_gave_it_at_its_button() {
    let Some((nas, phone)) = scene("compare") else { return };
    nas.set_up("login_approval", |_, _, uri| {
        phone.open(uri);
        stays_at(&phone, "pair");
        phone.tap("pair");
        phone.tap("approve");
        phone.tap("done");
    });
    nas.login(&mut nas.service(), "login_approval");
    stays_at(&phone, "deny");
}

#[test]
fn a_typed_number_is_sent_once_and_not_before_the_card_rests() {
    let Some((_nas, phone)) = opened() else { return };
    in_page(&phone, TELL, &[]);
    let type_it = "
        window.asked = [];
        window.fetch = (url) => { asked.push(url); return new Promise(() => {}); };
        window.enter = () => all('number-input')[0].dispatchEvent(new KeyboardEvent('keydown', { key: 'Enter' }));
        tell('alice', '1');
        all('number-input')[0].value = '42';
        enter();
        await new Promise((resolve) => setTimeout(resolve, 300));
        return asked;";
    assert_eq!(in_page(&phone, type_it, &[]), json!([]), "it came under the finger just now");
    phone.until(ALL_ENABLED);
    in_page(&phone, "enter(); enter();", &[]);
    phone.until("asked.length > 0");
    assert_eq!(in_page(&phone, "await new Promise((resolve) => setTimeout(resolve, 300)); return asked", &[]), json!(["/api/Decide"]));
}

#[test]
fn each_of_many_accounts_hears_of_its_login_at_once_and_two_windows_leave_connections_for_calls() {
    let Some((_nas, phone)) = opened() else { return };
    let listen = "
        const { listen } = await import('/assets/live.js');
        let open = 0;
        window.fetch = async (url, { signal }) => {
            if (url.endsWith('Nonce')) return Response.json({ nonce: 'n' });
            open += 1;
            signal.addEventListener('abort', () => { open -= 1; });
            return new Response(new ReadableStream({ start: (stream) => { pipe = stream; } }));
        };
        let pipe, heard;
        const send = (authenticator, login) => new Promise((resolve) => {
            heard = (account, { requests }) => account.authenticator === authenticator && resolve(requests.length);
            const told = { authenticator, told: { requests: login ? [{ login }] : [] } };
            pipe.enqueue(new TextEncoder().encode(`data: ${JSON.stringify(told)}\\n\\n`));
        });
        const names = ['a', 'b', 'c', 'd', 'e'], counts = [];
        listen(names.map((authenticator) => ({ authenticator, wasKnown: true })), (...told) => heard(...told));
        while (!pipe) await new Promise((resolve) => setTimeout(resolve, 10));
        for (const name of names) await send(name);
        for (const name of names) counts.push(await send(name, `of ${name}`));
        return [open, ...counts];";
    let told = in_page(&phone, listen, &[]);
    let [open, counts @ ..] = &told.as_array().unwrap()[..] else { panic!("nothing is told") };
    assert_eq!(counts, [1; 5].map(|count| json!(count)));
    assert!(2 * open.as_u64().unwrap() + 2 <= 6, "{open} streams a window, of the six connections that HTTP/1.1 has");
}

/// A phone without accounts, whose page has looked for them; and its NAS.
#[track_caller]
fn opened() -> Option<(Nas, Browser)> {
    let (nas, phone) = scene("compare")?;
    // What it was opened for comes last: here a link that is cut short.
    phone.open(&format!("{}/scan#1.short", nas.address));
    phone.tap("done");
    phone.see("scan");
    Some((nas, phone))
}

/// Runs a script that may await.
#[track_caller]
fn in_page(phone: &Browser, script: &str, arguments: &[Value]) -> Value {
    phone.run(&format!("return (async function () {{ {script} }})(...arguments)"), arguments)
}
