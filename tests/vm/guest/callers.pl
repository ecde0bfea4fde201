#!/usr/bin/perl
# Many clients of twostep's socket at once, for the harness. On standard input, one line for some clients that say the same:
#
#     TAG <tab> COUNT <tab> CALL [<tab> CALL ...]      CALL is JSON; @LOGIN@, @SETUP@ and @DEVICE@ are what the replies before named
#     go
#
# Before `go`, each client connects and, where it has several calls, makes its first one. At `go` all make their next call at the same
# moment, and go on as they are answered. Each reply is one line on standard output as soon as it is there: TAG <tab> NUMBER OF THE CALL <tab>
# REPLY; at the end of a round `done`. A client whose connection ends says `gone` for its reply.
use strict;
use warnings;
use IO::Select;
use IO::Socket::UNIX;

my @clients;

sub ask {
	my ($client) = @_;
	my $call = $client->{calls}[$client->{asked}++];
	$call =~ s/\@(LOGIN|SETUP|DEVICE)\@/$client->{$1} \/\/ ""/ge;
	syswrite $client->{socket}, "$call\0";
}

# Takes what has come; true where the reply is complete, or the connection has ended.
sub hear {
	my ($client) = @_;
	my $read = sysread $client->{socket}, $client->{inbox}, 65536, length $client->{inbox};
	my $reply = "gone";
	if ($read) {
		my $end = index $client->{inbox}, "\0";
		return 0 if $end < 0;
		$reply = substr $client->{inbox}, 0, $end, "";
		$client->{inbox} = "";
	}
	$client->{LOGIN} = $1 if $reply =~ /"login":"([^"]+)"/;
	$client->{SETUP} = $1 if $reply =~ /"setup":"([^"]+)"/;
	$client->{DEVICE} = $1 if $reply =~ /"trusted_devices":\[\{[^\]]*"id":"([^"]+)"/;
	syswrite STDOUT, "$client->{tag}\t" . ($client->{asked} - 1) . "\t$reply\n";
	$client->{asked} = @{$client->{calls}} if $reply eq "gone";
	return 1;
}

while (my $line = <STDIN>) {
	chomp $line;
	if ($line ne "go") {
		my ($tag, $count, @calls) = split /\t/, $line;
		push @clients, { tag => $tag, calls => [@calls], asked => 0, inbox => "" } for 1 .. $count;
		next;
	}
	for my $client (@clients) {
		$client->{socket} = IO::Socket::UNIX->new(Peer => "/run/twostep/twostep.sock") or die "no socket: $!";
		next if @{$client->{calls}} < 2;
		ask($client);
		1 until hear($client);
	}
	ask($_) for grep { $_->{asked} < @{$_->{calls}} } @clients;
	my %by = map { fileno($_->{socket}) => $_ } @clients;
	my $all = IO::Select->new(map { $_->{socket} } @clients);
	while ($all->count) {
		for my $socket ($all->can_read) {
			my $client = $by{fileno $socket};
			hear($client) or next;
			if ($client->{asked} < @{$client->{calls}}) { ask($client) } else { $all->remove($socket) }
		}
	}
	@clients = ();
	syswrite STDOUT, "done\n";
}
