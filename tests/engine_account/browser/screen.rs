//! What only the tests of the page itself look at.

use serde_json::{Value, json};

use super::webdriver::Browser;

impl Browser {
    pub fn url(&self) -> String {
        self.request("GET", "url", None).as_str().unwrap().to_owned()
    }

    pub fn is_chromium(&self) -> bool {
        self.run("return 'userAgentData' in navigator", &[]).as_bool().unwrap()
    }

    pub fn is_firefox(&self) -> bool {
        self.run("return navigator.userAgent.includes('Firefox')", &[]).as_bool().unwrap()
    }

    /// Waits until nothing with this test id is to be seen.
    #[track_caller]
    pub fn see_no(&self, id: &str) {
        self.until(&format!("!document.querySelector('[data-testid=\"{id}\"]')?.checkVisibility()"));
    }

    /// Waits until the NAS has answered: from then on nothing moves by itself. WebKit taps where a button was when it was asked to.
    #[track_caller]
    pub fn see_connected(&self) {
        self.until("document.querySelector('[data-testid=status]')?.dataset.tone === 'good'");
    }

    /// Waits until the page says this anywhere.
    #[track_caller]
    pub fn read(&self, text: &str) {
        self.until(&format!("document.body.innerText.includes({})", json!(text)));
    }

    /// A picture of the screen, as PNG in base64.
    pub fn picture(&self) -> String {
        self.request("GET", "screenshot", None).as_str().unwrap().to_owned()
    }

    /// The dark theme, or the light one.
    pub fn dark(&self, dark: bool) {
        let scheme = json!({ "name": "prefers-color-scheme", "value": if dark { "dark" } else { "light" } });
        self.devtools("Emulation.setEmulatedMedia", &json!({ "features": [scheme] }));
    }

    /// A command of Chromium's DevTools protocol.
    pub fn devtools(&self, command: &str, parameters: &Value) -> Value {
        self.request("POST", "goog/cdp/execute", Some(&json!({ "cmd": command, "params": parameters })))
    }
}
