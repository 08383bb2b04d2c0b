"""A shell on a virtual board: commands that must end well, conditions waited for, the product's results."""

import json
import time

from boards.vm.machine import Machine, Result
from boards.vm.report import CheckError, expect

RESULTS = "/var/lib/private/fer-edge"


class Shell:
    """Commands of the guest; those that fail raise CheckError with what they printed."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def _listed(self) -> str:
        """Every path that is not the kernel's, a log's or a running program's, and every group."""
        places = "/etc /opt /usr /root /home /var/lib /var/cache /var/spool"
        odd = "-path /var/lib/systemd -o -path /var/cache/ldconfig -o -name '*-' -o -path /var/lib/mosquitto"
        return self._must(f"find {places} -xdev \\( {odd} \\) -prune -o -print; cut -d: -f1 /etc/group", 300)

    def _whole(self) -> int:
        """The number of lines of the results; each must be JSON."""
        text = self._must(f"cat {RESULTS}/faces.jsonl", 120)
        for number, line in enumerate(text.splitlines(), 1):
            try:
                json.loads(line)
            except ValueError:
                raise CheckError(f"line {number} of faces.jsonl is torn: {line[:200]}") from None
        return len(text.splitlines())

    def _lines(self) -> int:
        return int(self._must(f"wc -l <{RESULTS}/faces.jsonl"))

    def _guest(self, command: str, limit_s: float = 120) -> Result:
        return self._machine.run(command, limit_s)

    def _must(self, command: str, limit_s: float = 120) -> str:
        """Output of a command that must end well."""
        result = self._guest(command, limit_s)
        expect(result.code == 0, f"{command[:100]}: exit code {result.code}: {result.output.strip()[-600:]}")
        return result.output

    def _until(self, condition: str, limit_s: float) -> None:
        """Wait until a command ends well; its journal says why where it does not."""
        until_s = time.monotonic() + limit_s
        while self._guest(condition, 60).code != 0:
            if time.monotonic() > until_s:
                journal = self._guest("journalctl -u fer-edge -n 12 --no-pager -o cat").output
                raise CheckError(f"not within {limit_s:.0f} s: {condition}; journal: {journal.strip()[-800:]}")
            time.sleep(2)
