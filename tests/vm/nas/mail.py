"""A mail server on the NAS itself."""

from .installation import configure

CONFIG = '\n[mail]\nhost = "localhost"\nport = 2525\nsecurity = "none"\nfrom = "nas@nas.test"\n'

# Takes every mail and shows its text.
SCRIPT = r"""
use strict; use IO::Socket::INET;
my $server = IO::Socket::INET->new(LocalAddr => "127.0.0.1:2525", Listen => 8, ReuseAddr => 1) or die "$!";
syswrite STDOUT, "ready\n";
while (my $client = $server->accept) {
    my $text = 0;
    print $client "220 nas\r\n";
    while (<$client>) {
        s/\r?\n$//;
        if ($text && $_ ne ".") { syswrite STDOUT, "$_\n" }
        elsif (/^QUIT/i) { last }
        else { $text = /^DATA/i; print $client $text ? "354 go on\r\n" : "250 nas\r\n" }
    }
}
"""


class MailServer:
    """Started, and codes go by it."""

    def __init__(self, machine):
        machine.push(SCRIPT, "/run/mail.pl")
        self._server = machine.start("exec perl /run/mail.pl")
        self._server.line_like("ready")
        configure(machine, CONFIG)

    def code(self):
        """The code in the next mail."""
        return self._server.line_like(r"^ {4}\d+$").strip()

    def end(self):
        """Mail is dead."""
        self._server.kill()
        self._server.wait()
