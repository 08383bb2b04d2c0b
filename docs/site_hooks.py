"""MkDocs hooks: pages of docs/ link to files of the repository, which a site alone does not have."""

import re
from typing import Any

# A link out of docs/, such as ](../models/fer-base/log.csv), or to the report, which is a page of its own.
_OUTSIDE = re.compile(r"(!?)\[([^\]]*)\]\(((?:\.\./|report/)[^)]*)\)")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Write the path in place of every link that leads out of docs/."""
    return _OUTSIDE.sub(_as_text, markdown)


def _as_text(link: re.Match[str]) -> str:
    is_image, text, path = link.groups()
    return "" if is_image else f"{text} (`{path.removeprefix('../')}`)"
