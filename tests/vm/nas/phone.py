"""A phone: headless Chromium, driven through chromedriver (W3C WebDriver, with Chromium's own additions) over loopback.

What has to be waited for is waited for inside the page, by an observer of its changes.
"""

import base64
import contextlib
import hashlib
import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import threading

from . import camera
from .machine import PATIENCE, Failure, expect

# The member that names an element in the protocol.
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"

# Ends once the expression is true in the page. It stands in the script itself, since the page's policy forbids making code of a text.
WAIT = """
    const done = arguments[0];
    const holds = () => { try { return EXPRESSION; } catch { return false; } };
    if (holds()) return done(true);
    const observer = new MutationObserver(() => { if (holds()) { observer.disconnect(); done(true); } });
    observer.observe(document, { subtree: true, childList: true, attributes: true, characterData: true });"""


def expect_browser():
    """Fails the scenario where there is no browser to play the phone."""
    missing = [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]
    expect(not missing, f"NO PHONE: {' and '.join(missing)} missing, do: apt-get install --no-install-recommends chromium chromium-driver")


class Phone:
    """Use as a context manager. Its browser knows one name, with its port, and reaches the machine by it."""

    def __init__(self, machine, place):
        self.folder = machine.folder / "phone"
        self.folder.mkdir()
        self._port = machine.forward(int(place.rpartition(":")[2]))
        self._rules = f"MAP {place} 127.0.0.1:{self._port}, MAP * ~NOTFOUND"
        camera.film(self._film)
        self._session = None
        self._driver, self._driver_port = self._start_driver()

    @property
    def _film(self):
        return self.folder / "camera.y4m"

    def _start_driver(self):
        """chromedriver, and the port that it listens on. It takes a free port of IPv4, and ends where the same of IPv6 is not free."""
        for _ in range(5):
            driver = subprocess.Popen(["chromedriver", "--port=0"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                                      text=True, start_new_session=True)
            for line in driver.stdout:
                if found := re.search(r"successfully on port (\d+)", line):
                    # Nobody else reads what it says; a full pipe would stop it.
                    threading.Thread(target=driver.stdout.read, daemon=True).start()
                    return driver, int(found[1])
            driver.wait()
        raise Failure("chromedriver ends at once")

    def __enter__(self):
        arguments = ["--headless=new", "--disable-dev-shm-usage", "--no-proxy-server", f"--host-resolver-rules={self._rules}",
                     f"--user-data-dir={self.folder}/profile", "--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream",
                     f"--use-file-for-fake-video-capture={self._film}"]
        if os.getuid() == 0:
            arguments.append("--no-sandbox")  # Chromium's own refuses root
        metrics = {"width": 390, "height": 844, "pixelRatio": 2.0, "touch": True, "mobile": True}
        wanted = {"browserName": "chrome", "timeouts": {"script": int(PATIENCE * 1000), "pageLoad": int(PATIENCE * 1000)},
                  "goog:chromeOptions": {"args": arguments, "mobileEmulation": {"deviceMetrics": metrics}}}
        try:
            self._session = self._ask("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})["sessionId"]
            self._devtools("Network.enable")  # from now on it keeps the certificates that it is shown
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        if self._session is not None:
            with contextlib.suppress(Failure, OSError):
                self._ask("DELETE", f"/session/{self._session}")  # ends the browser
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._driver.pid, signal.SIGKILL)  # and whatever is left of it
        self._driver.wait()

    def _ask(self, method, path, body=None):
        """One request to chromedriver; its value. An error of its own is a Failure."""
        connection = http.client.HTTPConnection("127.0.0.1", self._driver_port, timeout=PATIENCE * 1.5)
        try:
            connection.request(method, path, json.dumps(body) if body is not None else None, {"Content-Type": "application/json"})
            value = json.loads(connection.getresponse().read())["value"]
        finally:
            connection.close()
        if isinstance(value, dict) and "error" in value:
            raise Failure(f"{method} {path}: {value['error']}: {value['message'].splitlines()[0]}")
        return value

    def _post(self, what, **body):
        return self._ask("POST", f"/session/{self._session}/{what}", body)

    # ---- what a person does ----

    def open(self, url):
        """Opens a page."""
        self._post("url", url=url)

    def open_unsigned(self, url, fingerprint):
        """Opens a page whose certificate nobody has signed: the browser warns, and a person goes on where the certificate has this fingerprint."""
        self.open(url)
        warning = self._run("return document.body.innerText")
        expect("ERR_CERT_AUTHORITY_INVALID" in warning, f"no warning of a certificate that nobody has signed: {warning}")
        self._click("#details-button")
        self._click("#proceed-link")
        self.until(f"location.href.startsWith('{url}')")
        # Chromium tells its driver of a certificate only behind the warning.
        shown = self._certificate(url)
        expect(shown == fingerprint, f"the browser is shown the certificate {shown}, the NAS says {fingerprint}")

    def scan(self, squares):
        """Points the camera at a QR code, and scans it."""
        camera.film(self._film, squares)
        self.tap("scan")

    def tap(self, name):
        """Taps what has this test id, as soon as it can be tapped."""
        self.until(f"document.querySelector('[data-testid=\"{name}\"]:enabled, a[data-testid=\"{name}\"]')?.checkVisibility()")
        self._click(_named(name))

    def write(self, name, text):
        """Types in place of what is there."""
        self.see(name)
        element = self._element(_named(name))
        self._post(f"element/{element}/clear")
        self._post(f"element/{element}/value", text=text)

    # ---- what a person sees ----

    def see(self, name):
        """Waits until what has this test id is to be seen."""
        self.until(f"document.querySelector('{_named(name)}')?.checkVisibility()")

    def text(self, name):
        """The text of what has this test id."""
        self.see(name)
        return self._run(f"return document.querySelector('{_named(name)}').innerText").strip()

    def until(self, expression):
        """Waits until an expression is true in the page."""
        try:
            self._post("execute/async", script=WAIT.replace("EXPRESSION", expression), args=[])
        except Failure as failure:
            raise Failure(f"never true: {expression} ({failure})\nThe page says:\n{self._run('return document.body.innerText')}") from None

    def until_connected(self, connected=True):
        """Waits until the page says that the NAS is there, or that it is not."""
        self.until(f"document.querySelector('{_named('status')}').dataset.tone === '{'good' if connected else 'bad'}'")

    def _certificate(self, url):
        """The fingerprint (SHA-256) of the certificate that the browser was shown there, as people write it."""
        chain = self._devtools("Network.getCertificate", origin=url)["tableNames"]
        return hashlib.sha256(base64.b64decode(chain[0])).digest().hex(":").upper()

    def _run(self, script):
        return self._post("execute/sync", script=script, args=[])

    def _devtools(self, command, **params):
        return self._post("goog/cdp/execute", cmd=command, params=params)

    def _element(self, selector):
        return self._post("element", using="css selector", value=selector)[ELEMENT]

    def _click(self, selector):
        self._post(f"element/{self._element(selector)}/click")


def _named(name):
    return f'[data-testid="{name}"]'
