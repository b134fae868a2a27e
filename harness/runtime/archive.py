"""Packs node-side code into one runnable file, so that it can be sent to any node.

Node-side code (`harness.agent`, the link emulator, the embedded router) imports the standard library and its own
package only. The archive holds just the packages asked for under empty parent packages, so nothing of the
controller can be imported by accident.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path

__all__ = ["build_archive"]

_PACKAGE_ROOT = Path(__file__).resolve().parent.parent


def build_archive(target: Path, packages: Sequence[str], main: str) -> Path:
    """Write a zip that `python target [args]` runs.

    Args:
        target: file to write, usually ending in ".pyz".
        packages: dotted names of packages or modules below `harness`, e.g. ["harness.agent"].
        main: "module:function" called without arguments; its result is the exit status.

    Returns:
        target.
    """
    module, function = main.split(":")
    files: dict[str, bytes] = {}
    for package in packages:
        parts = package.split(".")
        for depth in range(1, len(parts)):
            files.setdefault("/".join([*parts[:depth], "__init__.py"]), b"")
        source = _PACKAGE_ROOT.joinpath(*parts[1:])
        if source.is_dir():
            for path in sorted(source.rglob("*.py")):
                files["/".join([*parts, *path.relative_to(source).parts])] = path.read_bytes()
        else:
            files["/".join(parts) + ".py"] = source.with_suffix(".py").read_bytes()
    files["__main__.py"] = f"import sys\nfrom {module} import {function}\nsys.exit({function}())\n".encode()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in sorted(files.items()):
            archive.writestr(zipfile.ZipInfo(name, (2020, 1, 1, 0, 0, 0)), content)
    return target
