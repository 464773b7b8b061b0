"""Forward-paths lead to the mailboxes to which Postfix will lead them."""

import pytest

from letterlock.aliases import Rules, final_recipients, split_extension
from letterlock.errors import MailboxMalformed, TablesUnavailable

LOCAL = "mx.example.test"


class Tables:
    """Postfix's tables as dictionaries."""

    def __init__(self, virtual=None, aliases=None, delimiters="+", propagate=True):
        self._virtual = virtual or {}
        self._aliases = aliases or {}
        self.rules = Rules(origin=LOCAL, delimiters=delimiters, propagate_virtual=propagate)

    def virtual(self, keys):
        return next((self._virtual[k.lower()] for k in keys if k.lower() in self._virtual), None)

    def local(self, keys):
        return next((self._aliases[k.lower()] for k in keys if k.lower() in self._aliases), None)

    def is_local(self, domain):
        return domain == LOCAL


def addresses(forward_path, tables):
    return [final.address for final in final_recipients(forward_path, tables)]


def mailboxes(forward_path, tables):
    return [final.mailbox.key for final in final_recipients(forward_path, tables)]


@pytest.mark.parametrize(
    ("expected", "forward_path"),
    [
        (["alice@example.test"], "alice@example.test"),
        (["alice@example.test"], "info@example.test"),
        (["alice@example.test", "bob@example.test"], "team@example.test"),
        (["alice@example.test", "bob@example.test"], "everybody@example.test"),
        (["catchall@example.test"], "nobody@caught.test"),
        (["alice@example.test"], "ALICE@moved.test"),
        (["eve@elsewhere.test"], "away@example.test"),
        (["postmaster@" + LOCAL], "postmaster"),
    ],
)
def test_virtual_aliases(expected, forward_path):
    """Virtual aliases expand, again and again, as virtual(5) says."""
    tables = Tables(
        {
            "info@example.test": "alice@example.test",
            "team@example.test": "alice@example.test  bob@example.test",
            "everybody@example.test": "team@example.test,bob@example.test",
            "@caught.test": "catchall@example.test",
            "@moved.test": "@example.test",
            "away@example.test": "eve@elsewhere.test",
        }
    )

    assert expected == [a.lower() for a in addresses(forward_path, tables)]


def test_an_alias_may_contain_itself():
    """The usual way to keep a copy: `alice: alice, bob`."""
    tables = Tables({"alice@example.test": "alice@example.test, bob@example.test"})

    assert ["alice@example.test", "bob@example.test"] == addresses("alice@example.test", tables)


def test_an_extension_survives_in_the_address_and_not_in_the_mailbox():
    """The copy goes to alice+news, and is encrypted for alice."""
    tables = Tables({"al@example.test": "alice@example.test"})

    assert ["alice+news@example.test"] == addresses("al+news@example.test", tables)
    assert ["alice@example.test"] == mailboxes("al+news@example.test", tables)


def test_an_alias_for_the_complete_address_does_not_pass_the_extension_on():
    """virtual(5): the extension is propagated only where the bare address matched."""
    tables = Tables({"al+x@example.test": "bob@example.test"})

    assert ["bob@example.test"] == addresses("al+x@example.test", tables)


def test_local_aliases_count_for_local_domains_only():
    """alias_maps belong to local(8)."""
    tables = Tables(aliases={"root": "alice@example.test"})

    assert ["alice@example.test"] == addresses(f"root@{LOCAL}", tables)
    assert ["root@example.test"] == addresses("root@example.test", tables)


@pytest.mark.parametrize("target", ['"|/usr/bin/list post"', "/var/mail/archive", "|a, /b"])
def test_an_alias_to_something_else_than_mailboxes_is_itself_the_mailbox(target):
    """A command or a file has no certificate: the alias' own certificate or policy decides."""
    tables = Tables(aliases={"list": target})

    assert [f"list@{LOCAL}"] == addresses(f"list@{LOCAL}", tables)


@pytest.mark.parametrize("target", [":include:/etc/list", "bob, |cmd", "|cmd, :include:/x"])
def test_an_alias_whose_members_cannot_be_told_defers(target):
    """local(8) would hand it out, in the clear, to mailboxes that have certificates."""
    tables = Tables(aliases={"list": target})

    with pytest.raises(TablesUnavailable):
        final_recipients(f"list@{LOCAL}", tables)


@pytest.mark.parametrize("domain", [LOCAL, "example.test", "elsewhere.test", ""])
@pytest.mark.parametrize("local_part", ["alice%example.test", "example.test!alice", "!a", "a%"])
def test_a_route_in_the_local_part_is_refused(local_part, domain):
    """Postfix would take it apart, and deliver to a mailbox that nobody looked up."""
    with pytest.raises(MailboxMalformed):
        final_recipients(f"{local_part}@{domain}" if domain else local_part, Tables())


def test_a_target_with_a_route_is_refused():
    """The same in a table of the operator's."""
    with pytest.raises(MailboxMalformed):
        final_recipients("a@example.test", Tables({"a@example.test": "b%c.test@" + LOCAL}))


@pytest.mark.parametrize("forward_path", ["info@example.test.", f"root@{LOCAL}."])
def test_a_dot_behind_the_domain_changes_nothing(forward_path):
    """Postfix drops it before it asks its tables."""
    tables = Tables({"info@example.test": "alice@example.test"}, {"root": "alice@example.test"})

    assert ["alice@example.test"] == addresses(forward_path, tables)


def test_a_loop_of_aliases_defers():
    """Nothing is guessed where the tables lead nowhere."""
    tables = Tables({"a@example.test": "b@example.test", "b@example.test": "a@example.test"})

    with pytest.raises(TablesUnavailable):
        final_recipients("a@example.test", tables)


def test_an_endless_alias_defers():
    """Postfix has a limit on expansion, and so have we."""

    class Endless(Tables):
        def virtual(self, keys):
            return "x" + keys[0]

    with pytest.raises(TablesUnavailable):
        final_recipients("x@example.test", Endless())


@pytest.mark.parametrize(
    "forward_path",
    [
        '"a b"@example.test',
        "a@[127.0.0.1]",
        "a\nb@example.test",
        "a@b@example.test",
        "\udcff@e.test",
    ],
)
def test_what_is_no_mailbox_is_refused(forward_path):
    """Nothing is looked up under a name that is not one."""
    with pytest.raises(MailboxMalformed):
        final_recipients(forward_path, Tables())


@pytest.mark.parametrize(
    ("expected", "local_part", "delimiters"),
    [
        (("alice", "+x"), "alice+x", "+"),
        (("alice", "-x+y"), "alice-x+y", "+-"),
        (("alice+x", ""), "alice+x", ""),
        (("+alice", ""), "+alice", "+"),
        (("postmaster", ""), "postmaster", "t"),
        (("owner-list", ""), "owner-list", "-"),
        (("list-request", ""), "list-request", "-"),
        (("alice", "+"), "alice+", "+"),
    ],
)
def test_extensions_are_split_as_postfix_splits_them(expected, local_part, delimiters):
    """postconf(5): recipient_delimiter, owner_request_special."""
    assert expected == split_extension(local_part, delimiters)
