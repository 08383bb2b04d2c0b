"""The names of our own models, in the groups that belong together: models/groups.toml."""

from dataclasses import dataclass
from pathlib import Path

from fer_edge.errors import UsageError
from fer_edge.tables import build, read_toml

from train.command_line import MEASURED, MODELS

FILE = MODELS / "groups.toml"
SYSTEMS = Path("docs/systems")


@dataclass(frozen=True)
class Compared:
    """Systems measured side by side; the first of each group is what the others are measured against."""

    noise: tuple[str, ...]
    noise_in_small: tuple[str, ...]
    positive_negative: tuple[str, ...]
    identity: tuple[str, ...]
    saliency: tuple[str, ...]


@dataclass(frozen=True)
class Groups:
    """Names of models: `family` is ours, `folded` is trained by k folds, `others` are systems compared with none."""

    default: str
    family: tuple[str, ...]
    folded: tuple[str, ...]
    others: tuple[str, ...]
    compared: Compared

    @property
    def systems(self) -> tuple[str, ...]:
        """The published systems, trained once, each name once."""
        compared = self.compared
        named = (*compared.noise, *compared.positive_negative, *compared.identity, *compared.saliency, *self.others)
        return tuple(dict.fromkeys(name for name in named if name not in self.family))

    def measured(self, model: str) -> Path:
        """Folder of the figures of a model: the tables of README are of docs/measured alone."""
        return (SYSTEMS if model in (*self.systems, *self.folded) else MEASURED) / model


def load_groups() -> Groups:
    """Read models/groups.toml. Raises UsageError where it is not there or not as it should be."""
    return build(Groups, read_toml(FILE), str(FILE), UsageError)
