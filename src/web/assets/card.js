/**
 * One login that waits, as a card.
 *
 *   open ──Deny, Approve──► answered
 *   open (online code) ──Show code──► code shown ──used, ran out──► over
 *   open ──ran out, replaced, answered elsewhere──► over
 */

import { decide, onlineCode } from './api.js';
import { left, nasTime, now } from './clock.js';
import { button, facts, figures, h, icon, ring } from './dom.js';
import { digits } from './protocol.js';
import { announce } from './screen.js';
import { explain, spelt, t } from './strings.js';

/** A card that has just moved must not catch the tap meant for what was there before. In milliseconds. */
const SETTLE = 800;

const words = t.request;

export class Card {
  /**
   * `account` is the paired account that the request came to; `closed(card)` is called when the user has seen the end, `changed()` when
   * the card has become another size.
   */
  constructor(account, request, { closed, changed }) {
    Object.assign(this, { account, request, closed, changed, state: 'open', asking: false });
    this.deadline = now() + request.expires_in * 1000;
    this.whole = request.expires_in;
    this.ring = ring();
    this.age = h('span', {});
    this.error = h('p', { class: 'error', role: 'alert', test: 'card-error' });
    this.title = h('h2', { tabindex: -1 }, words.titles[request.method] ?? words.otherTitle);
    this.element = h('article', { class: 'card', test: 'request', 'data-method': request.method, 'aria-label': words.about(request) });
    this.middle = this.question();
    this.buttons = this.choices();
    this.element.append(
      h('header', {}, this.title, this.ring.element),
      this.middle, this.details(), this.error, h('div', { class: 'actions' }, this.buttons),
    );
    this.settle();
    this.tick();
  }

  /** Something has moved on the screen: no tap counts for a moment. The focus stays. */
  settle() {
    clearTimeout(this.settling);
    this.held = this.buttons.find((one) => one === document.activeElement) ?? this.held;
    this.settling = setTimeout(() => {
      this.settling = undefined;
      this.enable();
      if (document.activeElement === document.body) this.held?.focus();
      this.held = undefined;
    }, SETTLE);
    this.enable();
  }

  enable() {
    for (const one of this.buttons) one.disabled = this.asking || this.settling !== undefined;
  }

  question() {
    const { method, number } = this.request;
    if (method !== 'login_approval') return h('div', { hidden: true });
    if (number) return h('div', { class: 'middle' }, h('p', {}, words.compare), figures('number', number));
    this.input = h('input', {
      class: 'big', inputmode: 'numeric', autocomplete: 'off', maxlength: 4, test: 'number-input',
      onkeydown: (event) => event.key === 'Enter' && this.buttons.at(-1).click(),
    });
    return h('label', { class: 'middle' }, h('span', {}, words.type), this.input);
  }

  details() {
    const { service, service_claimed: claimed, remote, account, host } = this.request;
    const named = [h('b', { test: 'service' }, service)];
    if (claimed) named.push(' ', h('span', { class: 'badge', test: 'claimed' }, words.claimed), h('p', { class: 'small' }, words.claimedWhy));
    return facts(
      [words.service, named],
      [words.remote, h('span', { test: 'remote' }, remote ?? words.here)],
      [words.account, h('span', { test: 'account' }, account)],
      [words.host, host],
      [words.age, this.age],
    );
  }

  choices() {
    const about = words.about(this.request);
    const deny = button('deny', words.deny, () => this.answer(false), { test: 'deny', picture: 'deny', about });
    if (this.request.method === 'online_code') return [deny, button('primary', words.showCode, () => this.showCode(), { test: 'show-code', about })];
    return [deny, button('primary', words.approve, () => this.answer(true), { test: 'approve', picture: 'approve', about })];
  }

  /** The NAS told of the same request again. */
  update(request) {
    if (this.state !== 'open' && this.state !== 'code') return;
    // What the user compares stays what is signed, whatever a carrier tells later.
    this.request.nonce = request.nonce;
    if (this.state === 'open') this.deadline = now() + request.expires_in * 1000;
  }

  tick() {
    if (this.state !== 'open' && this.state !== 'code') return;
    const seconds = left(this.deadline);
    this.ring.set(seconds, this.whole, words.left(seconds));
    this.age.textContent = words.ago(Math.max(0, Math.round(nasTime() - this.request.requested_at)));
    if (seconds === 0 && !this.asking) this.end('expired', 'plain');
  }

  async answer(approve) {
    if (this.asking) return;
    const typed = approve && this.input ? digits(this.input.value) : this.request.number;
    if (approve && this.input && !/^\d{2}$/.test(typed)) {
      this.error.textContent = words.typeMissing;
      this.input.focus();
      return;
    }
    await this.ask(async () => {
      const { outcome } = await decide(this.account.authenticator, this.request, approve, approve ? typed : undefined);
      if (outcome === 'accepted') this.end(approve ? 'approved' : 'denied', approve ? 'good' : 'plain');
      else this.end(outcome, 'bad');
    });
  }

  async showCode() {
    await this.ask(async () => {
      const { code, expires_in: lifetime } = await onlineCode(this.account.authenticator, this.request);
      this.state = 'code';
      this.deadline = now() + lifetime * 1000;
      this.whole = lifetime;
      const shown = h('div', { class: 'middle', tabindex: -1, role: 'group', 'aria-label': `${words.code}: ${spelt(code)}` },
        h('p', {}, words.code), figures('code', code));
      this.middle.replaceWith(shown);
      this.buttons.pop().remove();
      shown.focus();
      this.tick();
      this.changed();
    });
  }

  async ask(work) {
    this.error.textContent = '';
    this.asking = true;
    const held = this.buttons.find((one) => one === document.activeElement);
    this.enable();
    try {
      await work();
    } catch (error) {
      if (error.kind === 'NoSuchRequest') this.end(left(this.deadline) === 0 ? 'expired' : 'over', 'plain');
      else this.error.textContent = `${explain(error)}${error.kind === 'Unreachable' ? ` ${t.errors.uncertain}` : ''}`;
    } finally {
      this.asking = false;
      this.enable();
      if (document.activeElement === document.body) held?.focus();
    }
  }

  /** It stands no longer in what the NAS tells: why? */
  gone(newer) {
    if (this.asking || this.state === 'over') return;
    if (newer) this.end('superseded', 'plain');
    else if (left(this.deadline) === 0) this.end('expired', 'plain');
    else this.end(this.state === 'code' ? 'codeOver' : 'over', 'plain');
  }

  end(name, tone) {
    if (this.state === 'over') return;
    // Who answers here loses the focus with the button; Safari gives a tapped one none.
    const { activeElement, body } = document, focused = activeElement === body ? this.asking : this.element.contains(activeElement);
    this.state = 'over';
    const [title, text] = words[name];
    this.title.textContent = title;
    this.element.className = `card over ${tone}`;
    this.element.dataset.outcome = name;
    this.element.setAttribute('aria-label', title);
    this.element.replaceChildren(
      h('header', {}, icon(tone === 'good' ? 'approve' : tone === 'bad' ? 'warn' : 'info'), this.title),
      h('p', { test: 'outcome' }, text),
      h('p', { class: 'small' }, `${this.request.service} · ${t.home.account(this.request.account, this.request.host)}`),
      button('plain', t.close, () => this.closed(this), { test: 'close' }),
    );
    if (focused) this.title.focus();
    // What has the focus is read by itself.
    announce(focused ? text : `${title}. ${text}`);
    this.changed();
  }
}
