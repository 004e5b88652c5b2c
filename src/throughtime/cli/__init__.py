"""The command line: one file a verb, each a thin call of a public function.

Nothing here imports torch before a verb needs it, so that help, versions and mistakes in an option
are quick. What a verb does is in the rooms it calls; here are its options and what it prints.
"""

from throughtime.cli.app import main

__all__ = ["main"]
