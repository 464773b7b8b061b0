"""What the DNS says is believed if it answers the question, within a time that is kept."""

import threading
import time

import pytest

from dns_peer import DnsPeer, Way, txt
from letterlock.dns import Deadline, DnsUnavailable, Resolver
from letterlock.errors import ConfigError

LONG = "v=DKIM1; p=" + "A" * 700
ZONE = {
    "example.test": {
        "TXT": txt("v=spf1 -all"),
        "A": ["192.0.2.1", "192.0.2.2"],
        "AAAA": ["2001:db8::1"],
        "MX": ["10 mx.example.test.", "20 mx2.example.test."],
    },
    "long.example.test": {"TXT": txt(LONG)},
    "binary.example.test": {"TXT": txt(b'\xff\x00;\\"')},
    "alias.example.test": {"CNAME": ["hop.example.test."]},
    "hop.example.test": {"CNAME": ["long.example.test."]},
    "dangling.example.test": {"CNAME": ["nowhere.test."]},
    "huge.example.test": {"TXT": txt(*(f"{n}" + "x" * 200 for n in range(100)))},
    "1.2.0.192.in-addr.arpa": {"PTR": ["mail.example.test."]},
}


@pytest.fixture
def peer():
    with DnsPeer(ZONE) as running:
        yield running


def soon(seconds=5.0):
    return Deadline.after(seconds)


def test_each_kind_of_record_is_returned_in_its_plain_form(peer):
    """Strings of a TXT record are joined; names have no final dot."""
    resolver = Resolver(peer.address)

    assert (b"v=spf1 -all",) == resolver.txt("example.test", soon())
    assert (LONG.encode(),) == resolver.txt("long.example.test.", soon())
    assert (b'\xff\x00;\\"',) == resolver.txt("binary.example.test", soon())
    assert {"192.0.2.1", "192.0.2.2"} == {*resolver.addresses("example.test", 4, soon())}
    assert ("2001:db8::1",) == resolver.addresses("example.test", 6, soon())
    hosts = {(10, "mx.example.test"), (20, "mx2.example.test")}
    assert hosts == {*resolver.mx("example.test", soon())}
    assert ("mail.example.test",) == resolver.ptr("1.2.0.192.in-addr.arpa", soon())


def test_aliases_are_followed(peer):
    """Most DKIM records of hosting customers are aliases."""
    assert (LONG.encode(),) == Resolver(peer.address).txt("alias.example.test", soon())


@pytest.mark.parametrize(
    "name",
    [
        "nowhere.example.test",
        "example.test.nothere",
        "mx.example.test",
        "dangling.example.test",
        "",
        ".",
        "a..b",
        ".example.test",
        "x" * 64 + ".test",
        ".".join(["abcdefgh"] * 32),
        "münchen.test",
        "ex\\097mple.test",
        "a b.test",
    ],
)
def test_where_there_is_no_record_there_is_nothing(peer, name):
    """No such name, no such type, and no name at all are all the same to those who ask."""
    assert () == Resolver(peer.address).txt(name, soon())


@pytest.mark.parametrize("way", [Way.SERVFAIL, Way.REFUSED])
def test_a_resolver_that_cannot_say_is_not_one_that_says_no(peer, way):
    """Else an attack on the DNS would turn signed mail into unsigned mail for good."""
    peer.ways["example.test"] = way

    with pytest.raises(DnsUnavailable):
        Resolver(peer.address).txt("example.test", soon())


@pytest.mark.parametrize(
    "way", [Way.OTHER_ID, Way.OTHER_QUESTION, Way.OTHER_PORT, Way.GARBAGE, Way.SILENT]
)
def test_what_does_not_answer_the_question_is_as_good_as_silence(peer, way):
    """Strangers may send datagrams to our port; the time is kept whatever they send."""
    peer.ways["example.test"] = way
    began = time.monotonic()

    with pytest.raises(DnsUnavailable):
        Resolver(peer.address).txt("example.test", soon(0.6))

    assert time.monotonic() - began < 10


def test_the_answer_is_waited_for_among_forgeries(peer):
    """A forgery must not push the true answer aside either."""
    peer.ways["example.test"] = Way.NOISE_FIRST

    assert (b"v=spf1 -all",) == Resolver(peer.address).txt("example.test", soon())


def test_records_of_other_names_in_an_answer_are_not_looked_at(peer):
    """They are whatever the server of the name that was asked for likes."""
    peer.ways["example.test"] = Way.OTHER_NAME
    resolver = Resolver(peer.address)

    assert () == resolver.txt("example.test", soon())
    peer.ways.clear()
    assert () == resolver.txt("other.invalid", soon())


def test_long_answers_come_over_tcp(peer):
    """RFC 7766: what was cut is asked again, not half believed."""
    peer.ways["example.test"] = Way.TRUNCATED
    resolver = Resolver(peer.address)

    assert (b"v=spf1 -all",) == resolver.txt("example.test", soon())
    assert 100 == len(resolver.txt("huge.example.test", soon()))


def test_tcp_keeps_the_deadline_as_well(peer):
    """A server that takes the question and says nothing costs no more time."""
    peer.ways["example.test"] = Way.SILENT_OVER_TCP
    began = time.monotonic()

    with pytest.raises(DnsUnavailable):
        Resolver(peer.address).txt("example.test", soon(0.6))

    assert time.monotonic() - began < 10


def test_a_slow_answer_counts_if_it_comes_in_time(peer):
    """The first question is not given up before its share of the time is over."""
    peer.ways["example.test"], peer.delay = Way.SLOW, 0.3

    assert (b"v=spf1 -all",) == Resolver(peer.address).txt("example.test", soon(10))


def test_where_nobody_listens_there_is_no_waiting():
    """A resolver that is being restarted refuses at once."""
    with DnsPeer({}) as gone:
        address = gone.address
    began = time.monotonic()

    with pytest.raises(DnsUnavailable):
        Resolver(address).txt("example.test", soon(20))

    assert time.monotonic() - began < 10


def test_one_deadline_goes_for_all_questions(peer):
    """A message with eight signatures waits no longer than one with one."""
    peer.ways["*"] = Way.SILENT
    resolver, deadline = Resolver(peer.address), soon(0.5)
    began = time.monotonic()

    for number in range(20):
        with pytest.raises(DnsUnavailable):
            resolver.txt(f"{number}.test", deadline)

    # For each of them it would be ten seconds.
    assert time.monotonic() - began < 5


def test_a_message_may_ask_so_many_questions_and_no_more(peer):
    """SPF records can be built to make others ask on and on; the DNS is not to be our hammer."""
    resolver, deadline = Resolver(peer.address), Deadline.after(5, questions=3)

    for number in range(3):
        resolver.txt(f"{number}.test", deadline)
    with pytest.raises(DnsUnavailable):
        resolver.txt("4.test", deadline)

    assert () == resolver.txt("0.test", deadline), "what is remembered costs nothing"
    assert 3 == len(peer.asked)


def test_answers_are_remembered_as_long_as_they_hold(peer):
    """Also that there is no such record; its time is in the SOA record (RFC 2308 §5)."""
    now = [0.0]
    resolver = Resolver(peer.address, lambda: now[0])
    for name in ("example.test", "nowhere.test") * 2:
        resolver.txt(name, soon())
    assert [("example.test", "TXT"), ("nowhere.test", "TXT")] == peer.asked

    now[0] = 61.0
    for name in ("EXAMPLE.test", "nowhere.test"):
        resolver.txt(name, soon())
    assert ("nowhere.test", "TXT") == peer.asked[2]

    now[0] = 301.0
    resolver.txt("example.test", soon())
    assert ("example.test", "TXT") == peer.asked[3]


def test_what_could_not_be_found_out_is_not_remembered(peer):
    """The next message asks again."""
    resolver = Resolver(peer.address)
    peer.ways["example.test"] = Way.SERVFAIL
    with pytest.raises(DnsUnavailable):
        resolver.txt("example.test", soon())

    peer.ways.clear()

    assert (b"v=spf1 -all",) == resolver.txt("example.test", soon())


def test_any_thread_may_ask(peer):
    """libmilter has a thread for each session."""
    resolver = Resolver(peer.address)
    wrong = []

    def ask(number):
        for name, expected in (("example.test", b"v=spf1 -all"), ("alias.example.test", None)):
            found = resolver.txt(name, soon(20))
            if found != (expected or LONG.encode(),):
                wrong.append((number, found))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert [] == wrong


@pytest.mark.parametrize("nameserver", ["resolver.test:53", "127.0.0.1", "127.0.0.1:0"])
def test_a_resolver_is_named_by_address_and_port(nameserver):
    """Its name could not be resolved."""
    with pytest.raises(ConfigError, match="nameserver"):
        Resolver(nameserver)
