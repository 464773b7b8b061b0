"""Who may send as whom, with real logins and client certificates: or nobody gets anything.

What Postfix itself refuses is in `test_submission_postfix`; the rules are in docs.
"""

import smtplib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from autocrypt_mail import five_packets
from provider import Provider
from stack import PASSWORD, Owner

ALICE, BOB = "alice@example.test", "bob@example.test"
CAROL, DAVE = "carol@outside.test", "dave@outside.test"
TO = [CAROL, DAVE, BOB]
"""One peer whose certificate is known, one who has none, and one of our own."""

LOGINS = ", ".join(
    f"{{ {address} = {owners} }}"
    for address, owners in {
        ALICE: ALICE,
        BOB: BOB,
        "team@example.test": f"{ALICE} {BOB}",
        "given@example.test": ALICE,
        "taken@example.test": BOB,
    }.items()
)
"""The operator's own table; for all others it is the aliases that count."""

OWNERS = {"login": "login's owner", "certificate": "client certificate's owner"}
SERVICES = {"login": "submissions", "certificate": "submission"}


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory, bob: Owner) -> Iterator[Provider]:
    with ExitStack() as resources:
        made = Provider(
            tmp_path_factory.mktemp("senders"),
            resources,
            domains={"example.test": {}, "other.test": {}},
            virtual_aliases={
                "desk@example.test": ALICE,
                "desk@other.test": "desk@example.test",
                "team@example.test": f"{ALICE}, {BOB}",
                "theirs@example.test": BOB,
                "elsewhere@example.test": CAROL,
                "given@example.test": BOB,
            },
            parameters={"smtpd_sender_login_maps": f"inline:{{ {LOGINS} }}"},
        )
        made.stack.enrol(BOB, bob.certificate)
        made.learn(CAROL, five_packets(CAROL))
        yield made


@pytest.fixture(scope="module")
def certificate(provider: Provider) -> Path:
    """Alice's client certificate."""
    return provider.stack.client_certificate(ALICE)


@pytest.fixture(params=["login", "certificate"])
def credential(request: pytest.FixtureRequest) -> str:
    """How Alice shows who she is."""
    return str(request.param)


@pytest.fixture
def shown(credential: str, certificate: Path) -> dict[str, object]:
    """The same for `Stack.submit`; each on another port."""
    how: dict[str, object] = {"service": SERVICES[credential]}
    if credential == "login":
        return how | {"login": (ALICE, PASSWORD)}
    return how | {"certificate": certificate}


def message(*fields: str) -> bytes:
    """Return a message with these fields of origin."""
    section = "".join(f"{field}\r\n" for field in (*fields, "To: carol@outside.test", "Subject: x"))
    return f"{section}\r\nHello.\r\n".encode()


ALLOWED = {
    "own": (ALICE, [f"From: {ALICE}"]),
    "with a name": (ALICE, [f'From: "{BOB}" <{ALICE}>']),
    "in capitals": (ALICE.upper(), [f"From: {ALICE.upper()}"]),
    "extension": ("alice+news@example.test", ["From: alice+other@example.test"]),
    "alias": (ALICE, ["From: desk@example.test"]),
    "alias of an alias": (ALICE, ["From: desk@other.test"]),
    "shared": ("team@example.test", ["From: team@example.test"]),
    "another's alias, by the operator": ("given@example.test", ["From: given@example.test"]),
    "alias with extension": (ALICE, ["From: desk+x@example.test"]),
    "notification": ("", [f"From: {ALICE}"]),
    "Sender": (ALICE, [f"From: {ALICE}", "Sender: desk@example.test"]),
    "several": (ALICE, [f"From: {ALICE}, desk@example.test", f"Sender: {ALICE}"]),
    "resent": (ALICE, [f"From: {ALICE}", "Resent-From: desk@example.test"]),
}


@pytest.mark.parametrize("case", ALLOWED)
def test_ones_own_addresses(provider: Provider, shown: dict[str, object], case: str) -> None:
    """Everybody gets it, signed, under the address that the sender chose."""
    reverse_path, fields = ALLOWED[case]
    got = provider.hand_in(
        message(*fields), TO, ALICE, into=[BOB], reverse_path=reverse_path, **shown
    )

    assert set(TO) == got.keys()
    (clear,) = got[DAVE]
    assert fields[0].encode() in clear.octets
    assert 2 == len(clear.shown(b"dkim-signature"))
    assert reverse_path == provider.transactions(DAVE)[-1].reverse_path


REFUSED = {
    "another": ([f"From: {BOB}"], "From is not an address of the {owner}"),
    "another, with one's own name": (
        [f'From: "{ALICE}" <{BOB}>'],
        "From is not an address of the {owner}",
    ),
    "another's extension": (
        ["From: bob+alice@example.test"],
        "From is not an address of the {owner}",
    ),
    "one's own local part elsewhere": (
        ["From: alice@other.test"],
        "From is not an address of the {owner}",
    ),
    "another's alias": (["From: theirs@example.test"], "From is not an address of the {owner}"),
    "an address that the operator gave to another": (
        ["From: taken@example.test"],
        "From is not an address of the {owner}",
    ),
    "an alias that leads outside": (
        ["From: elsewhere@example.test"],
        "From is not an address of the {owner}",
    ),
    "somebody outside": (["From: ceo@bank.test"], "From is not an address of this provider"),
    "a peer": ([f"From: {CAROL}"], "From is not an address of this provider"),
    "another in Sender": (
        [f"From: {ALICE}", f"Sender: {BOB}"],
        "Sender is not an address of the {owner}",
    ),
    "another beside": (
        [f"From: {ALICE}, {BOB}", f"Sender: {ALICE}"],
        "From is not an address of the {owner}",
    ),
    "several without Sender": (
        [f"From: {ALICE}, desk@example.test"],
        "From with several mailboxes needs a Sender",
    ),
    "From twice": ([f"From: {ALICE}", f"From: {BOB}"], "From must be there exactly once"),
    "From twice, the same": ([f"From: {ALICE}"] * 2, "From must be there exactly once"),
    "Sender twice": (
        [f"From: {ALICE}", f"Sender: {ALICE}", f"SENDER: {BOB}"],
        "Sender must not be there twice",
    ),
    "no From": (["X-From: x"], "From must be there exactly once"),
    "empty From": (["From:"], "From must be plain mailboxes"),
    "group": ([f"From: all: {ALICE};"], "From must be plain mailboxes"),
    "encoded word for an address": (
        ["From: =?utf-8?q?alice=40example.test?="],
        "From must be plain mailboxes",
    ),
    "resent by another": (
        [f"From: {ALICE}", f"Resent-From: {BOB}"],
        "Resent-From is not an address of the {owner}",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_anybody_elses(
    provider: Provider, shown: dict[str, object], credential: str, case: str
) -> None:
    """550 5.7.1 with the rule; nothing is sent, stored or queued, for no recipient."""
    fields, rule = REFUSED[case]

    assert (550, f"5.7.1 {rule.format(owner=OWNERS[credential])}") == refusal(
        provider, message(*fields), **shown
    )


def refusal(
    provider: Provider, octets: bytes, reverse_path: str = ALICE, **how: object
) -> tuple[int, str]:
    """Hand in what is refused, and return the reply. Nobody gets anything."""
    before = provider.everything()
    with pytest.raises(smtplib.SMTPResponseException) as raised:
        provider.hand_in(octets, TO, ALICE, reverse_path=reverse_path, **how)
    assert before == provider.everything()
    return raised.value.smtp_code, str(raised.value.smtp_error)


@pytest.mark.parametrize("reverse_path", [BOB, "ceo@bank.test", "theirs@example.test", CAROL])
def test_anybody_elses_reverse_path(
    provider: Provider, shown: dict[str, object], credential: str, reverse_path: str
) -> None:
    """To a login Postfix says no; a client certificate only we can tell."""
    code, text = refusal(provider, message(f"From: {ALICE}"), reverse_path, **shown)

    assert (553 if credential == "login" else 550, "5.7.1") == (code, text.split()[0])
    assert credential == "login" or "5.7.1 MAIL FROM is not an address of th" in text


def test_a_login_and_a_certificate_must_agree(provider: Provider, certificate: Path) -> None:
    """Whoever has stolen one of them does not get further by an account of his own."""
    both = {"login": (BOB, PASSWORD), "certificate": certificate}
    for who, owner in ((ALICE, "login's owner"), (BOB, "client certificate's owner")):
        code, text = refusal(provider, message(f"From: {who}"), "", **both)

        assert (550, f"5.7.1 From is not an address of the {owner}") == (code, text)
    shared = message("From: team@example.test")
    got = provider.hand_in(shared, TO, BOB, into=[BOB], reverse_path="", **both)
    assert set(TO) == got.keys()


def test_a_refusal_ends_the_message_and_not_the_session(provider: Provider) -> None:
    """The next one is judged by itself: nothing of the last is left."""
    before = len(provider.sink.messages)
    with provider.stack.submission() as server:
        server.login(ALICE, PASSWORD)
        for who, expected in ((ALICE, 250), (BOB, 550), (ALICE, 250), ("x@bank.test", 550)) * 2:
            server.mail(ALICE)
            server.rcpt(DAVE)
            assert expected == server.data(message(f"From: {who}"))[0]
    provider.stack.wait_until_queue_is_empty()

    assert 4 == len(provider.sink.messages[before:])


def test_a_refusal_says_nothing_about_anybody_in_the_log(provider: Provider) -> None:
    """The rule, and no address."""
    refusal(provider, message(f"From: {BOB}"), login=(ALICE, PASSWORD))
    lines = [line for line in provider.stack.log("milter").splitlines() if "not_allowed" in line]

    assert lines
    assert not [line for line in lines if "@" in line]
