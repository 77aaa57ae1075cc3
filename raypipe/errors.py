"""What can go wrong, in four names. Every message says what was got, what was expected and what to do."""


class RaypipeError(Exception):
    """Base of all errors that raypipe raises on purpose.

    The three parts are kept as ``args``, so that an error survives pickling between Ray processes; and as
    ``parts``, because Ray Data adds words of its own to the first of the ``args``.
    """

    exit_code = 1

    def __init__(self, got: str, expected: str = "", remedy: str = "") -> None:
        super().__init__(got, expected, remedy)
        self.parts = (got, expected, remedy)

    def __str__(self) -> str:
        got, expected, remedy = self.parts
        return got + (f"; expected {expected}" if expected else "") + (f". Remedy: {remedy}" if remedy else "")


class ConfigError(RaypipeError):
    """A flag, a configuration file or the environment is at fault; raised before work starts."""

    exit_code = 2


class DataError(RaypipeError):
    """The input data is at fault; raised before anything is written."""

    exit_code = 2


class StageError(RaypipeError):
    """A stage broke while working; its output was not completed."""
