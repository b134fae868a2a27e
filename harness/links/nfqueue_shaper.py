"""The `nfqueue` link backend: our userspace emulator runs in the gateway, and the gateway's packets go through it."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.errors import LabFailure, LinkFailure, ShaperDied
from harness.links import gateway
from harness.links.dialogue import Dialogue, Ended, Silent
from harness.links.envelope import judge_emulator
from harness.links.wire import impairment_from_json, impairment_to_json
from harness.model.links import Impairment, effective, severed
from harness.plan.cell import LinkPlan
from harness.runtime.archive import build_archive
from harness.runtime.protocol import WAN, Runtime

__all__ = ["NfqueueShaper"]

_ANSWER_S = 10.0
_ALIVE_S = 2.0


class NfqueueShaper:
    """Delays NFQUEUE verdicts, one queue per directed link (see `harness.links.nfqueue`)."""

    def __init__(self) -> None:
        self._lab: Runtime | None = None
        self._archive = ""
        self._links: dict[tuple[str, str], Impairment] = {}
        self._cut: set[tuple[str, str]] = set()
        self._numbers: dict[tuple[str, str], int] = {}
        self._dialogue: Dialogue | None = None
        self._closed = False

    @property
    def name(self) -> str:
        """ "nfqueue"."""
        return "nfqueue"

    @classmethod
    def unavailable(cls, lab: Runtime) -> str | None:
        """Binds a queue and installs an NFQUEUE rule that no packet reaches; None if both worked."""
        if (reason := gateway.missing(lab)) is not None:
            return reason
        try:
            archive = _send_archive(lab)
            bound = lab.run(WAN, [lab.python, archive, "--try"])
            if bound.returncode != 0:
                return bound.stderr.strip() or f"the emulator ended with status {bound.returncode}"
            trial = "*filter\n:harness-trial - [0:0]\n-A harness-trial -j NFQUEUE --queue-num 65534\nCOMMIT\n"
            undo = "*filter\n:harness-trial - [0:0]\n-X harness-trial\nCOMMIT\n"
            for program in ("iptables-restore", "ip6tables-restore"):
                done = lab.run(WAN, [program, "--noflush"], input=trial.encode())
                lab.run(WAN, [program, "--noflush"], input=undo.encode())
                if done.returncode != 0:
                    return f"{program} refuses NFQUEUE rules: {done.stderr.strip()}"
        except LabFailure as failure:
            return failure.what
        return None

    def apply(self, lab: Runtime, links: Sequence[LinkPlan]) -> None:
        """Start the emulator, bind one queue per directed link, then let packets into the queues."""
        self._lab = lab
        self._archive = _send_archive(lab)
        self._links = {(link.source, link.target): effective(link.impairment) for link in links}
        self._numbers = {pair: number for number, pair in enumerate(self._links, start=1)}
        self._launch()
        gateway.install(
            lab,
            [
                gateway.Crossing(lab.interface(source), lab.interface(target), gateway.queue(number))
                for (source, target), number in self._numbers.items()
            ],
        )

    def resume(self) -> None:
        """Start a new emulator after the old one died, with what was in force last."""
        if self._dialogue is not None and self._dialogue.process.poll() is None:
            raise LinkFailure("the emulator is still running", remedy="resume only after check() has failed")
        self._launch()
        for source, target in sorted(self._cut):
            self._ask({"op": "cut", "source": source, "target": target})

    def change(self, source: str, target: str, impairment: Impairment) -> float:
        """Change one direction live."""
        whole = effective(impairment)
        request = {"op": "change", "source": source, "target": target, "impairment": impairment_to_json(whole)}
        at_s = float(self._ask(self._known(source, target, request))["at_s"])
        self._links[source, target] = whole
        return at_s

    def cut(self, source: str, target: str) -> float:
        """Lose everything in one direction, also what is under way."""
        at_s = float(self._ask(self._known(source, target, {"op": "cut", "source": source, "target": target}))["at_s"])
        self._cut.add((source, target))
        return at_s

    def heal(self, source: str, target: str) -> float:
        """End a cut."""
        at_s = float(self._ask(self._known(source, target, {"op": "heal", "source": source, "target": target}))["at_s"])
        self._cut.discard((source, target))
        return at_s

    def read_back(self) -> Mapping[tuple[str, str], Impairment]:
        """What the emulator applies; a cut direction reads as a loss of 1."""
        found: dict[tuple[str, str], Impairment] = {}
        for link in self._ask({"op": "read_back"})["links"]:
            impairment = impairment_from_json(link["impairment"])
            found[link["source"], link["target"]] = severed(impairment) if link["cut"] else impairment
        return found

    def evidence(self) -> Mapping[str, Any]:
        """The emulator's own account, judged by `harness.links.envelope`."""
        answer = self._ask({"op": "evidence"})
        return {"backend": self.name, **answer, **judge_emulator(answer)}

    def check(self) -> None:
        """Raise LinkFailure if the emulator has ended or does not answer within 2 s."""
        self._ask({"op": "alive"}, timeout_s=_ALIVE_S)

    def close(self) -> None:
        """Refuse inter-site traffic, then end the emulator."""
        if self._closed or self._lab is None:
            return
        self._closed = True
        lab = self._lab
        try:
            gateway.refuse_all(lab, sorted({lab.interface(source) for source, _ in self._links}))
        finally:
            if self._dialogue is not None:
                self._dialogue.end()

    def _known(self, source: str, target: str, request: dict[str, Any]) -> dict[str, Any]:
        if (source, target) not in self._links:
            raise LinkFailure(f"there is no link from {source} to {target}", expected="a link that was applied")
        return request

    def _launch(self) -> None:
        lab = self._lab
        assert lab is not None
        self._dialogue = Dialogue(lab.start(WAN, [lab.python, self._archive], log="links"))
        described = [
            {
                "queue": number,
                "source": source,
                "target": target,
                "impairment": impairment_to_json(self._links[source, target]),
            }
            for (source, target), number in self._numbers.items()
        ]
        self._ask({"op": "apply", "links": described})

    def _ask(self, request: Mapping[str, Any], timeout_s: float = _ANSWER_S) -> dict[str, Any]:
        if self._dialogue is None or self._closed:
            raise LinkFailure("no link is in force", expected="apply() before anything else, nothing after close()")
        try:
            answer = self._dialogue.ask(request, timeout_s)
        except Silent:
            raise LinkFailure(
                f"the link emulator did not answer within {timeout_s:g} s",
                where=f"node {WAN}",
                expected="an answer; while it hangs no packet crosses between sites",
                remedy="see logs/links.log; the machine may be overloaded",
            ) from None
        except Ended as ended:
            raise ShaperDied(
                f"the link emulator has ended (status {ended.status}): nothing crosses between sites any more",
                where=f"node {WAN}",
                expected="a running emulator",
                remedy="see logs/links.log; the run's results are not valid",
            ) from None
        if not answer.pop("ok"):
            raise LinkFailure(f"the link emulator refused {request['op']}: {answer.get('error')}", where=f"node {WAN}")
        return answer


def _send_archive(lab: Runtime) -> str:
    with tempfile.TemporaryDirectory(prefix="harness-links-") as folder:
        archive = build_archive(
            Path(folder) / "links.pyz", ["harness.links.nfqueue"], "harness.links.nfqueue.main:main"
        )
        return lab.put(WAN, archive, "links.pyz")
