/** Server-sent events (WHATWG HTML §9.2) out of the pieces of a stream. Ids and retry times are not used here. */

/** Longer lines are no events of ours. In characters. */
const LONGEST = 1 << 20;

/**
 * A function that takes the next piece of text and gives the events that it completes.
 *
 * @returns {(piece: string) => {event: string, data: string}[]}
 * @throws where the stream does not keep to any measure
 */
export function eventParser() {
  let rest = '', event = '', data = [];
  const line = (text) => {
    if (text === '') {
      const done = data.length ? { event: event || 'message', data: data.join('\n') } : null;
      event = '';
      data = [];
      return done;
    }
    const [, field, value] = /^([^:]*):? ?(.*)$/s.exec(text);
    if (field === 'event') event = value;
    if (field === 'data') data.push(value);
    return null;
  };
  return (piece) => {
    rest += piece;
    // A carriage return at the end may be half of a line's end.
    const held = rest.endsWith('\r') ? '\r' : '';
    const lines = rest.slice(0, rest.length - held.length).split(/\r\n|\r|\n/);
    rest = lines.pop() + held;
    if (rest.length > LONGEST) throw new Error('a line without end');
    return lines.map(line).filter(Boolean);
  };
}
