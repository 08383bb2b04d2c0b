"""Commands of training: data, trainings, studies; each module has `register`, and imports its work when it runs."""

from train.command_line import Commands
from train.commands import dataset, study, training


def register(commands: Commands) -> None:
    """Add the commands to the parser."""
    commands.begin_group("Data")
    dataset.register(commands)
    commands.begin_group("Training")
    training.register(commands)
    commands.begin_group("Studies of trained models")
    study.register(commands)
