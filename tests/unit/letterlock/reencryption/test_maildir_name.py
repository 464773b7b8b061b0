"""Names of files in a Maildir."""

import pytest

from letterlock.reencryption.maildir_name import MaildirName


@pytest.mark.parametrize(
    ("name", "base", "sized"),
    [
        ("1.M2P3.h", "1.M2P3.h", "1.M2P3.h,S=4,W=6"),
        ("1.M2P3.h:2,", "1.M2P3.h", "1.M2P3.h,S=4,W=6:2,"),
        ("1.M2P3.h,S=9:2,RS", "1.M2P3.h,S=9", "1.M2P3.h,S=4,W=6:2,RS"),
        ("1.M2P3.h,W=9,S=8,X=1:2,Sab", "1.M2P3.h,W=9,S=8,X=1", "1.M2P3.h,X=1,S=4,W=6:2,Sab"),
        ("odd", "odd", "odd,S=4,W=6"),
        (":2,S", "", ",S=4,W=6:2,S"),
        ("1:2,S:x,y", "1", "1,S=4,W=6:2,S:x,y"),
    ],
)
def test_parts_of_a_name(name: str, base: str, sized: str) -> None:
    """The base is what stays when flags change; sizes are those of the new content."""
    parsed = MaildirName.parse(name)

    assert name == str(parsed)
    assert base == parsed.base
    assert sized == str(parsed.sized(b"a\nb\n"))


def test_w_is_the_size_with_crlf() -> None:
    """Lines that end in CRLF already count once."""
    assert "x,S=5,W=6" == str(MaildirName("x").sized(b"a\r\nb\n"))
