"""Who may send as whom; and what is refused because nobody could tell."""

import email.policy
import email.utils

import pytest
from hypothesis import given
from hypothesis import strategies as st

import messages
from fake_postfix import FakePostfix
from keyservice.mailbox import Mailbox
from keyservice.sender_wire import Sender
from letterlock.errors import TablesUnavailable
from letterlock.message import HeaderField, HeaderSection, split
from letterlock.origins import NAMED_MAX, NotAllowed
from letterlock.postfix_tables import PostfixTables, Resolver
from letterlock.senders import Identity, NotAuthenticated, identity, require_own
from letterlock.smtp_client import SMTPClient

CA = "Example client CA"
OURS = {"example.test", "moved.test", "caught.test", "mx.example.test"}
ALICE = "alice@example.test"
BOB = "bob@example.test"

TABLES = {
    "ldap:/virtual": {
        "info@example.test": "alice@example.test",
        "chain@example.test": "info@example.test",
        "team@example.test": "alice@example.test, bob@example.test",
        "copied@example.test": "copied@example.test, alice@example.test",
        "@moved.test": "@example.test",
        "@caught.test": "alice@example.test",
        "outward@example.test": "alice@outside.test",
        "away@example.test": "away@outside.test",
        "away.too@example.test": "bob@example.test",
        "loop@example.test": "pool@example.test",
        "pool@example.test": "loop@example.test",
    },
    "ldap:/aliases": {"root": "alice@example.test", "members": ":include:/etc/members"},
    "ldap:/logins": {
        "support@example.test": "alice, BOB@example.test",
        "desk@example.test": "Alice@Example.test",
        "nobody@example.test": ",",
        "given@example.test": "bob",
        "foreign@outside.test": "alice",
        "bare@example.test": "bob",
    },
}


def tables(**settings):
    """Postfix' tables, read and kept as in operation."""
    return Resolver(PostfixTables("/etc/postfix", FakePostfix(TABLES, **settings)))


def ask(mailbox):
    """The key service: Alice and Bob have client certificates."""
    issuers = (CA,) if mailbox.key in (ALICE, BOB) else ()
    return Sender(mailbox=mailbox.key, is_ours=mailbox.domain in OURS, issuers=issuers)


def certificate(subject=ALICE, issuer=CA, login=""):
    return Identity(login, subject, issuer)


def section(*lines):
    return split("".join(f"{line}\r\n" for line in lines).encode() + b"\r\n")[0]


def author(who, *lines, reverse_path="", given=None):
    """What `require_own` returns; a line without a colon is a From."""
    fields = [line if ":" in line else f"From: {line}" for line in lines]
    return require_own(who, reverse_path, section(*fields), given or tables(), ask)


def refusal(who, *lines, **envelope):
    with pytest.raises(NotAllowed) as refused:
        author(who, *lines, **envelope)
    reply = refused.value.reply
    assert (550, "5.7.1") == (reply.code, reply.enhanced)
    assert reply.text.isascii()
    assert reply.text.isprintable()
    assert len(reply.text) < 80
    return reply.text


@pytest.mark.parametrize(
    "address",
    [
        "alice@example.test",
        "Alice@EXAMPLE.test",
        "alice+news@example.test",
        "info@example.test",
        "info+x@example.test",
        "chain@example.test",
        "alice@moved.test",
        "alice+x@moved.test",
        "anything@caught.test",
        "root@mx.example.test",
        "desk@example.test",
    ],
)
@pytest.mark.parametrize("who", [certificate(), Identity(ALICE), certificate(login=ALICE)])
def test_own_addresses(who, address):
    """The mailbox, its extensions, its aliases, and what the table of logins gives."""
    found = author(who, f"Alice <{address}>", reverse_path=address)

    assert Mailbox.parse(address) == found.address
    assert found.is_alone


@pytest.mark.parametrize(
    "address",
    [
        "bob@example.test",
        "alice2@example.test",
        "alice-x@example.test",
        "+alice@example.test",
        "team@example.test",
        "team+x@example.test",
        "copied@example.test",
        "outward@example.test",
        "loop@example.test",
        "members@mx.example.test",
        "given@example.test",
        "nobody@example.test",
        "alice@mx.example.test",
    ],
)
@pytest.mark.parametrize("who", [certificate(), Identity(ALICE), certificate(login=ALICE)])
def test_addresses_of_others(who, address):
    """Shared ones included, unless the table of logins gives them; and what cannot be told."""
    assert "From is not an address of the " in refusal(who, address)
    assert "MAIL FROM is not an address of the " in refusal(who, ALICE, reverse_path=address)


@pytest.mark.parametrize(
    ("expected", "field"),
    [
        ("From", "From: alice@example.test, bob@example.test\r\nSender: alice@example.test"),
        ("Sender", "From: alice@example.test\r\nSender: Bob <bob@example.test>"),
        ("Resent-From", "From: alice@example.test\r\nResent-From: alice@example.test, bob@x.test"),
        ("Resent-From", "From: alice@example.test\r\nRESENT-FROM : bob@example.test"),
        (
            "Resent-Sender",
            "From: alice@example.test\r\nResent-Sender: alice@example.test\r\n"
            "Resent-Sender: bob@example.test",
        ),
    ],
)
def test_every_field_that_names_an_origin_counts(expected, field):
    """Each mailbox in each of them; the reply names the field."""
    assert refusal(certificate(), field).startswith(f"{expected} is not an address of th")


@pytest.mark.parametrize(
    ("expected", "fields"),
    [
        ("From must be there exactly once", ["To: b@c.test"]),
        ("From must be there exactly once", [ALICE, ALICE]),
        ("From must be there exactly once", [ALICE, "from :bob@example.test"]),
        ("Sender must not be there twice", [ALICE, f"Sender: {ALICE}", f"Sender: {ALICE}"]),
        ("Sender must be one mailbox", [ALICE, f"Sender: {ALICE}, {ALICE}"]),
        ("Resent-Sender must be one mailbox", [ALICE, f"Resent-Sender: {ALICE}, {ALICE}"]),
        ("From with several mailboxes needs a Sender", [f"{ALICE}, info@example.test"]),
    ],
)
def test_fields_that_readers_would_read_differently(expected, fields):
    """RFC 5322 §3.6, §3.6.2."""
    assert expected == refusal(certificate(), *fields)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "alice",
        "<>",
        "Us: alice@example.test;",
        "undisclosed-recipients:;",
        "alice@example.test,",
        "alice@example.test bob@example.test",
        "<alice@example.test> <bob@example.test>",
        "<@relay.test:alice@example.test>",
        '"unterminated <alice@example.test>',
        "(unterminated <alice@example.test>",
        "älice@example.test",
        "alice@exämple.test",
    ],
)
def test_what_is_no_list_of_mailboxes_is_refused(value):
    """Groups, routes, addresses beyond ASCII, and what no two parsers agree about."""
    assert "From must be plain mailboxes" == refusal(certificate(), f"From: {value}")


@pytest.mark.parametrize(
    "address",
    ['"alice"@example.test', "alice@[192.0.2.1]", "bob%example.test@example.test", "b!a@e.test"],
)
def test_addresses_that_postfix_would_take_apart_are_refused(address):
    """Or that the key service has no mailbox for."""
    assert "From has an address that cannot be served here" == refusal(certificate(), address)
    assert "MAIL FROM has an address that cannot be served here" == refusal(
        certificate(), ALICE, reverse_path=address
    )


@pytest.mark.parametrize(
    "reverse_path", ["a\udcff@example.test", "a b@example.test", "@", "a\0@b.c"]
)
def test_what_is_no_mailbox_in_the_envelope_is_refused(reverse_path):
    """Octets that are not UTF-8, blanks, nothing."""
    assert "MAIL FROM has an address that cannot be served here" == refusal(
        certificate(), ALICE, reverse_path=reverse_path
    )


@pytest.mark.parametrize(
    "value", [b" x\rFrom: bob@example.test", b" x\0y", b" alice\r", b" a\r\n b\r c"]
)
def test_a_bare_cr_or_a_nul_is_refused(value):
    """Other programs end a line there, and find another From."""
    fields = HeaderField(b"From", b" " + ALICE.encode()), HeaderField(b"Subject", value)

    with pytest.raises(NotAllowed, match="bare CR or NUL"):
        require_own(certificate(), "", HeaderSection(fields), tables(), ask)


def test_a_domain_that_is_not_ours_is_nobodys():
    """Whatever a table of logins or an alias says."""
    assert "From is not an address of this provider" == refusal(
        Identity("alice"), "foreign@outside.test"
    )
    assert "MAIL FROM is not an address of this provider" == refusal(
        certificate(), ALICE, reverse_path="alice@outside.test"
    )
    assert "From is not an address of this provider" == refusal(
        Identity("alice@outside.test"), "alice@outside.test"
    )


def test_a_login_without_a_domain_belongs_to_myorigin():
    """And is compared with the owners in the table as it stands."""
    alice = Identity("ALICE")

    assert ALICE == author(alice, ALICE).address.key
    assert ALICE == author(alice, ALICE, reverse_path="alice").address.key
    assert author(alice, "support@example.test")
    assert author(certificate(), "support@example.test")
    assert author(Identity("bob@example.test"), "support@example.test")
    assert "login" in refusal(Identity(ALICE), "support@example.test")
    assert "login" in refusal(Identity("bob"), "support@example.test")
    elsewhere = tables(myorigin="mx.example.test")
    assert "login" in refusal(alice, ALICE, given=elsewhere)
    assert "certificate" in refusal(certificate(), "support@example.test", given=elsewhere)


def test_letters_beyond_ascii_are_no_others_in_lower_case():
    """The Kelvin sign is not k, whatever str.lower says."""
    known = {"ldap:/logins": {"mike@example.test": "mike"}}
    resolver = Resolver(PostfixTables("/etc/postfix", FakePostfix(known)))

    assert author(Identity("MIKE"), "mike@example.test", given=resolver)
    assert "login" in refusal(Identity("mi\u212ae"), "mike@example.test", given=resolver)


def test_a_login_that_is_no_address_has_what_the_table_gives():
    """Windows domains, for one."""
    known = {"ldap:/logins": {"alice@example.test": r"CORP\alice"}}
    resolver = Resolver(PostfixTables("/etc/postfix", FakePostfix(known)))

    assert author(Identity(r"corp\ALICE"), ALICE, given=resolver)
    assert "login" in refusal(Identity(r"corp\ALICE"), BOB, given=resolver)


def test_where_the_table_has_an_entry_it_alone_decides():
    """Not even the owner of the mailbox goes before it: as in Postfix."""
    known = {"ldap:/logins": {"@example.test": "boss", "bob@example.test": "bob@example.test"}}
    resolver = Resolver(PostfixTables("/etc/postfix", FakePostfix(known)))

    assert "certificate" in refusal(certificate(), ALICE, given=resolver)
    assert author(Identity("boss"), ALICE, given=resolver)
    assert author(certificate(BOB), BOB, given=resolver)


def test_what_looks_like_an_extension_and_leads_elsewhere_is_none():
    """A dot as delimiter: away.too is Bob's alias, not away's extension."""
    away = Identity("away@example.test")
    dotted = tables(recipient_delimiter=".")

    assert author(away, "away.x@example.test", given=dotted)
    assert author(away, "away@example.test", given=dotted)
    assert "login" in refusal(away, "away.too@example.test", given=dotted)
    assert author(certificate(BOB), "away.too@example.test", given=dotted)
    assert "login" in refusal(away, "away.x@example.test")


@pytest.mark.parametrize(
    ("subject", "issuer"),
    [
        (ALICE, "Another CA"),
        (ALICE, ""),
        ("carol@example.test", CA),
        ("Alice Example", CA),
        ("", CA),
        ("alice@example.test\n", CA),
    ],
)
@pytest.mark.parametrize("login", ["", ALICE])
def test_a_client_certificate_that_is_not_in_force_is_refused(subject, issuer, login):
    """Even beside a login: it may have been revoked because the device was stolen."""
    who = certificate(subject, issuer, login)

    assert "Client certificate is not in force" == refusal(who, ALICE)


def test_login_and_certificate_must_agree():
    """One of them is borrowed, otherwise."""
    assert "From is not an address of the login's owner" == refusal(certificate(login=BOB), ALICE)
    assert "From is not an address of the client certificate's owner" == refusal(
        certificate(login=BOB), BOB
    )
    assert author(certificate(login="bob@example.test"), "support@example.test")


def test_nobody_may_send_nothing():
    """RFC 4954 §6."""
    assert identity(SMTPClient(address="192.0.2.1", helo="x")) is None

    with pytest.raises(NotAuthenticated) as refused:
        author(None, ALICE)

    assert (530, "5.7.0") == (refused.value.reply.code, refused.value.reply.enhanced)


@pytest.mark.parametrize(
    "client",
    [
        SMTPClient(login="alice"),
        SMTPClient(certificate_subject=ALICE),
        SMTPClient(certificate_issuer=CA),
    ],
)
def test_whatever_was_shown_is_the_identity(client):
    """A certificate without a name in it was shown, too, and is refused as such."""
    shown = client.login, client.certificate_subject, client.certificate_issuer

    assert Identity(*shown) == identity(client)


def test_the_null_reverse_path_is_allowed():
    """Read receipts and automatic replies have it (RFC 8098 §3, RFC 3834 §3.3)."""
    assert author(certificate(), ALICE, reverse_path="")
    assert "From" in refusal(certificate(), BOB, reverse_path="")


@pytest.mark.parametrize(
    ("mailbox", "address"),
    [
        (ALICE, "alice+news@example.test"),
        (ALICE, "info+x@example.test"),
        (ALICE, "anything@caught.test"),
        (ALICE, "desk@example.test"),
    ],
)
def test_policy_and_certificate_are_those_of_the_mailbox_behind_the_address(mailbox, address):
    """Replies go there, and can be read there."""
    expected = "desk@example.test" if address.startswith("desk") else mailbox

    assert expected == author(certificate(), address).mailbox.key


@pytest.mark.parametrize(
    "address", ["team@example.test", "outward@example.test", "loop@example.test"]
)
def test_where_mail_goes_to_several_or_outside_the_address_itself_counts(address):
    """Nobody's certificate in particular; no policy of strangers."""
    known = {**TABLES, "ldap:/logins": {address: "alice"}}
    resolver = Resolver(PostfixTables("/etc/postfix", FakePostfix(known)))
    local_part, _, domain = address.partition("@")

    found = author(certificate(), f"{local_part}+x@{domain}", given=resolver)

    assert Mailbox(f"{local_part}+x", domain) == found.address
    assert address == found.mailbox.key


def test_several_authors_have_the_senders_policy():
    """And no Autocrypt field: it would not count."""
    found = author(
        certificate(), "From: alice@example.test, info@example.test", "Sender: alice+x@example.test"
    )

    assert ("alice+x", ALICE, False) == (
        found.address.local_part,
        found.mailbox.key,
        found.is_alone,
    )


def test_tables_that_do_not_answer_defer():
    """Nothing is refused, or allowed, for that."""
    known = PostfixTables("/etc/postfix", FakePostfix({}))

    def broken(command, question):
        raise TablesUnavailable("postmap")

    known._run = broken

    with pytest.raises(TablesUnavailable):
        author(certificate(), "info@example.test", given=Resolver(known))


def test_addresses_of_origin_are_bounded():
    """Each may cost a process."""
    many = ", ".join(f"alice+{n}@example.test" for n in range(NAMED_MAX))

    assert "Too many" in refusal(certificate(), f"From: {many}", f"Sender: {ALICE}")


PIECES = [ALICE, BOB, "Alice", '"', "\\", "<", ">", "(", ")", ",", ":", ";", ".", "@", " ", "\r\n "]


def addresses():
    """Bodies of From that have Alice in them, and much to confuse a parser."""
    around = st.lists(st.sampled_from(PIECES), max_size=6).map("".join)
    middle = st.sampled_from([f"<{ALICE}>", ALICE])
    return st.builds(lambda before, own, after: before + own + after, around, middle, around)


@given(messages.sections(), addresses(), st.sampled_from(["", ALICE, BOB]))
def test_nothing_gets_through_in_which_somebody_else_is_found(arrived, body, reverse_path):
    """Whatever the section looks like: it is refused, or others' parsers find nobody but Alice."""
    own = HeaderField(b"From", b" " + body.encode())
    whole = HeaderSection((*arrived.fields, own))
    try:
        require_own(certificate(), reverse_path, whole, tables(), ask)
    except NotAllowed:
        return
    parsed = email.message_from_bytes(whole.octets + b"\r\n", policy=email.policy.compat32)
    named = [str(value) for name in ("From", "Sender") for value in parsed.get_all(name, [])]
    assert reverse_path != BOB
    # A blank before a colon ends the header section for this parser: then it finds nobody.
    assert len(named) <= 1
    assert {address for _, address in email.utils.getaddresses(named)} <= {ALICE, ""}
