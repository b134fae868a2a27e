"""Reports: the same findings in a terminal, as Markdown and as one HTML file. All read the store, never the lab."""
