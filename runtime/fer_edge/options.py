"""The command line and fer-edge.toml, both made from `fer_edge.settings`. A flag overrides the file.

Model and detector are those of the installed release where none is named. An unknown section or key is refused with the
nearest known one; a wrong value with what was expected.
"""

import argparse
import dataclasses
import logging
import sys
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fer_edge.arguments import file_path, source_address
from fer_edge.credentials import EXPOSED, closing, exposed_secrets, fill_in
from fer_edge.errors import UsageError
from fer_edge.redaction import quoted
from fer_edge.settings import Option, Settings
from fer_edge.sources.address import VIDEO_SUFFIXES, Kind, is_index
from fer_edge.sources.address import kind_of as kind_of_source
from fer_edge.tables import kind_of, nearest, read_toml

SECTIONS = ("camera", "model", "detection")
_TOO_LARGE = 10**18

# The sections of the file, under what somebody wants to do, what is used most first.
_TITLES = {
    "source": "what to read",
    "output": "what to write and show",
    "web": "a page to watch",
    "detection": "which faces",
    "model": "the classifier",
    "camera": "cameras and streams",
    "rate": "speed",
    "mqtt": "MQTT and Home Assistant",
    "metrics": "Prometheus",
}

logger = logging.getLogger("fer_edge")


# One of the flags replaces all of these in the file.
_REPLACED = (
    (
        {"source.camera", "source.address", "source.address_file", "source.pictures"},
        {"source.camera", "source.address", "source.address_file", "source.password_file", "source.pictures"},
    ),
    ({"web.token", "web.token_file"}, {"web.token", "web.token_file"}),
    ({"mqtt.address"}, {"mqtt.password_file"}),
    ({"detection.detector", "detection.file"}, {"detection.detector", "detection.file"}),
)


@dataclass(frozen=True)
class Key:
    """One setting with its place: [section] name in the file, `option.flag` on the command line."""

    section: str
    name: str
    option: Option
    default: Any

    @property
    def attribute(self) -> str:
        """Its name in argparse's namespace."""
        return f"{self.section}.{self.name}"


def keys() -> Iterator[Key]:
    """Every setting, in the order of `Settings`."""
    for section in dataclasses.fields(Settings):
        for item in dataclasses.fields(section.default):  # type: ignore[arg-type]
            yield Key(section.name, item.name, item.metadata["option"], item.default)


def add_flags(parser: argparse.ArgumentParser, sections: Collection[str] = ()) -> None:
    """Add --config and a flag for every setting, and words for sources; or the flags of some sections.

    Flags not given leave no trace.
    """
    parser.add_argument(
        "--config", type=file_path, metavar="fer-edge.toml", help="settings from a file; flags override it"
    )
    if not sections:
        help = "camera number, picture (or several), folder, video or address"
        parser.add_argument("sources", nargs="*", metavar="SOURCE", help=help)
    groups: dict[str, Any] = {}
    for key in sorted(keys(), key=lambda key: list(_TITLES).index(key.section)):
        if sections and key.section not in sections:
            continue
        if key.option.flag is None:
            continue
        if key.section not in groups:
            title = f"{_TITLES[key.section]} ([{key.section}] in a file)"
            groups[key.section] = parser.add_argument_group(title)
        group = groups[key.section]
        _add(group, key)


def _add(group: Any, key: Key) -> None:
    option = key.option
    common = {"dest": key.attribute, "default": argparse.SUPPRESS, "help": option.help + _default_note(key)}
    if option.parse is None:
        group.add_argument(option.flag, action="store_true", **common)
    elif option.choices:
        group.add_argument(option.flag, choices=option.choices, **common)
    else:
        action = "append" if option.repeated else "store"
        group.add_argument(option.flag, type=option.parse, metavar=option.metavar, action=action, **common)


def _default_note(key: Key) -> str:
    shown = key.default.name if isinstance(key.default, Path) else key.default
    return "" if shown in (None, False, ()) else f" (default {shown})"


@dataclass(frozen=True)
class Loaded:
    """Settings, and the files they came from that hold a secret and may be read by everybody."""

    settings: Settings
    exposed: tuple[Path, ...]


def settings_from(namespace: argparse.Namespace, sections: Collection[str] = ()) -> Settings:
    """The settings of a parsed command line and of the file it names, or those of some sections of it.

    Raises UsageError for a file that is wrong.
    """
    loaded = load(namespace, sections)
    for path in loaded.exposed:
        logger.warning("%s %s. %s.", path, EXPOSED, closing(path))
    return loaded.settings


def load(namespace: argparse.Namespace, sections: Collection[str] = ()) -> Loaded:
    """`settings_from`, with what is to be warned about. Without a file a release's own model and detector are taken."""
    given = {name: value for name, value in vars(namespace).items() if "." in name}
    path = namespace.config
    if path is None:
        path, sections = release_configuration(), sections or SECTIONS
    configured = read_config(path) if path is not None else {}
    if sections:
        configured = {name: value for name, value in configured.items() if name.partition(".")[0] in sections}
    replaced = {name for flags, names in _REPLACED if flags & set(given) for name in names}
    values = {name: value for name, value in configured.items() if name not in replaced}
    values.update({name: tuple(value) if isinstance(value, list) else value for name, value in given.items()})
    exposed = exposed_secrets(namespace.config, configured, values)
    return Loaded(_assemble(fill_in(values)), tuple(exposed))


def _assemble(values: dict[str, Any]) -> Settings:
    sections: dict[str, Any] = {}
    for section in dataclasses.fields(Settings):
        prefix = f"{section.name}."
        own = {name.removeprefix(prefix): value for name, value in values.items() if name.startswith(prefix)}
        sections[section.name] = dataclasses.replace(section.default, **own)  # type: ignore[type-var]
    return Settings(**sections)


def read_config(path: Path) -> dict[str, Any]:
    """The values of a TOML file by "section.key". Raises UsageError naming file, section and key."""
    known = {(key.section, key.name): key for key in keys()}
    sections = {section for section, _ in known}
    values = {}
    for section, table in read_toml(path).items():
        if section not in sections:
            raise UsageError(f"{path}: [{quoted(section)[1:-1]}] is unknown{nearest(section, sections)}")
        if not isinstance(table, dict):
            raise UsageError(f"{path}: {section} is a value, expected a section [{section}] with keys.")
        for name, value in table.items():
            if (section, name) not in known:
                names = [other for place, other in known if place == section]
                raise UsageError(f"{path}: [{section}] {quoted(name)[1:-1]} is unknown{nearest(name, names)}")
            values[f"{section}.{name}"] = _value(known[section, name], value, f"{path}: [{section}] {name}")
    return values


def _value(key: Key, value: Any, where: str) -> Any:
    """The value of one key. No message shows a value of a wrong type: it may be a password in the wrong place."""
    option = key.option
    if option.parse is None:
        if not isinstance(value, bool):
            raise UsageError(f"{where} is {kind_of(value)}, expected true or false.")
        return value
    if option.repeated:
        if not isinstance(value, list):
            raise UsageError(f'{where} is {kind_of(value)}, expected a list such as ["..."].')
        return tuple(_one(option, item, where) for item in value)
    return _one(option, value, where)


def _one(option: Option, value: Any, where: str) -> Any:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise UsageError(f"{where} is {kind_of(value)}, expected {option.metavar or 'text'}.")
    if isinstance(value, int) and abs(value) >= _TOO_LARGE:  # Python refuses to write one of thousands of digits
        raise UsageError(f"{where} is a huge whole number, expected {option.metavar or 'text'}.")
    if option.choices and value not in option.choices:
        raise UsageError(f"{where} is {_shown(value)}, expected one of {', '.join(option.choices)}.")
    assert option.parse is not None
    try:
        return option.parse(str(value))
    except argparse.ArgumentTypeError as error:
        raise UsageError(f"{where}: {error}.") from None


def _shown(value: Any) -> str:
    """A value as a message may quote it."""
    return quoted(value) if isinstance(value, str) else repr(value)


def parse(parser: argparse.ArgumentParser, words: Sequence[str]) -> Settings:
    """The settings `words` and their configuration file ask for.

    Bad words end the program with exit code 2. Raises UsageError for a file that is wrong.
    """
    namespace = parser.parse_args(words)
    given = {"source.camera", "source.address", "source.address_file"} & set(vars(namespace))
    if namespace.sources and given:
        parser.error(f"{quoted(namespace.sources[0])} and a flag each name a source, expected one of them")
    vars(namespace).update(_named_sources(namespace.sources))
    settings = settings_from(namespace)
    source = settings.source
    if [source.camera is None, source.address is None, not source.pictures].count(False) != 1:
        if namespace.config is None:
            parser.error("expected a source, such as 0 for a camera, photo.jpg, photos/, clip.mp4 or rtsp://...")
        raise UsageError(
            f"{namespace.config}: [source] must name exactly one of camera, address (or address_file) and pictures."
        )
    return settings


def _named_sources(words: Sequence[str]) -> dict[str, Any]:
    """The settings that words without a flag stand for. Raises UsageError for several that are not all pictures."""
    if not words:
        return {}
    if len(words) == 1:
        return {"source.camera": int(words[0])} if is_index(words[0]) else {"source.address": source_address(words[0])}
    for word in words:
        kind = kind_of_source(word)
        # Whatever else is in the way of photos/* is left out as a picture that cannot be read.
        if kind is not Kind.IMAGE and (kind is not Kind.VIDEO or Path(word).suffix.lower() in VIDEO_SUFFIXES):
            raise UsageError(
                f"{quoted(word)} is a {kind.value}, and several sources at a time must all be pictures. Name it alone."
            )
    return {"source.pictures": tuple(source_address(word) for word in words)}


"""Sections that its configuration sets where no other is named; which camera is read is not its to say."""
_MARK = "bundle.env"


def release_configuration() -> Path | None:
    """fer-edge.toml of the release whose environment this Python is; None in a checkout or after `pip install`."""
    release = Path(sys.prefix).parent
    path = release / "fer-edge.toml"
    return path if (release / _MARK).is_file() and path.is_file() else None
