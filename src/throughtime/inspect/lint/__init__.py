"""The sequence linter: faults of any torch sequence model, found by running it and measuring.

`linter` has the order of things; each family of findings has a file of its own; `probing` runs a
model safely and `keeping` puts it back as it was.
"""

from throughtime.inspect.lint.findings import NAMES, Finding, LintReport, Skipped
from throughtime.inspect.lint.linter import lint, lint_run

__all__ = ["NAMES", "Finding", "LintReport", "Skipped", "lint", "lint_run"]
