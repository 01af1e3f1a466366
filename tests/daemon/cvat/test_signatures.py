"""A delivery counts only when somebody who knows the secret sent exactly these bytes."""

from __future__ import annotations

import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.cvat.signatures import PIECE_BYTES, SIGNATURE_HEADER, BadSignature, check, sign

BODY = b'{"event": "update:job"}'


@pytest.mark.parametrize("version", ["2.15", "2.73"])
def test_every_recorded_delivery_has_the_signature_that_cvat_made(recording, version):
    """Ours is CVAT's computation, over its bytes, by two of its releases."""
    deliveries = recording(version, "deliveries")

    signed = [sign(delivery["body"].encode(), delivery["secret"]) for delivery in deliveries]

    assert signed == [delivery["headers"][SIGNATURE_HEADER] for delivery in deliveries]


@given(body=st.binary(), secret=st.text(min_size=1, max_size=64), at=st.integers(min_value=0))
def test_a_body_with_one_bit_changed_is_refused(body, secret, at):
    """Any change on the way must be seen."""
    header = sign(body, secret)
    changed = bytearray(body or b"\0")
    changed[at % len(changed)] ^= 1

    check(body, header, [secret])
    with pytest.raises(BadSignature):
        check(bytes(changed) if body else b"\0", header, [secret])


@pytest.mark.parametrize("size", [0, 1, PIECE_BYTES, PIECE_BYTES + 1, 3 * PIECE_BYTES, 1 << 20])
def test_a_body_of_any_size_is_signed_whole(size: int):
    """It is hashed piece by piece; a piece left out could be changed by anybody."""
    body = bytes(range(256)) * (size // 256 + 1)

    made = sign(body[:size], "secret")

    assert made == "sha256=" + hmac.digest(b"secret", body[:size], "sha256").hex()


def test_while_a_secret_is_changed_the_old_and_the_new_one_are_accepted():
    """Deliveries under way were signed with the old secret."""
    check(BODY, sign(BODY, "old"), ["new", "old"])
    check(BODY, sign(BODY, "new"), ["new", "old"])

    with pytest.raises(BadSignature):
        check(BODY, sign(BODY, "older"), ["new", "old"])


def test_an_empty_secret_opens_nothing():
    """A forgotten setting must not accept what anybody can compute."""
    with pytest.raises(BadSignature):
        check(BODY, sign(BODY, ""), [""])
    with pytest.raises(BadSignature):
        check(BODY, sign(BODY, ""), [])


@pytest.mark.parametrize(
    "header", [None, "", "sha256=", "sha1=00", "é", "\udcff", "\0", "x" * 100_000]
)
def test_a_header_that_is_no_signature_is_refused_in_words(header):
    """Strangers send anything; a crash would be a 500 and tell them so."""
    with pytest.raises(BadSignature):
        check(BODY, header, ["secret"])


def test_the_bare_hex_of_the_documentation_is_refused():
    """CVAT's docs show the header without its prefix, its code always sends it."""
    with pytest.raises(BadSignature):
        check(BODY, sign(BODY, "secret").removeprefix("sha256="), ["secret"])


def test_a_refusal_does_not_show_the_right_signature():
    """What is logged about a bad delivery must not help to forge one."""
    with pytest.raises(BadSignature) as refusal:
        check(BODY, "sha256=00", ["secret"])

    assert sign(BODY, "secret")[7:] not in str(refusal.value)
    assert "secret'" not in str(refusal.value)
