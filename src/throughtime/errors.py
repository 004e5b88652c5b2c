"""Every exception that throughtime raises on purpose.

One base class, so that a program can catch all of them at once; the command line prints their
text as its single line of explanation. A message states what was expected, what came, and what
to do about it. Python's own exceptions are not wrapped: they mean a defect in throughtime.
"""


class ThroughtimeError(Exception):
    """Base of all errors that a user can mend."""


class ShapeError(ThroughtimeError, ValueError):
    """A tensor's rank, size or dtype is not what the call takes."""


class StateError(ThroughtimeError, ValueError):
    """A state does not belong to the layer, model or batch that it was given to."""


class NotStreamableError(ThroughtimeError, TypeError):
    """The layer needs the future and can't be run one step at a time."""


class OptionError(ThroughtimeError, ValueError):
    """An option, name or configuration value is not one of those possible."""


class DataError(ThroughtimeError, ValueError):
    """A file or frame can't be read as what it was given as."""


class BundleError(ThroughtimeError, ValueError):
    """A run directory, bundle or saved state is incomplete, corrupt or foreign."""


class LawBrokenError(ThroughtimeError, AssertionError):
    """A layer breaks a law of the contract.

    Attributes:
        law: number of the law, 1 to 8.
    """

    def __init__(self, law: int, name: str, finding: str) -> None:
        """Compose `law N (name): finding`."""
        super().__init__(f"law {law} ({name}): {finding}")
        self.law = law
