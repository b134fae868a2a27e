"""What processes used, of samples made by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from harness.analysis.resources import summarise_resources

MIB = 1 << 20


def samples(t_s: list[float], anonymous: list[float]) -> pd.DataFrame:
    """One process, MiB at these instants."""
    frame = pd.DataFrame({"t_s": t_s, "anonymous": np.array(anonymous) * MIB, "role": "client", "site": "a"})
    frame = frame.assign(process="c", pid=1, cpu_user_s=frame["t_s"] * 0.5, cpu_system_s=0.0)
    return frame.assign(**dict.fromkeys(("rss", "pss", "uss", "fds", "threads", "sockets"), 1.0))


@pytest.mark.parametrize(
    ("t_s", "anonymous", "begin", "end"),
    [
        ([0.1, 1.1, 2.1], [10.0, 11.0, 12.0], 10.0, 12.0),
        ([0.9, 1.9], [10.0, 11.0], 10.0, 11.0),
        ([0.1, 1.9, 2.9], [10.0, 11.0, np.nan], 10.0, 11.0),
    ],
    ids=["no sample at the end", "nor at the beginning", "one that could not be read"],
)
def test_a_short_load_has_its_first_and_last_sample(
    t_s: list[float], anonymous: list[float], begin: float, end: float
) -> None:
    (row,) = summarise_resources(samples(t_s, anonymous), {"warmup_s": 0, "duration_s": 3}).to_dict("records")
    assert (row["anonymous_mib_begin"], row["anonymous_mib_end"]) == (begin, end)
    assert row["cpu_cores"] == pytest.approx(0.5)
