"""What is issued, as openssl sees it; and what is not."""

import re
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from client_certificates import PASSPHRASE, openssl, request, verify
from keyservice.client_ca import issuing, public_key
from keyservice.client_ca.authority import Authority, make_authority, unlock
from keyservice.client_ca.errors import CALocked, UnsuitableAddress, UnsuitableRequest
from keyservice.client_ca.issuing import Signed
from keyservice.client_ca.months import first_day
from keyservice.mailbox import Mailbox

ALICE = Mailbox.parse("Alice@example.org")
NOW = time.time()


@pytest.fixture(scope="module")
def authority() -> Authority:
    """One that was made a moment ago."""
    made = make_authority("Example Org", PASSPHRASE, NOW)
    return unlock(made.certificate, made.private_key, PASSPHRASE)


def issued(authority: Authority, mailbox: Mailbox = ALICE, now: float = NOW) -> Signed:
    """Sign a certificate for a new key."""
    return issuing.sign(authority, mailbox, issuing.generate().public_key(), now, 12)


def extensions(certificate: x509.Certificate) -> str:
    """Return what openssl prints of them, in one line."""
    text = openssl("x509", "-noout", "-text", octets=issuing.pem(certificate).encode()).decode()
    return " ".join(text.partition("X509v3 extensions:")[2].partition("Signature Alg")[0].split())


def test_it_says_one_address_and_client_authentication_only(authority: Authority) -> None:
    """What leap_web's says, and the address where RFC 5280 wants it, too."""
    certificate = issued(authority).certificate
    shown = re.sub(r"([0-9A-F]{2}:){19}[0-9A-F]{2}", "ID", extensions(certificate))

    assert "CN=alice@example.org" == certificate.subject.rfc4514_string()
    assert (
        "X509v3 Basic Constraints: critical CA:FALSE"
        " X509v3 Key Usage: critical Digital Signature"
        " X509v3 Extended Key Usage: TLS Web Client Authentication"
        " X509v3 Subject Alternative Name: email:alice@example.org"
        " X509v3 Subject Key Identifier: ID"
        " X509v3 Authority Key Identifier: ID"
    ) == shown


def test_the_authority_can_do_nothing_but_issue_these(authority: Authority) -> None:
    """No authorities below it, no other use, even for who trusts it too much."""
    shown = extensions(authority.certificate)

    assert "Basic Constraints: critical CA:TRUE, pathlen:0" in shown
    assert "Key Usage: critical Certificate Sign X509v3" in shown
    assert "Extended Key Usage: TLS Web Client Authentication X509v3" in shown
    name = authority.certificate.subject.rfc4514_string()
    assert re.fullmatch(r"CN=Example Org client CA [0-9a-f]{8}", name)


@pytest.mark.parametrize(
    ("purpose", "is_good"), [("sslclient", True), ("sslserver", False), ("smimesign", False)]
)
def test_openssl_takes_it_for_clients_only(
    authority: Authority, tmp_path: Path, purpose: str, is_good: bool
) -> None:
    """With the strict checks of RFC 5280."""
    signed = issued(authority)
    texts = issuing.pem(signed.authority), issuing.pem(signed.certificate)

    verdict = verify(*texts, tmp_path, "-purpose", purpose)

    assert is_good == (verdict == "OK")
    assert is_good or "unsuitable certificate purpose" in verdict


def test_another_authority_of_the_same_organisation_did_not_issue_it(
    authority: Authority, tmp_path: Path
) -> None:
    """Each has a name and a key of its own."""
    other = make_authority("Example Org", PASSPHRASE, NOW)
    opened = unlock(other.certificate, other.private_key, PASSPHRASE)
    pem = issuing.pem(opened.certificate)

    assert "unable to get local issuer" in verify(
        pem, issuing.pem(issued(authority).certificate), tmp_path
    )


def test_serial_numbers_tell_nothing(authority: Authority) -> None:
    """Random, positive, at most 20 octets (RFC 5280 §4.1.2.2)."""
    numbers = [issued(authority).certificate.serial_number for _ in range(16)]

    assert 16 == len(set(numbers))
    assert all(0 < number < 1 << 159 for number in numbers)
    assert max(numbers) > 1 << 144


@given(st.integers(0, 20_000_000_000), st.integers(-60, 500))
def test_months_begin_at_midnight(now: int, months: int) -> None:
    """On the first of a month, and as many months away as was said."""
    today = datetime.fromtimestamp(now, UTC)
    day = first_day(now, months)

    assert (1, 0, 0, 0) == (day.day, day.hour, day.minute, day.second)
    assert months == (day.year - today.year) * 12 + day.month - today.month


def test_the_validity_does_not_tell_the_day(authority: Authority) -> None:
    """All that are issued in one month are alike; each is good for a year at least."""
    year = datetime.now(UTC).year + 1
    moments = [datetime(year, 3, day, 17, 5, tzinfo=UTC).timestamp() for day in (1, 14, 31)]

    validities = {
        (c.not_valid_before_utc, c.not_valid_after_utc)
        for c in (issued(authority, now=moment).certificate for moment in moments)
    }

    midnight = (datetime(year, 2, 1, tzinfo=UTC), datetime(year + 1, 4, 1, tzinfo=UTC))
    assert {midnight} == validities


def test_it_ends_with_the_authority_at_the_latest(authority: Authority) -> None:
    """Nobody could verify it afterwards."""
    end = authority.certificate.not_valid_after_utc

    assert end == issued(authority, now=end.timestamp() - 86_400).certificate.not_valid_after_utc


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("grüße@example.org", "ASCII"),
        ("a" * 53 + "@example.org", "65"),
    ],
)
def test_an_address_that_no_certificate_can_name_is_refused(address: str, why: str) -> None:
    """With the reason; its owner can submit with a password."""
    issuing.require_suitable(Mailbox.parse("a" * 52 + "@example.org"))
    issuing.require_suitable(Mailbox.parse("a@bücher.example"))
    with pytest.raises(UnsuitableAddress, match=why):
        issuing.require_suitable(Mailbox.parse(address))


def test_pkcs12_opens_with_its_password_and_holds_all(authority: Authority, tmp_path: Path) -> None:
    """Certificate, authority and private key, which fits."""
    private_key = issuing.generate()
    signed = issuing.sign(authority, ALICE, private_key.public_key(), NOW, 12)
    path = tmp_path / "alice.p12"
    path.write_bytes(issuing.pkcs12_of(signed, private_key, "a secret"))

    opened = openssl("pkcs12", "-in", path, "-passin", "pass:a secret", "-nodes").decode()

    assert "friendlyName: alice@example.org" in opened
    assert issuing.pem(signed.certificate) in opened
    assert issuing.pem(signed.authority) in opened
    assert issuing.pem_of_key(private_key) in opened


_EC = ("-newkey", "ec", "-pkeyopt")


@pytest.mark.parametrize(
    "key",
    [
        (*_EC, "ec_paramgen_curve:P-256"),
        (*_EC, "ec_paramgen_curve:P-384"),
        (*_EC, "ec_paramgen_curve:P-521", "-sha512"),
        ("-newkey", "ed25519"),
        ("-newkey", "rsa:2048"),
    ],
)
def test_only_the_public_key_of_a_request_counts(
    authority: Authority, tmp_path: Path, key: tuple[str, ...]
) -> None:
    """Whatever it asks for: another name, being an authority. PEM or DER."""
    pem = request(tmp_path, *key, "-addext", "basicConstraints=CA:TRUE")
    der = openssl("req", "-in", pem, "-outform", "DER")

    for octets in (pem.read_bytes(), b"Certificate Request:\n" + pem.read_bytes(), der):
        public = public_key.of_request(octets)
        certificate = issuing.sign(authority, ALICE, public, NOW, 12).certificate

        assert certificate.public_key() == public
        assert "CN=alice@example.org" == certificate.subject.rfc4514_string()
        assert "CA:FALSE" in extensions(certificate)


@pytest.mark.parametrize(
    ("key", "why"),
    [
        (("-newkey", "rsa:1024"), "2048"),
        (("-newkey", "rsa:2048", "-pkeyopt", "rsa_keygen_pubexp:3"), "exponent"),
        ((*_EC, "ec_paramgen_curve:secp256k1"), "curve"),
        ((*_EC, "ec_paramgen_curve:P-224"), "curve"),
        (("-newkey", "ed448"), "EC, RSA or Ed25519"),
        (("-newkey", "rsa:2048", "-sha1"), "SHA-256"),
        (("-newkey", "rsa:2048", "-md5"), "SHA-256"),
    ],
)
def test_a_weak_key_is_refused(tmp_path: Path, key: tuple[str, ...], why: str) -> None:
    """So is a weak signature, which proves nothing."""
    path = request(tmp_path, *key)

    with pytest.raises(UnsuitableRequest, match=why):
        public_key.of_request(path.read_bytes())


def test_a_request_must_be_signed_by_the_key_that_it_names(tmp_path: Path) -> None:
    """Otherwise somebody else's key could be certified for him."""
    octets = bytearray(openssl("req", "-in", request(tmp_path), "-outform", "DER"))
    octets[-1] ^= 1

    with pytest.raises(UnsuitableRequest, match="signature"):
        public_key.of_request(bytes(octets))


@given(st.binary(max_size=200) | st.binary(max_size=100).map(lambda b: b"-----BEGIN" + b))
def test_rubbish_is_refused(octets: bytes) -> None:
    """With the same error, whatever it is."""
    with pytest.raises(UnsuitableRequest):
        public_key.of_request(octets)


def test_a_request_that_is_too_large_is_refused() -> None:
    """Before anything looks into it."""
    with pytest.raises(UnsuitableRequest, match="octets"):
        public_key.of_request(b"x" * (public_key.REQUEST_OCTETS_MAX + 1))


def test_the_private_key_rests_encrypted(tmp_path: Path) -> None:
    """openssl can read it with the passphrase, and so nothing is lost with this program."""
    made = make_authority("Example Org", PASSPHRASE, NOW)
    assert made.private_key.startswith(b"-----BEGIN ENCRYPTED PRIVATE KEY-----")

    public = openssl(
        "pkey", "-passin", f"pass:{PASSPHRASE.decode()}", "-pubout", octets=made.private_key
    )

    pem = issuing.pem(x509.load_der_x509_certificate(made.certificate))
    assert public == openssl("x509", "-noout", "-pubkey", octets=pem.encode())


def test_it_is_unlocked_by_its_passphrase_only() -> None:
    """Another one, none, or another authority's key: locked, without a word of the secret."""
    made, other = (make_authority("Example Org", PASSPHRASE, NOW) for _ in range(2))

    for private_key, secret in (
        (made.private_key, b"x" * 40),
        (made.private_key, b""),
        (other.private_key, PASSPHRASE),
        (b"rubbish", PASSPHRASE),
    ):
        with pytest.raises(CALocked) as caught:
            unlock(made.certificate, private_key, secret)
        assert "xxx" not in str(caught.value)
