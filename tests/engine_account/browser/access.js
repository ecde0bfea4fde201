// What is wrong with the screen that the page shows, for somebody who sees little, zooms, uses a keyboard or has it read aloud: a list of sentences.

const faults = [], seen = (one) => one.checkVisibility({ opacityProperty: true, visibilityProperty: true }) && !one.closest('.unseen, .hidden-file');
const say = (what, one) => faults.push(`${what}: <${one.tagName.toLowerCase()} class="${one.className.baseVal ?? one.className}"> ${one.textContent.trim().slice(0, 40)}`);
const parts = (color) => { const [r, g, b, a = 1] = color.match(/[\d.]+/g).map(Number); return { rgb: [r, g, b], a }; };
const over = (top, below) => top.rgb.map((value, n) => value * top.a + below[n] * (1 - top.a));
const ground = (one) => {
    if (!one) return [255, 255, 255];
    const own = parts(getComputedStyle(one).backgroundColor);
    return own.a === 1 ? own.rgb : over(own, ground(one.parentElement));
};
const light = (rgb) => rgb.map((value) => value / 255).map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4))
    .reduce((sum, value, n) => sum + value * [0.2126, 0.7152, 0.0722][n], 0);
const contrast = (one, color, behind = ground(one)) => {
    const [a, b] = [light(over(parts(color), behind)), light(behind)].sort((x, y) => y - x);
    return (a + 0.05) / (b + 0.05);
};
const controls = [...document.querySelectorAll('button, a, input, summary, select, textarea, label.button')].filter(seen);
for (const one of controls) {
    const name = one.getAttribute('aria-label') || [...(one.labels ?? [])].map((label) => label.textContent).join(' ') || one.textContent;
    if (!name.trim()) say('no name', one);
    const { width, height } = one.getBoundingClientRect();
    if (Math.round(width) < 44 || Math.round(height) < 44) say(`only ${Math.round(width)} x ${Math.round(height)}`, one);
    if (one.tabIndex > 0) say('out of order', one);
    if (one.matches('input') && contrast(one.parentElement, getComputedStyle(one).borderTopColor) < 3) say('a pale border', one);
}
const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
for (let text = texts.nextNode(); text; text = texts.nextNode()) {
    const one = text.parentElement;
    if (!text.textContent.trim() || !seen(one) || one.closest(':disabled, script, noscript')) continue;
    const ratio = contrast(one, getComputedStyle(one).color);
    if (ratio < 4.5) say(`contrast ${ratio.toFixed(2)}`, one);
}
for (const one of document.body.querySelectorAll('*')) {
    const { left, right, width } = one.getBoundingClientRect();
    if (seen(one) && width > 0 && (right > innerWidth + 1 || left < -1) && !one.closest('.finder')) say(`past the edge, to ${Math.round(right)} of ${innerWidth}`, one);
}
if (document.documentElement.scrollWidth > innerWidth) faults.push(`scrolls sideways, ${document.documentElement.scrollWidth} of ${innerWidth}`);
if ([...document.querySelectorAll('h1')].filter(seen).length !== 1) faults.push('not one h1');
if (!document.documentElement.lang) faults.push('no language');
if (!document.title.includes(' · ')) faults.push(`no title of its own: ${document.title}`);
const ids = [...document.querySelectorAll('[id]')].map(({ id }) => id);
if (new Set(ids).size < ids.length) faults.push('an id stands twice');
if (matchMedia('(prefers-reduced-motion)').matches && document.getAnimations().length) faults.push('it moves');
return faults;
