"""What the report's pages are made of: templates that escape, styles and scripts from files, and their hashes."""

from __future__ import annotations

import base64
import hashlib
import re
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING

from perimetry.report.views import package_version

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jinja2 import Environment, Template
    from markupsafe import Markup

_PLACES_TO_BREAK = re.compile(r"(?<=[./_:\]])(?=[^./_:])|(?<=[a-z])(?=[A-Z])")


@cache
def _environment() -> Environment:
    import jinja2

    def source(name: str) -> str:
        return resources.files("perimetry.report").joinpath("templates", name).read_text("utf-8")

    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(source),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["breakable"] = _breakable
    return environment


def template(name: str) -> Template:
    """A template of the report; what it is given is escaped."""
    return _environment().get_template(name)


def _breakable(name: str) -> Markup:
    """The name, escaped, with places where a line may break: after dots, slashes and the like, and before capitals."""
    from markupsafe import Markup, escape

    return Markup("<wbr>").join(escape(part) for part in _PLACES_TO_BREAK.split(name))


@cache
def asset(name: str) -> str:
    """A style or script of the report; line ends are made those by which the browser hashes it."""
    return resources.files("perimetry.report").joinpath("assets", name).read_text("utf-8").replace("\r\n", "\n")


def content_hash(text: str) -> str:
    """The hash by which the page allows one inline style or script."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")


def page_parts(styles: Sequence[str], scripts: Sequence[str]) -> dict[str, str]:
    """What every page is given: its style and script from those files, the hashes that allow them, and the version."""
    style, script = ("".join(map(asset, names)) for names in (styles, scripts))
    return {
        "style": style,
        "script": script,
        "style_hash": content_hash(style),
        "script_hash": content_hash(script),
        "version": package_version(),
    }
