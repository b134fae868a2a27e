"""The pictures of a report, one kind per module: SVG whose colours are CSS variables and whose text is text."""
