"""URLs and addresses that nothing in the key service may ever contact."""

from keyservice.fetch import Forbidden

_SCHEMES = [
    *("http://peer.org/", "ftp://peer.org/", "file:///etc/passwd", "gopher://peer.org/"),
    *(
        "data:text/plain,x",
        "javascript:x",
        "wss://peer.org/",
        "unix:///run/x",
        "https:peer.org",
        "https:/peer.org/",
    ),
]
_USERINFO = [
    *("https://name@peer.org/", "https://name:word@peer.org/", "https://peer.org@127.0.0.1/"),
    *("https://peer.org\\@127.0.0.1/", "https://@peer.org/", "https://peer.org:443@10.0.0.1/"),
]
_PORTS = [
    *("https://peer.org:80/", "https://peer.org:22/", "https://peer.org:444/"),
    *("https://peer.org:0/", "https://peer.org:65979/", "https://peer.org:6425/"),
]
_NAMES = [
    *("127.0.0.1", "127.1", "127.0.1", "2130706433", "0177.0.0.1", "0x7f.0.0.1", "0x7f000001"),
    *("017700000001", "0.0.0.0", "0", "10.0.0.1", "169.254.169.254", "9.9.9.9", "1.2.3.0x4"),
    *("[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[fe80::1%25lo]", "[2620:fe::fe]"),
    *("localhost", "intranet", "peer", "peer.org.", ".peer.org", "peer..org", "-peer.org"),
    *(
        "peer-.org",
        "pe_er.org",
        "bücher.org",
        "\uff11\uff12\uff17.0.0.1",
        "127。0。0。1",
        "ⓛocalhost.org",
    ),
    *("%31%32%37.0.0.1", "peer%2eorg", "xn--a.org", "xn--.org", "ab--cd.org", "peer.o", "peer.1"),
    *(f"{'a' * 64}.org", "a." * 125 + "organic", "pe er.org", "peer.org\r\n", "peer.org\x00"),
    *("peer.org,peer.net", "peer.org\t", "*.org", "peer.org;x", "peer!.org", "'peer'.org"),
]
_SPECIAL_USE = [
    *("peer.localhost", "printer.local", "peer.test", "peer.example", "peer.invalid", "peer.alt"),
    *("peer.internal", "router.home.arpa", "1.0.0.127.in-addr.arpa", "peer.corp", "peer.lan"),
    *(f"{'a' * 56}.onion", "fritz.box.home", "peer.intranet", "peer.localdomain", "a.private"),
]
_MALFORMED = [
    *("", "peer.org", "//peer.org/", "/path", "https", "https:///", "https://"),
    *("https://peer.org:/", "https://peer.org:x/", "https://peer.org:+443/", "https://peer.org/ x"),
    *("https://peer.org/\r\nX: y", "https://peer.org/ü", "https://peer.org\\x", "https://?x"),
    *("https://peer.org:443443/", " https://peer.org/", "https://peer.org/\x7f", "\nhttps://a.org"),
]

FORBIDDEN_URLS = [
    *((url, Forbidden.SCHEME) for url in _SCHEMES),
    *((url, Forbidden.USERINFO) for url in _USERINFO),
    *((url, Forbidden.PORT) for url in _PORTS),
    *((f"https://{name}/", Forbidden.NAME) for name in _NAMES),
    *((f"https://{name}/", Forbidden.SPECIAL_USE) for name in _SPECIAL_USE),
    *((url, Forbidden.URL) for url in _MALFORMED),
]

FORBIDDEN_ADDRESSES = [
    *("0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "127.0.0.1", "127.255.255.254"),
    *("169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.8", "192.0.0.170", "192.0.2.1"),
    *("192.88.99.1", "192.168.1.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1"),
    *("239.255.255.250", "240.0.0.1", "255.255.255.255", "::", "::1", "::ffff:127.0.0.1"),
    *("::ffff:9.9.9.9", "::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b:1::a00:1", "100::1"),
    *("2001::1", "2001:0:4136:e378::1", "2001:2::1", "2001:10::1", "2001:20::1", "2001:db8::1"),
    *("2002:7f00:1::", "2002:a00:1::1", "3fff::1", "5f00::1", "fc00::1", "fd00:ec2::254"),
    *("fe80::1", "fe80::1%lo", "fec0::1", "ff02::1", "ff0e::1", "4000::1", "nonsense", ""),
]
