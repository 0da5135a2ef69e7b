# SPDX-License-Identifier: Apache-2.0
"""What is noted of many files or images, in one file that is read at once.

The file is magic, SHA-256 of the rest, and canonical JSON: values by the name of what they speak
of, which is a digest. What is damaged counts as absent and is noted again.
"""

from typing import Final

from tiny_agent_trainer import canonical, digests
from tiny_agent_trainer.tokenizer.cache.store import Store

_MAGIC: Final = b"TATNOTE1"
_DIGEST_BYTES: Final = 64


class Notes:
    """Values by name, of which those that nobody asked for are forgotten.

    Args:
        store: Where they are kept; None to keep none.
        key: What they are kept under.
    """

    def __init__(self, store: Store | None, key: str) -> None:
        self._store, self._key = store, key
        self._known = _decode(store.read(key, "notes") if store else None)
        self._used: dict[str, canonical.JsonValue] = {}
        self._is_new = False

    def find(self, name: str) -> canonical.JsonValue:
        """The value of a name; None without one."""
        value = self._known.get(name)
        if value is not None:
            self._used[name] = value
        return value

    def note(self, name: str, value: canonical.JsonValue) -> None:
        """Keep a value, which holds no path, name or identifier."""
        if self._known.get(name) != value:
            self._is_new = True
        self._used[name] = value

    def close(self) -> None:
        """Write what was noted, if anything is new and the disk allows it."""
        if self._store and self._is_new:
            data = canonical.encode(self._used)
            head = _MAGIC + digests.sha256_hex(data).encode()
            self._store.keep(self._key, "notes", [head, data])


def _decode(data: bytes | None) -> dict[str, canonical.JsonValue]:
    """The values of a file; none if there is no file or it is damaged."""
    if data is None or not data.startswith(_MAGIC):
        return {}
    start = len(_MAGIC) + _DIGEST_BYTES
    body = data[start:]
    if digests.sha256_hex(body).encode() != data[len(_MAGIC) : start]:
        return {}
    values = canonical.decode(body)
    return values if isinstance(values, dict) else {}
