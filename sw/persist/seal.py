"""Seal: only who knows the key can write what verifies. HMAC-SHA256; the key reaches the next kernel by another way."""
import hashlib
import hmac

__all__ = ["KEY_BYTES", "SEAL_BYTES", "is_sealed", "seal"]

KEY_BYTES = 16  # at least
SEAL_BYTES = hashlib.sha256().digest_size


def seal(key: bytes, body: bytes) -> bytes:
    """The seal of a body. Raises ValueError if the key is too short to be one."""
    if len(key) < KEY_BYTES:
        raise ValueError(f"the seal key must have at least {KEY_BYTES} bytes, not {len(key)}")
    return hmac.new(key, body, hashlib.sha256).digest()


def is_sealed(key: bytes, body: bytes, found: bytes) -> bool:
    """Whether this seal was made for this body with this key; takes the same time either way."""
    return hmac.compare_digest(seal(key, body), found)
