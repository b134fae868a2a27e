"""Colours and marks of the reports: one token per meaning, each with a value for light and for dark.

Systems differ by colour AND by marker and dash, so that no reading depends on colour. Contrast of every ink against
its paper is at least 4.5:1 (text) or 3:1 (lines), WCAG 2.1.
"""

from __future__ import annotations

__all__ = ["DARK", "DASHES", "LIGHT", "MARKERS", "SERIES", "css_variables", "series"]

#: Token -> colour on light paper.
LIGHT = {
    "paper": "#ffffff",
    "raised": "#f6f7f9",
    "ink": "#16191d",
    "muted": "#57606b",
    "line": "#dce1e7",
    "faint": "#eceff3",
    "accent": "#0b5cad",
    "warn-ink": "#7a4100",
    "warn-paper": "#fff4e0",
    "warn-line": "#e8a33d",
    "s0": "#0b62b4",
    "s1": "#c2410c",
    "s2": "#0f766e",
    "s3": "#7c3aed",
    "s4": "#946200",
    "s5": "#be185d",
    "s6": "#4b5563",
    "s7": "#3f7d20",
}
#: The same on dark paper.
DARK = {
    "paper": "#12151a",
    "raised": "#1a1f26",
    "ink": "#e9edf2",
    "muted": "#a3adb9",
    "line": "#333b46",
    "faint": "#242a33",
    "accent": "#7cb8ff",
    "warn-ink": "#ffd08a",
    "warn-paper": "#2b2112",
    "warn-line": "#a5752a",
    "s0": "#6fb4ff",
    "s1": "#ff9a66",
    "s2": "#52d0bf",
    "s3": "#b9a0ff",
    "s4": "#e0b64a",
    "s5": "#fa8fb8",
    "s6": "#aab4c0",
    "s7": "#8fd06a",
}
SERIES = tuple(token for token in LIGHT if token[0] == "s" and token[1:].isdigit())
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
DASHES: tuple[tuple[float, ...], ...] = (
    (),
    (5, 2),
    (1, 1.6),
    (6, 2, 1.2, 2),
    (3, 1.4),
    (8, 2),
    (2, 3),
    (6, 1.5, 1.2, 1.5),
)


def series(index: int) -> tuple[str, str, tuple[float, ...]]:
    """Colour token, marker and dashes of the index-th series; past the eighth they repeat in other combinations."""
    turn = index // len(SERIES)
    return SERIES[index % len(SERIES)], MARKERS[(index + turn) % len(MARKERS)], DASHES[(index + turn) % len(DASHES)]


def css_variables() -> str:
    """CSS that defines every token, following the reader's preference."""

    def block(tokens: dict[str, str]) -> str:
        return "".join(f"--{name}:{value};" for name, value in tokens.items())

    return (
        f":root{{color-scheme:light dark;{block(LIGHT)}}}"
        f"@media (prefers-color-scheme:dark){{:root{{{block(DARK)}}}}}"
        f"@media print{{:root{{color-scheme:light;{block(LIGHT)}}}}}"
    )
