"""The errors a user meets: each says what was expected, what was found and what to do, and knows its exit code."""


class FerEdgeError(Exception):
    """Base of every error that is the user's to mend. Command lines print it as one line, without a traceback."""

    exit_code = 2


class UsageError(FerEdgeError):
    """An argument, a configuration or an output location that cannot be used."""


class DataError(FerEdgeError):
    """A dataset file that does not hold what its format promises."""


class SourceError(FerEdgeError):
    """A camera, stream or file that cannot be opened, or that is lost for good."""

    exit_code = 3


class ModelError(FerEdgeError):
    """A model, contract or detector that is refused."""

    exit_code = 4
