/** Every word the page says, in English. A translation is another module like this one. */

const plural = (count, one, many) => (count === 1 ? one : many);

/** Read aloud one by one, not as thousands. */
export const spelt = (figures) => figures.split('').join(' ');

export function duration(seconds) {
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.round(seconds / 3600);
  return hours < 48 ? `${hours} h` : `${Math.round(hours / 24)} days`;
}

export const date = (time) => new Intl.DateTimeFormat(undefined, { dateStyle: 'long' }).format(time);

export const t = {
  app: 'twostep',
  back: 'Back',
  cancel: 'Cancel',
  close: 'OK',
  retry: 'Try again',
  done: 'Done',

  home: {
    screen: 'Logins',
    title: (open) => (open ? `${open} ${plural(open, 'login waits', 'logins wait')}` : 'No login waits'),
    away: 'Not connected',
    looking: 'Looking for logins',
    idle: 'A login that asks for this phone appears here while this page is open.',
    scan: 'Scan a QR code',
    accounts: 'Accounts',
    account: (account, host) => `${account} on ${host}`,
    revoked: 'No longer paired',
    provisional: 'Finish the setup on the NAS',
    install: 'Install on this phone',
    emptyTitle: 'Pair this phone',
    empty: 'No account is paired with this phone yet. Begin on the NAS, in a terminal or in its settings; it shows a QR code.',
    emptyCommand: 'twostep setup --method login-approval',
    emptyScan: 'Then scan that code here, or with the phone’s camera.',
    emptyIos: 'Paired already? An app on the home screen keeps its accounts apart from the browser: open twostep there.',
  },

  status: {
    connecting: 'Connecting …',
    connected: 'Connected',
    Offline: 'This phone has no network. Trying again as soon as it has.',
    Unreachable: 'The NAS does not answer. Is this phone in its network, or connected to its VPN? Trying again.',
    Unavailable: 'The NAS answers, but its verification service does not. Trying again; until then, use another way to log in.',
    TooMany: 'Too many calls from this network. Trying again in a while.',
    Odd: 'What answers is not twostep on the NAS. Is this network asking for a login of its own? Trying again.',
    InvalidProof: 'The NAS does not accept this phone’s signature. If it stays so, unpair the account here and pair it anew.',
    StorageFailed: 'The NAS cannot read its database. An administrator has to look; until then, use another way to log in.',
    PermissionDenied: 'The NAS’s web service is not allowed to speak for phones. An administrator has to grant it “authenticator”.',
    clock: (ahead) => `This phone’s clock is ${duration(Math.abs(ahead))} ${ahead > 0 ? 'ahead of' : 'behind'} the NAS’s. Countdowns here stay right, but codes from an authenticator app may be refused. Set both clocks to automatic.`,
    revoked: (account, host) => `${account} on ${host} no longer knows this phone: it was removed there, or its setup was not finished. Pair it anew on the NAS, or tap the account to forget it.`,
    provisional: (account, host) => `${account} on ${host} does not know this phone yet: finish the setup there.`,
  },

  request: {
    titles: { qr_code: 'Let this login in?', login_approval: 'Is this your login?', online_code: 'Code for a login' },
    otherTitle: 'A login waits',
    about: ({ account, service, remote, number }) => `${account} into ${service}${remote ? ` from ${remote}` : ''}.${number ? ` Number ${spelt(number)}.` : ''}`,
    announce: (about) => `New login request: ${about}`,
    service: 'Service',
    claimed: 'claimed',
    claimedWhy: 'The program that asks gave this name itself; the NAS cannot check it.',
    remote: 'From',
    here: 'the NAS itself, or unknown',
    account: 'Account',
    host: 'NAS',
    age: 'Asked',
    ago: (seconds) => (seconds < 5 ? 'just now' : `${duration(seconds)} ago`),
    left: (seconds) => `${seconds} ${plural(seconds, 'second', 'seconds')} left`,
    compare: 'The login must show this number',
    type: 'Type the number that the login shows',
    typeMissing: 'Type the two digits that the login shows.',
    code: 'Type this code at the login',
    deny: 'Deny',
    approve: 'Approve',
    showCode: 'Show code',
    approved: ['Approved', 'The login goes on by itself.'],
    denied: ['Denied', 'This login is not let in. If you did not begin it, somebody knows the password: change it.'],
    wrong_number: ['Wrong number', 'The request is void and nobody was let in. Begin the login anew.'],
    expired: ['Too late', 'The request ran out and nobody was let in. Begin the login anew.'],
    locked: ['Account locked', 'After too many wrong answers the NAS takes no second step for this account. Ask an administrator to unlock it.'],
    superseded: ['Replaced', 'A newer login of this account took its place. Only the newest can be approved.'],
    over: ['Over', 'This login was answered elsewhere, given up, or replaced by a newer one.'],
    codeOver: ['Over', 'The code was used, or the login was given up.'],
  },

  pair: {
    title: 'Pair this phone',
    with: (host) => `It will answer for logins to ${host}.`,
    name: 'Name of this phone',
    nameWhy: 'So that you know it again in the list on the NAS.',
    nameMissing: 'Give this phone a name.',
    nameLong: 'This name is too long. It may have 64 plain letters; an accent or a picture counts as several.',
    submit: 'Pair',
    certificate: 'Did the browser warn of the certificate?',
    certificateWhy: 'Then nobody but you can tell whether this is your NAS. Open the certificate’s details (in the address bar), and compare its SHA-256 fingerprint with the one that “sudo twostep-web --fingerprint” tells on the NAS. If they differ, close this page.',
    untrusted: 'This browser does not trust the NAS’s certificate. Before you pair, compare its SHA-256 fingerprint (in the address bar, under certificate) with the one that “sudo twostep-web --fingerprint” tells on the NAS. If they differ, close this page.',
    account: 'Account',
    host: 'NAS',
    compareTitle: 'Compare the number',
    compare: 'The NAS must show this number',
    compareWhy: 'It comes from this phone’s key. Another number there means that another phone was paired in its place.',
    typeTitle: 'Type the number',
    type: 'Type the number that the NAS shows',
    typeMissing: 'Type the four digits that the NAS shows.',
    typeWrong: 'This phone has another number. Look once more; if the NAS does show this one, tap Deny: another phone was paired in this one’s place.',
    codeTitle: 'Type the code',
    code: 'Type this code on the NAS',
    codeWhy: 'It serves once, until the setup there ends.',
    doneTitle: 'Paired',
    done: (account, host) => `This phone is paired with ${account} on ${host}.`,
    finish: 'Now finish the setup on the NAS. Nothing changes until then.',
    differTitle: 'Stop: the numbers differ',
    differ: 'Between this phone and the NAS somebody changed the key. Nothing was paired. Check the certificate’s fingerprint and the network, then begin anew on the NAS.',
    denied: ['Not paired', 'You denied the pairing. Begin anew on the NAS for another attempt.'],
    wrong_number: ['Wrong number', 'The pairing is void. Begin it anew on the NAS.'],
    expired: ['Too late', 'The pairing ran out. Begin it anew on the NAS.'],
    failedTitle: 'Not paired',
  },

  ios: {
    title: 'First, put twostep on your home screen',
    why: 'On iPhone and iPad the browser forgets a page’s keys after a week without a visit. An app on the home screen keeps them.',
    steps: ['Tap Share, in the browser’s bar or its menu.', 'Choose “Add to Home Screen”.', 'Open twostep there, tap “Scan a QR code”, and scan the same code again.'],
    apart: 'The code is still unused. The app has storage of its own; what you pair here stays here.',
    anyway: 'Pair in this browser all the same',
  },

  insecure: {
    title: 'No keys on this page',
    http: 'This page was opened without encryption (http). A browser gives keys and camera to secure pages alone. Open it with https:',
    browser: 'This browser gives the page no keys (WebCrypto) or no storage (IndexedDB). Use a current Safari, Chrome or Firefox, outside a private window.',
    storage: 'This browser keeps nothing for this page, as in a private window. Open the page in a normal window, and allow it to keep data.',
  },

  scan: {
    title: 'Scan a QR code',
    hint: 'Point the camera at the code on the login screen, or at the code of a pairing.',
    starting: 'Starting the camera …',
    picture: 'Take or choose a picture',
    pictureNone: 'No QR code was found in that picture. Go closer, and hold still.',
    text: 'Enter the text instead',
    textLabel: 'The link that stands beside the QR code',
    textGo: 'Open',
    denied: 'This page may not use the camera. Allow it in the browser’s settings for this site (on iOS: Settings, Apps, Safari, Camera), or take a picture instead.',
    none: 'There is no camera here. Take or choose a picture of the code, or enter its text.',
    broken: 'The camera gives no picture; another app may be using it. Close that and try again, or take a picture instead.',
    foreign: 'This QR code is none of twostep’s. Point the camera at the one on the login screen, or in the setup.',
    unreadable: ['Not a whole link', 'The link with which this page was opened is cut short, or none of twostep’s. Scan the QR code once more.'],
    otherTitle: 'Another NAS',
    other: 'This code belongs to another NAS, and each has a page of its own.',
    otherOpen: (host) => `Open ${host}`,
    otherWhy: 'Go on only if you know this address.',
    looking: 'Asking the NAS …',
    nobodyTitle: 'Not paired here',
    nobody: 'No account is paired with this phone in this browser. Pair it first. If twostep is on your home screen, open it there and scan from within.',
    failedTitle: 'Not this login',
    failed: 'The QR code is over, was used already, or belongs to an account that is not paired here. Show a new one at the login.',
  },

  account: {
    phone: 'Phone',
    host: 'NAS',
    address: 'Address',
    since: 'Paired',
    unpair: 'Unpair',
    confirmTitle: (account) => `Unpair ${account}?`,
    confirm: (account, host) => `Logins of ${account} on ${host} can no longer be answered here. Make sure that you have another way in: an authenticator app or recovery codes.`,
    unpaired: 'Unpaired.',
    revoked: 'This account no longer knows this phone: the phone was removed on the NAS, or its setup was not finished. Pair it anew there, or forget it here.',
    forget: 'Forget it here',
    forgetWhy: 'The NAS still knows this phone then. Remove it there too: “twostep devices”.',
    refused: 'The NAS refuses: perhaps this phone is the last way in. Set up another first.',
  },

  errors: {
    Offline: 'This phone has no network.',
    Unreachable: 'The NAS gave no answer. Is this phone in its network, or connected to its VPN?',
    Unavailable: 'The NAS answers, but its verification service does not. Try again in a minute.',
    TooMany: 'Too many calls from this network. Wait a minute, then try again.',
    Odd: 'What answered is not twostep on the NAS. Is this network asking for a login of its own?',
    PermissionDenied: 'The NAS does not allow it.',
    NoSuchAuthenticator: 'The NAS no longer knows this phone. Pair it anew.',
    NoSuchPairing: 'The QR code is over, or a phone used it already. Show a new one on the NAS.',
    NoSuchRequest: 'This login is over: it ran out, was answered elsewhere, or given up.',
    InvalidProof: 'The NAS does not accept what this phone signed. Begin anew; if it stays so, pair the phone anew.',
    InvalidKey: 'The NAS does not accept this browser’s key. Use a current Safari, Chrome or Firefox.',
    StorageFailed: 'The NAS cannot write its database. An administrator has to look.',
    uncertain: 'Whether the answer arrived is not known: look at the login, or try again.',
    other: 'Something went wrong on this page. Reload it and try again.',
  },
};

/** A sentence for whatever was thrown. */
export const explain = (error) => t.errors[error.kind] ?? t.errors.other;
