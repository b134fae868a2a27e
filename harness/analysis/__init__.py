"""Pure functions from recorded figures to statements about them. No I/O: `harness.report.findings` feeds them."""
