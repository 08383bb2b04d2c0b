"""`fer-edge doctor`: what would keep fer-edge from working here, each finding with its remedy."""

from collections.abc import Iterable
from pathlib import Path

from fer_edge.doctor.finding import Finding, State
from fer_edge.errors import ModelError, UsageError

__all__ = ["Finding", "State", "examine", "report"]


def examine(config: Path | None = None) -> list[Finding]:
    """Look at everything, also at what a configuration file asks for. Never raises: what fails is a finding.

    Model and detector in use are those of the file, else the release's, else the package's.
    """
    from fer_edge.doctor.configured import check_configuration, settings_in_use
    from fer_edge.doctor.hardware import check_hardware
    from fer_edge.doctor.model_files import check_files
    from fer_edge.doctor.software import check_software

    configured = [] if config is None else check_configuration(config)
    return [*check_software(), *check_hardware(), *check_files(settings_in_use(config)), *configured]


def report(findings: Iterable[Finding]) -> None:
    """Print the findings. Raises ModelError or UsageError, with their exit codes, where something is broken."""
    findings = list(findings)
    for finding in findings:
        print(f"{finding.state.value:4}  {finding.subject:18} {finding.text}")
        if finding.remedy:
            print(f"{'':24} -> {finding.remedy}")
    broken = [finding for finding in findings if finding.state is State.BAD]
    if broken:
        subjects = ", ".join(finding.subject for finding in broken)
        refused = any(finding.is_model for finding in broken)
        raise (ModelError if refused else UsageError)(f"doctor: {subjects} must be mended before fer-edge can run.")
