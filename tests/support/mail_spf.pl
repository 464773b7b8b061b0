# Asks Mail::SPF; the resolver is on loopback at the port given first.
# Reads lines of scope, identity, address and HELO with tabs between them; prints the results.
use strict;
use warnings;
use Mail::SPF;
use Net::DNS;

my $resolver = Net::DNS::Resolver->new(
    nameservers => ["127.0.0.1"], port => shift @ARGV, udppacketsize => 1232, retry => 1,
    retrans => 1, udp_timeout => 3);
my $server = Mail::SPF::Server->new(dns_resolver => $resolver);

while (my $line = <STDIN>) {
    chomp $line;
    my ($scope, $identity, $address, $helo) = split /\t/, $line;
    my $request = Mail::SPF::Request->new(
        scope => $scope, identity => $identity, ip_address => $address, helo_identity => $helo);
    print $server->process($request)->code, "\n";
}
