"""Keeps passwords out of everything stored: transport URLs lose theirs, and so do values named as secrets."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

__all__ = ["mask", "mask_text"]

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s\"'<>]*@")
#: user:password@ at the start of an authority or after a comma (oslo.messaging names several hosts in one URL, each
#: with its own user); reserved characters that should have been escaped are taken as part of the password.
_USER_INFO = re.compile(r"(?:(?<=://)|(?<=,))([^:@,/]*):[^@]*@(?:[^@,:/]*@)*")
_SECRET_KEY = re.compile(r"(?:^|[_-])(?:password|passwd|secret|cookie|token)s?$", re.IGNORECASE)
_HIDDEN = "***"


def mask_text(text: str) -> str:
    """`text` with the password of every URL in it replaced by `***`."""
    if "://" not in text:
        return text
    return _URL.sub(lambda found: _USER_INFO.sub(rf"\1:{_HIDDEN}@", found[0]), text)


def mask(value: Any) -> Any:
    """Plain JSON data with every URL's password, and every value under a key that names a secret, replaced by `***`."""
    if isinstance(value, str):
        return mask_text(value)
    if isinstance(value, Mapping):
        return {
            str(key): _HIDDEN if isinstance(item, str) and item and _SECRET_KEY.search(str(key)) else mask(item)
            for key, item in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [mask(item) for item in value]
    return value
