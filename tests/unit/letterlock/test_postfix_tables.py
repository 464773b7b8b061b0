"""Postfix's tables are asked as Postfix would ask them, and a failure is never an answer."""

import subprocess

import pytest

from fake_postfix import SETTINGS, FakePostfix
from letterlock import listed_table, postfix_tables
from letterlock.aliases import final_recipients
from letterlock.errors import TablesUnavailable
from letterlock.kept import KEPT_SECONDS
from letterlock.postfix_tables import PostfixTables, Resolver


def addresses(postfix, forward_path):
    found = final_recipients(forward_path, PostfixTables("/etc/postfix", postfix))
    return [final.address for final in found]


def test_every_table_is_asked_for_the_complete_address_before_any_for_the_domain():
    """virtual(5): the order of keys goes before the order of tables."""
    postfix = FakePostfix(
        {
            "ldap:/virtual": {"@example.test": "catchall@example.test"},
            "pgsql:/later": {"bob@example.test": "alice@example.test"},
        }
    )

    # `alice` leads to the catch-all, which leads to itself: as Postfix would have it.
    assert ["catchall@example.test"] == addresses(postfix, "bob@example.test")


def test_a_pattern_table_is_asked_for_complete_addresses_only():
    """regexp_table(5): else `/./` would match the catch-all key of every domain."""
    postfix = FakePostfix({})

    addresses(postfix, "bob+x@example.test")

    assert ("regexp:/pattern", ["bob+x@example.test"]) in postfix.asked
    assert (
        "ldap:/virtual",
        ["bob+x@example.test", "bob@example.test", "bob+x", "bob", "@example.test"],
    ) in postfix.asked


def test_proxied_tables_are_opened_directly():
    """proxymap(8) serves Postfix's daemons only."""
    postfix = FakePostfix({"pgsql:/later": {"bob@example.test": "alice@example.test"}})

    assert ["alice@example.test"] == addresses(postfix, "bob@example.test")


def test_a_local_domain_may_stand_in_a_table():
    """mydestination takes tables as well as names."""
    postfix = FakePostfix(
        {"ldap:/destinations": {"other.test": "x"}, "ldap:/aliases": {"root": "alice"}}
    )

    assert ["alice@example.test"] == addresses(postfix, "root@other.test")


def test_local_aliases_are_not_asked_where_local_delivers_nothing():
    """A local_transport other than local(8) does not read alias_maps."""
    postfix = FakePostfix({"ldap:/aliases": {"root": "alice"}}, local_transport="lmtp:unix:x")

    assert ["root@mx.example.test"] == addresses(postfix, "root@mx.example.test")


def test_a_key_without_a_domain_counts_for_myorigin_too():
    """virtual(5): not only for what mydestination has."""
    postfix = FakePostfix({"ldap:/virtual": {"bob": "alice@example.test"}}, mydestination="")

    assert ["alice@example.test"] == addresses(postfix, "bob@example.test")
    assert ["bob@elsewhere.test"] == addresses(postfix, "bob@elsewhere.test")


def test_myorigin_may_stand_in_a_file(tmp_path):
    """Debian's main.cf names /etc/mailname."""
    (tmp_path / "mailname").write_text("origin.test\n# comment\n")
    postfix = FakePostfix({}, myorigin=f"{tmp_path}/mailname")

    assert ["postmaster@origin.test"] == addresses(postfix, "postmaster")
    with pytest.raises(TablesUnavailable, match="myorigin"):
        PostfixTables("/etc/postfix", FakePostfix({}, myorigin=f"{tmp_path}/missing"))


LOGINS = {
    "ldap:/logins": {
        "info@example.test": "alice, Bob@example.test\tcarol",
        "bob+sales@example.test": "dave",
        "nobody@example.test": ",",
        "root": "erin",
        "@example.test": "catcher",
    }
}


@pytest.mark.parametrize(
    ("expected", "address"),
    [
        (("alice", "Bob@example.test", "carol"), "Info@example.test"),
        (("alice", "Bob@example.test", "carol"), "info+x@example.test"),
        (("dave",), "bob+sales@example.test"),
        ((), "nobody@example.test"),
        (("erin",), "root@mx.example.test"),
        (("erin",), "root+x@example.test"),
        (("catcher",), "bob@example.test"),
        (None, "root@elsewhere.test"),
    ],
)
def test_owners_of_an_address_are_found_in_postfix_order(expected, address):
    """postconf(5), smtpd_sender_login_maps; and what smtpd does about extensions."""
    tables = PostfixTables("/etc/postfix", FakePostfix(LOGINS))

    assert expected == tables.login_owners(address)


def test_where_there_is_no_table_of_owners_nothing_is_asked():
    """It is empty by default, and mydestination may be a table that costs a process."""
    postfix = FakePostfix(LOGINS, smtpd_sender_login_maps="")

    assert PostfixTables("/etc/postfix", postfix).login_owners("info@example.test") is None
    assert [] == postfix.asked


def test_a_setting_that_postconf_does_not_tell_is_an_error():
    """Nothing is assumed about a Postfix that cannot be read."""
    postfix = FakePostfix({})
    del postfix.settings["myorigin"]

    with pytest.raises(TablesUnavailable, match="myorigin"):
        PostfixTables("/etc/postfix", postfix)


@pytest.mark.parametrize("command", ["echo fatal >&2; exit 1", "echo no tab", "exit 75"])
def test_a_table_that_cannot_be_opened_is_no_empty_table(command, tmp_path, monkeypatch):
    """postmap exits with 1 for both; only standard error tells them apart."""
    for name, script in (("postmap", command), ("postconf", _postconf())):
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")

    with pytest.raises(TablesUnavailable):
        final_recipients("bob@example.test", PostfixTables("/etc/postfix"))


def _postconf() -> str:
    return "\n".join(f"echo '{name} = {value}'" for name, value in SETTINGS.items())


def test_answers_are_kept_for_a_minute_and_no_longer():
    """An alias that changes takes effect without a restart."""
    now = [0.0]
    postfix = FakePostfix({"ldap:/virtual": {"bob@example.test": "alice@example.test"}})
    recipients = Resolver(PostfixTables("/etc/postfix", postfix), lambda: now[0])
    recipients.resolve("bob@example.test")
    postfix.tables = {}
    now[0] = KEPT_SECONDS - 1
    kept = recipients.resolve("bob@example.test")
    now[0] = KEPT_SECONDS + 1

    assert "alice@example.test" == kept[0].address
    assert "bob@example.test" == recipients.resolve("bob@example.test")[0].address


@pytest.fixture
def real_postfix(tmp_path):
    """A configuration directory with a table of aliases in a file."""
    (tmp_path / "main.cf").write_text(
        "compatibility_level = 3.6\nmyorigin = example.test\nmydestination =\nalias_maps =\n"
        f"virtual_alias_maps = hash:{tmp_path}/virtual\n"
    )
    return tmp_path


def write_aliases(directory, text):
    (directory / "virtual").write_text(text)
    subprocess.run(["postmap", "-c", directory, f"hash:{directory}/virtual"], check=True)


def test_a_table_in_a_file_is_read_once_and_again_when_it_changes(real_postfix):
    """Not one process per address, and yet a new alias counts at once."""
    write_aliases(real_postfix, "Bob@example.test alice@example.test\n")
    commands = []

    def run(command, question):
        commands.append(command)
        return postfix_tables._run(command, question)

    tables = PostfixTables(str(real_postfix), run)
    seen = [final_recipients(f"{name}@example.test", tables) for name in ("bob", "carol", "dave")]
    asked = len(commands)
    write_aliases(real_postfix, "bob@example.test eve@example.test\n")
    changed = final_recipients("bob@example.test", tables)

    assert ["alice", "carol", "dave"] == [found[0].mailbox.local_part for found in seen]
    assert 2 == asked
    assert "eve" == changed[0].mailbox.local_part


def test_a_table_too_large_to_hold_is_asked_address_by_address(real_postfix, monkeypatch):
    """Every worker would hold a copy of it."""
    write_aliases(real_postfix, "bob@example.test alice@example.test\n")
    monkeypatch.setattr(listed_table, "FILE_OCTETS_MAX", 1)

    found = final_recipients("bob@example.test", PostfixTables(str(real_postfix)))

    assert "alice" == found[0].mailbox.local_part


def test_a_table_whose_file_is_gone_defers(real_postfix):
    """Missing is not empty."""
    with pytest.raises(TablesUnavailable):
        final_recipients("bob@example.test", PostfixTables(str(real_postfix)))


def test_owners_are_kept_for_a_minute_like_aliases():
    """A table that is no file costs a process for each question."""
    now = [0.0]
    postfix = FakePostfix(LOGINS, mydestination="")
    resolver = Resolver(PostfixTables("/etc/postfix", postfix), lambda: now[0])
    first, second = (resolver.login_owners("info@example.test") for _ in range(2))
    asked = len(postfix.asked)
    postfix.tables = {}
    now[0] = KEPT_SECONDS + 1

    assert first == second
    assert 1 == asked
    assert resolver.login_owners("info@example.test") is None


def test_a_table_within_the_setting_is_one_table():
    """postconf(5): braces keep it together."""
    inline = "inline:{ { team@example.test = alice@example.test, bob }, {x=y} }"
    postfix = FakePostfix(
        {inline: {"team@example.test": "alice@example.test"}},
        virtual_alias_maps=f"ldap:/virtual, {inline} pgsql:/later",
    )

    assert ["alice@example.test"] == addresses(postfix, "team@example.test")
    assert {"ldap:/virtual", inline, "pgsql:/later"} <= {table for table, _ in postfix.asked}
