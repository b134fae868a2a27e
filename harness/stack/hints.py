"""What to do about an installer's failure, told from its last lines."""

from __future__ import annotations

import re

__all__ = ["remedy_for"]

#: (pattern in the installer's output, what to do), the first that matches wins.
_REMEDIES: tuple[tuple[str, str], ...] = (
    (r"'(gcc|cc|clang|x86_64-linux-gnu-gcc)'|command '(gcc|cc)' failed: No such|unable to execute '?(gcc|cc)",
     "a package is compiled here: install a C compiler (Debian: apt-get install build-essential)"),
    (r"Python\.h: No such file", "install the interpreter's headers (Debian: apt-get install python3-dev)"),
    (r"openssl/\w+\.h: No such file|OpenSSL not installed",
     "install OpenSSL's headers (Debian: apt-get install libssl-dev)"),
    (r"sasl/sasl\.h: No such file|Cyrus SASL not installed",
     "install Cyrus SASL's headers (Debian: apt-get install libsasl2-dev)"),
    (r"No module named 'oslo_messaging\._drivers\.impl_amqp1'",
     "this release has no amqp1 driver (removed in oslo.messaging 15.0.0; 14.9.3 is the last with it)"),
    (r"No module named 'pkg_resources'", "add setuptools==79.0.1 to the stack's requirements"),
    (r"No module named", "add the missing package to the stack's requirements"),
    (r"does not satisfy Python|requires-python|Requires-Python",
     "choose another Python for the stack (`python:`) or another version of the package"),
    (r"(?s)depends\s+on.*you\s+require",
     "two packages ask for different versions of a third: change one, or put the version to be installed all the same "
     "into the stack's `overrides`"),
    (r"there is no version of|was not found in the package registry|No solution found",
     "check names and versions of the stack's requirements against the package index"),
    (r"[Nn]o space left on device|have enough free space",
     "make room (a container engine's: `harness images prune`), or set HARNESS_CACHE to a directory on another disk"),
    (r"dns error|error sending request|Failed to fetch|Could not connect|timed out|Connection refused",
     "the package index was not reached: check the network and the proxy settings, then run again"),
)  # fmt: skip


def remedy_for(output: str) -> str | None:
    """The remedy for the first known cause in the output, None for an unknown one."""
    for pattern, remedy in _REMEDIES:
        if re.search(pattern, output):
            return remedy
    return None
