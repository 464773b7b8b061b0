"""The envelope as Postfix tells it in its two ways."""

import pytest

from letterlock.envelope import Envelope, ForwardPath


@pytest.mark.parametrize(
    ("expected", "argument"),
    [("a@b.test", "<a@b.test>"), ("a@b.test", "a@b.test"), ("", "<>"), ("", "")],
)
def test_reverse_paths_with_and_without_brackets(expected, argument):
    """smtpd writes brackets; for sendmail(1) and bounces Postfix writes none."""
    assert expected == Envelope.from_milter(argument).reverse_path


def test_what_a_copy_must_carry_on_is_kept():
    """Delivery status requests and the body type; the size is another one for a copy."""
    envelope = Envelope.from_milter("<>", "SIZE=10", "BODY=8BITMIME", "RET=HDRS", "envid=x")
    path = ForwardPath.from_milter("<a@b.test>", "NOTIFY=NEVER", "ORCPT=rfc822;a@b.test", "X=1")

    assert ("BODY=8BITMIME", "RET=HDRS", "envid=x") == envelope.parameters
    assert ("NOTIFY=NEVER", "ORCPT=rfc822;a@b.test") == path.parameters
