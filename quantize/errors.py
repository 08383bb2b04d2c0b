"""Exit code 1, kept for checks that ran and failed; bad input has the codes of `fer_edge.errors`."""

from fer_edge.errors import FerEdgeError


class GateError(FerEdgeError):
    """An INT8 model that misses a limit of the gate."""

    exit_code = 1
