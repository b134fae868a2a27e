"""Building stacks: content-keyed, once, and with an error a person can act on."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path
from threading import Thread

import pytest

from harness.errors import StackFailure
from harness.model.stack import StackSpec
from harness.stack.build import build_stack, build_stacks, default_cache, stack_key
from harness.stack.hints import remedy_for
from harness.stack.interpreter import find_interpreter
from harness.stack.shipped import shipped_stack

SMALL = StackSpec(name="small", requirements=("vine==5.1.0",))


def test_a_built_stack_runs_and_says_what_is_in_it(tmp_path: Path) -> None:
    environment = build_stack(SMALL, cache=tmp_path)
    assert environment.freeze == ("vine==5.1.0",)
    output = subprocess.check_output([environment.python, "-c", "import sys, vine; print(sys.prefix)"], text=True)
    assert Path(output.strip()) == environment.python.parent.parent
    assert tmp_path in environment.python.parents


def test_the_second_build_is_the_first(tmp_path: Path) -> None:
    first = build_stack(SMALL, cache=tmp_path)
    lines: list[str] = []
    assert build_stack(SMALL, cache=tmp_path, progress=lines.append) == first
    assert lines == []


def test_a_build_that_was_cut_short_is_done_again(tmp_path: Path) -> None:
    first = build_stack(SMALL, cache=tmp_path)
    home = first.python.parents[2]
    (home / ".complete").unlink()
    (home / "requirements.lock").write_text("damaged")
    assert build_stack(SMALL, cache=tmp_path) == first


def test_builds_of_one_stack_at_the_same_time_make_one_environment(tmp_path: Path) -> None:
    built: list[str] = []

    def build() -> None:
        build_stack(SMALL, cache=tmp_path, progress=lambda line: built.append(line) if line == "built" else None)

    threads = [Thread(target=build) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert built == ["built"]


def test_the_key_follows_packages_and_not_names_or_options() -> None:
    interpreter = find_interpreter(SMALL)
    same = SMALL.model_copy(update={"name": "other", "options": {"DEFAULT": {"x": 1}}, "env": {"A": "b"}})
    assert stack_key(same, interpreter) == stack_key(SMALL, interpreter)
    for packages in ("requirements", "constraints", "overrides"):
        other = SMALL.model_copy(update={packages: ("vine==5.0.0",)})
        assert stack_key(other, interpreter) != stack_key(SMALL, interpreter)


def test_an_unknown_version_is_named_with_a_remedy(tmp_path: Path) -> None:
    spec = StackSpec(name="wrong", requirements=("vine==99.0.0",))
    with pytest.raises(StackFailure, match=r"(?s)stack wrong.*99\.0\.0.*remedy: check names and versions"):
        build_stack(spec, cache=tmp_path)
    assert not list(tmp_path.glob("stacks/*/.complete"))


def test_an_old_release_is_installed_beside_what_it_did_not_ask_for(tmp_path: Path) -> None:
    too_old = StackSpec(name="pair", requirements=("amqp==5.4.2", "vine==1.3.0"))
    with pytest.raises(StackFailure, match=r"(?s)remedy: two packages ask for different versions.*`overrides`"):
        build_stack(too_old, cache=tmp_path)
    environment = build_stack(too_old.model_copy(update={"overrides": ("vine==1.3.0",)}), cache=tmp_path)
    assert environment.freeze == ("amqp==5.4.2", "vine==1.3.0")


def test_a_driver_the_release_no_longer_has_is_named(tmp_path: Path) -> None:
    spec = StackSpec(name="gone", requirements=("vine==5.1.0",), driver="rabbit", adapters=("oslo",))
    with pytest.raises(StackFailure, match=r"(?s)stack gone.*oslo_messaging"):
        build_stack(spec, cache=tmp_path)


def test_a_missing_interpreter_is_named(tmp_path: Path) -> None:
    spec = StackSpec(name="old", python=str(tmp_path / "python"))
    with pytest.raises(StackFailure, match="does not run as a Python interpreter"):
        build_stack(spec, cache=tmp_path)


def test_one_failure_does_not_keep_the_others_from_being_built(tmp_path: Path) -> None:
    with pytest.raises(StackFailure, match="stack wrong"):
        build_stacks([StackSpec(name="wrong", requirements=("vine==99.0.0",)), SMALL], cache=tmp_path)
    assert list(tmp_path.glob("stacks/*/.complete"))


def test_an_interrupt_ends_the_installers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installer = tmp_path / "uv"
    installer.write_text(f"#!/bin/sh\necho begun > {tmp_path}/begun\nsleep 60\ntouch {tmp_path}/over\n")
    installer.chmod(0o755)
    monkeypatch.setattr("uv.find_uv_bin", lambda: str(installer))

    def interrupt() -> None:
        while not (tmp_path / "begun").exists():
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    # A job in the background of a shell ignores the signal.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    Thread(target=interrupt).start()
    try:
        with pytest.raises(KeyboardInterrupt):
            build_stacks([SMALL], cache=tmp_path)
    finally:
        signal.signal(signal.SIGINT, before)
    assert not (tmp_path / "over").exists(), "nobody waited for the installer"
    assert not list(tmp_path.glob("stacks/*/.complete"))


def test_a_slow_installer_is_a_failure_of_the_stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installer = tmp_path / "uv"
    installer.write_text("#!/bin/sh\nsleep 60\n")
    installer.chmod(0o755)
    monkeypatch.setattr("uv.find_uv_bin", lambda: str(installer))
    with pytest.raises(StackFailure, match="did not finish within 1 s"):
        build_stack(SMALL, cache=tmp_path, timeout_s=1.0)
    monkeypatch.setattr("harness.stack.interpreter._UV_S", 1.0)
    with pytest.raises(StackFailure, match=r"no Python 3\.8 on this machine(?s:.)*took more than 1 s"):
        find_interpreter(StackSpec(name="old", python="3.8"))


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StackFailure, match="HARNESS_CACHE"):
        build_stack(SMALL, cache=tmp_path / "file")


def test_the_cache_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path))
    assert default_cache() == tmp_path
    monkeypatch.delenv("HARNESS_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache() == tmp_path / "femdc-harness"


@pytest.mark.parametrize(
    ("output", "part"),
    [
        ("error: [Errno 2] No such file or directory: 'gcc'", "C compiler"),
        ("cproton.c:1: fatal error: openssl/ssl.h: No such file or directory", "libssl-dev"),
        ("fatal error: sasl/sasl.h: No such file or directory", "libsasl2-dev"),
        ("ModuleNotFoundError: No module named 'oslo_messaging._drivers.impl_amqp1'", "14.9.3"),
        ("cause: dns error", "network"),
    ],
)
def test_known_causes_have_a_remedy(output: str, part: str) -> None:
    assert part in (remedy_for(output) or "")


def test_an_unknown_cause_has_none() -> None:
    assert remedy_for("something else") is None


@pytest.mark.parametrize(
    "name", ["oslo-14.7.3-rabbit", "oslo-14.7.3-amqp1", "oslo-18.3.1-rabbit", "proton", "loopback"]
)
def test_every_shipped_stack_builds(name: str) -> None:
    environment = build_stack(shipped_stack(name))
    pins = {line.split("==")[0].replace(".", "-") for line in environment.freeze}
    for requirement in shipped_stack(name).requirements:
        assert requirement.split("==")[0].replace(".", "-") in pins
