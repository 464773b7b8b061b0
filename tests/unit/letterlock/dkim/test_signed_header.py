"""The signed octets of a header section are those that dkimpy would hash."""

import dkim
from dkim.canonicalization import CanonicalizationPolicy
from hypothesis import given
from hypothesis import strategies as st

from letterlock.dkim.body_hash import Canonicalization
from letterlock.dkim.signed_header import SignedHeader
from letterlock.message import HeaderField, HeaderSection

NAMES = st.sampled_from([b"From", b"from", b"To", b"SUBJECT", b"Subject ", b"X-a"])
TEXTS = st.lists(st.sampled_from([b" ", b"\t", b"\r\n ", b"\r\n\t", b"x", b"B", b"\xc3\xa9"])).map(
    b"".join
)
SECTIONS = st.lists(st.tuples(NAMES, TEXTS), max_size=8)
LISTED = st.lists(st.sampled_from([b"from", b"to", b"subject", b"x-a", b"cc"]), max_size=10)


class _Octets:
    """Takes the place of dkimpy's hash."""

    def __init__(self):
        self.octets = b""

    def update(self, more):
        self.octets += more


def expected(fields, names, value, form):
    policy = CanonicalizationPolicy.from_c_value(form.value.encode())
    # dkimpy compares names with the blanks after them.
    pairs = [(name.rstrip(), text + b"\r\n") for name, text in fields]
    taken = _Octets()
    own = b"DKIM-Signature", value + b"\r\n"
    dkim.hash_headers(taken, policy, policy.canonicalize_headers(pairs), names, own, {})
    return taken.octets


@given(SECTIONS, LISTED, st.sampled_from(Canonicalization), st.integers(0, 8))
def test_what_is_selected_is_what_dkimpy_selects(fields, names, form, place):
    """Field by field from the bottom, as often as a name is listed; itself at the end."""
    value = b" v=1;\r\n\tb=AbC/\r\n\t d+=; d=x"
    listed = [HeaderField(name.rstrip(), text) for name, text in fields]
    own = min(place, len(listed))
    listed.insert(own, HeaderField(b"DKIM-Signature", value))

    signed = SignedHeader(HeaderSection(tuple(listed))).selected(names, own, form)

    assert expected(fields, names, value, form) == signed


def test_only_the_value_of_b_is_left_out_and_all_of_it():
    """RFC 6376 §3.7: with the blanks around it; bh= and z= are no b=."""
    value = b"bh=b=x; b\r\n\t= abc\r\n\tdef ; z= b=y;b=2"
    section = HeaderSection((HeaderField(b"DKIM-Signature", value),))

    signed = SignedHeader(section).selected([], 0, Canonicalization.SIMPLE)

    assert b"DKIM-Signature:bh=b=x; b\r\n\t=; z= b=y;b=2" == signed
