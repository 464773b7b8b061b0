"""SPF says whether the client may send for its domains, and never takes us further than that."""

import threading

import pytest

from fake_dns import FakeDns
from letterlock.authentication.spf_check import Identity, check_spf
from letterlock.dns import Deadline
from letterlock.smtp_client import SMTPClient

CLIENT = "192.0.2.1"


def verdicts(dns, reverse_path="alice@example.org", address=CLIENT, helo="mail.example.org"):
    """Return the results by identity."""
    client = SMTPClient(address=address, helo=helo)
    found = check_spf(client, reverse_path, dns, Deadline.after(5))
    return {one.identity: one.result.value for one in found}


def mail_from(record, address=CLIENT, **tables):
    """Return the result for MAIL FROM with that record."""
    return verdicts(FakeDns({"example.org": [record]}, **tables), address=address)[
        Identity.MAIL_FROM
    ]


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ("v=spf1 ip4:192.0.2.0/24 -all", "pass"),
        ("v=spf1 ip4:198.51.100.0/24 -all", "fail"),
        ("v=spf1 ip4:198.51.100.0/24 ~all", "softfail"),
        ("v=spf1 ip4:198.51.100.0/24 ?all", "neutral"),
        ("v=spf1 ip4:198.51.100.0/24", "neutral"),
        ("v=spf1 a -all", "pass"),
        ("v=spf1 mx -all", "pass"),
        ("v=spf1 include:other.test -all", "pass"),
        ("v=spf1 redirect=other.test", "pass"),
        ("v=spf1 exists:%{ir}.%{v}.list.test -all", "pass"),
        ("v=spf1 ptr -all", "pass"),
        ("v=spf1 ip4:nonsense -all", "permerror"),
        ("v=spf1 include:nowhere.test -all", "permerror"),
        ("v=spf2 -all", "none"),
        ("something else", "none"),
    ],
)
def test_the_record_is_evaluated(record, expected):
    """RFC 7208 §4.6, §5."""
    dns = FakeDns(
        {"example.org": [record], "other.test": ["v=spf1 ip4:192.0.2.1 -all"]},
        addresses={
            "example.org": ["192.0.2.1"],
            "mx.example.org": ["192.0.2.1"],
            "1.2.0.192.in-addr.list.test": ["127.0.0.2"],
        },
        mx={"example.org": [(10, "mx.example.org")]},
        ptr={"1.2.0.192.in-addr.arpa": ["mx.example.org"]},
    )

    assert expected == verdicts(dns)[Identity.MAIL_FROM]


def test_ipv6_clients_are_compared_with_ipv6_addresses():
    """And those that are IPv4 in disguise with IPv4 ones."""
    assert "pass" == mail_from("v=spf1 ip6:2001:db8::/32 -all", "2001:db8::5")
    assert "fail" == mail_from("v=spf1 ip6:2001:db8::/32 -all", "2001:db9::5")
    assert "pass" == mail_from("v=spf1 ip4:192.0.2.1 -all", "::ffff:192.0.2.1")
    assert "pass" == mail_from(
        "v=spf1 a -all", "2001:db8::5", addresses={"example.org": ["2001:db8::5"]}
    )


def test_both_identities_have_a_result():
    """RFC 7208 §2.3 recommends that HELO is checked, too."""
    dns = FakeDns({"example.org": ["v=spf1 -all"], "mail.example.org": ["v=spf1 a -all"]})
    dns.tables[1]["mail.example.org"] = [CLIENT]

    assert {Identity.MAIL_FROM: "fail", Identity.HELO: "pass"} == verdicts(dns)


def test_for_the_null_reverse_path_there_is_only_helo():
    """RFC 7208 §2.4; bounces have no sender."""
    dns = FakeDns({"mail.example.org": ["v=spf1 ip4:192.0.2.1 -all"]})

    assert {Identity.HELO: "pass"} == verdicts(dns, "")


@pytest.mark.parametrize(
    "helo", ["", "localhost", "[192.0.2.1]", "192.0.2.1", "-", "a b.test", "ü"]
)
def test_a_greeting_that_names_no_domain_has_no_result(helo):
    """RFC 7208 §2.3."""
    assert [Identity.MAIL_FROM] == [*verdicts(FakeDns(), helo=helo)]


@pytest.mark.parametrize("path", ["alice", "alice@", "alice@[192.0.2.1]", "alice@192.0.2.1", "@"])
def test_a_sender_without_a_domain_has_no_result(path):
    """RFC 7208 §4.3."""
    assert [Identity.HELO] == [*verdicts(FakeDns(), path)]


@pytest.mark.parametrize(
    "address", ["", "unknown", "127.0.0.1", "::1", "0.0.0.0", "::ffff:127.0.0.1"]
)
def test_about_mail_of_this_host_spf_says_nothing(address):
    """sendmail(1) has no client, and no domain names its loopback address."""
    dns = FakeDns({"example.org": ["v=spf1 -all"]})

    assert {} == verdicts(dns, address=address)
    assert [] == dns.asked


def test_what_cannot_be_found_out_now_is_temporary():
    """Whether it is the record itself or one it leads to."""
    assert "temperror" == verdicts(FakeDns(down=["*"]))[Identity.MAIL_FROM]
    assert "temperror" == mail_from("v=spf1 include:other.test -all", down=["other.test"])
    assert "temperror" == mail_from("v=spf1 a:other.test -all", down=["other.test"])


def test_what_cannot_be_pointed_back_does_not_match():
    """RFC 7208 §5.5: `ptr` never fails, the next mechanism decides."""
    ptr = {"1.2.0.192.in-addr.arpa": ["mx.example.org"]}

    assert "softfail" == mail_from("v=spf1 ptr ~all", down=["1.2.0.192.in-addr.arpa"])
    assert "softfail" == mail_from("v=spf1 ptr ~all", ptr=ptr, down=["mx.example.org"])


def test_the_number_of_lookups_is_limited():
    """RFC 7208 §4.6.4: ten mechanisms that ask, two that find nothing, ten MX hosts."""
    eleven = " ".join(f"a:h{n}.test" for n in range(11))
    hosts = {f"h{n}.test": ["198.51.100.1"] for n in range(11)}
    many = {"example.org": [(n, f"h{n}.test") for n in range(11)]}

    assert "permerror" == mail_from(f"v=spf1 {eleven} -all", addresses=hosts)
    assert "permerror" == mail_from("v=spf1 a:x.test a:y.test a:z.test -all")
    assert "permerror" == mail_from("v=spf1 mx -all", addresses=hosts, mx=many)
    assert "fail" == mail_from(f"v=spf1 {eleven[: eleven.rindex(' ')]} -all", addresses=hosts)


def test_a_record_that_leads_to_itself_ends():
    """By the limit above."""
    assert "permerror" == mail_from("v=spf1 include:example.org -all")
    loop = FakeDns(
        {"example.org": ["v=spf1 include:b.test"], "b.test": ["v=spf1 include:example.org"]}
    )
    assert "permerror" == verdicts(loop)[Identity.MAIL_FROM]


def test_explanations_are_not_asked_for():
    """A stranger's text is nothing that we would show (§6.2)."""
    dns = FakeDns({"example.org": ["v=spf1 -all exp=why.test"], "why.test": ["because"]})

    verdicts(dns)

    assert "why.test" not in dns.asked


@pytest.mark.parametrize(
    "path",
    [
        '"a@b"@example.org',
        '"a b"@example.org',
        "%{d}@example.org",
        "grüße@example.org",
        "\udcff@example.org",
    ],
)
def test_no_local_part_leads_to_another_domain(path):
    """It is cut at the last @, and macros in it are not expanded."""
    dns = FakeDns({"example.org": ["v=spf1 exists:%{l}.list.test ip4:192.0.2.1 -all"]})

    assert "pass" == verdicts(dns, path)[Identity.MAIL_FROM]


def test_domains_beyond_ascii_are_looked_up_as_a_labels():
    """RFC 7208 §4.3 as RFC 8616 has it."""
    dns = FakeDns({"xn--mnchen-3ya.test": ["v=spf1 ip4:192.0.2.1 -all"]})

    assert "pass" == verdicts(dns, "alice@münchen.test")[Identity.MAIL_FROM]


@pytest.mark.parametrize(
    "record",
    [
        "v=spf1 a:%{x} -all",
        "v=spf1 a:%{d9999999999999999999} -all",
        "v=spf1 exists:%{l}%{i}%{p}%{h}%{c} -all",
        "v=spf1 a/999 -all",
        "v=spf1 ip6:::::/1 -all",
        "v=spf1 redirect=",
        "v=spf1 exp=",
        "v=spf1 " + "a " * 200,
        "v=spf1 \u00fc -all",
        b"v=spf1 \xff\x00 -all",
    ],
)
def test_no_record_makes_it_fail(record):
    """Whatever a stranger publishes: a result, never an exception."""
    assert mail_from(record)


def test_threads_do_not_get_in_each_others_way():
    """pyspf has its resolver in a global variable; ours goes with the question."""
    wrong = []

    def check(number):
        address = f"192.0.2.{number}"
        dns = FakeDns({"example.org": [f"v=spf1 ip4:{address} -all"]})
        for _ in range(20):
            if verdicts(dns, address=address)[Identity.MAIL_FROM] != "pass":
                wrong.append(number)

    threads = [threading.Thread(target=check, args=(number,)) for number in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert [] == wrong
