"""From matplotlib to the page: what was written stays as it was written."""

from __future__ import annotations

import re

from harness.report.plots.canvas import canvas


def test_numbers_in_text_keep_their_digits() -> None:
    """Coordinates lose digits, names and tick labels do not."""
    written = ["0.05", "99.99", "99.999", "oslo 5.17.1", 'd="0.123"']
    with canvas("c", "release 12.0.25", "said") as drawn:
        drawn.axes.plot([0, 1], [0, 1], alpha=0.14)
        drawn.axes.set_xticks([0, 0.25, 0.5, 0.75, 1], written)
    svg = drawn.plot().svg
    texts = re.findall(r">([^<>\n]+)</text>", svg)
    assert {*written, "release 12.0.25"} <= {text.replace("&quot;", '"') for text in texts}
    assert re.search(r'<path d="[^"]*\d\.\d{2}', svg) is None
    assert "opacity: 0.14" in svg
