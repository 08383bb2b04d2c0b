"""Exit code 1, kept for checks that ran and failed; bad input has the codes of `fer_edge.errors`."""

from fer_edge.errors import FerEdgeError


class ExportError(FerEdgeError):
    """An exported model that does not compute what the checkpoint computes."""

    exit_code = 1
