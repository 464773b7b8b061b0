# Asks Mail::DKIM about messages in files; the resolver is on loopback at the port given first.
# Prints a line for each file: its name, the result of each signature, and of the ARC chain.
use strict;
use warnings;
use Mail::DKIM::ARC::Verifier;
use Mail::DKIM::DNS;
use Mail::DKIM::Verifier;
use Net::DNS;

my $port = shift @ARGV;
Mail::DKIM::DNS::resolver(Net::DNS::Resolver->new(
    nameservers => ["127.0.0.1"], port => $port, udppacketsize => 1232, retry => 1,
    retrans => 1, udp_timeout => 3));

for my $path (@ARGV) {
    open(my $file, "<:raw", $path) or die $!;
    my $message = do { local $/; <$file> };
    my $verifier = Mail::DKIM::Verifier->new();
    $verifier->PRINT($message);
    $verifier->CLOSE;
    my @results = map { (split / /, $_->result)[0] } $verifier->signatures;
    my $chain = Mail::DKIM::ARC::Verifier->new();
    $chain->PRINT($message);
    $chain->CLOSE;
    print join(" ", $path, $chain->result, @results), "\n";
}
