"""From content to one HTML file that loads nothing.

Texts are escaped by Jinja2, data go in as JSON that a browser does not parse as HTML, and a content security policy
forbids the page to load or send anything, or to run a script that is not its own. The charts' library is bundled by
vl-convert, which brings Vega, Vega-Lite and Vega-Embed inside its wheel: nobody needs npm. Vega evaluates its
expressions with its own interpreter, so that the policy need not allow `eval`.
"""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import math
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from markupsafe import Markup

from runner.results.files import write_text

log = logging.getLogger(__name__)

ASSETS = Path(__file__).parent / "assets"
EXPOSE = "globalThis.vegaEmbed = vegaEmbed;"
"""What the bundle does beside defining itself."""


def render(template: str, content: Mapping[str, Any], data: Mapping[str, Any], cache: Path) -> str:
    """Return a page.

    Args:
        template: name of a file in ``assets``.
        content: the template's variables; all texts are escaped.
        data: JSON values by the id of the script element that holds them.
        cache: the program's cache folder.

    Raises:
        ImportError: a package that pages need is not installed.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(loader=FileSystemLoader(ASSETS), autoescape=True, undefined=StrictUndefined)
    scripts = [_inside_script(library(cache)), _inside_script((ASSETS / "page.js").read_text(encoding="utf-8"))]
    return environment.get_template(template).render(
        **content,
        policy=policy(scripts),
        style=Markup((ASSETS / "page.css").read_text(encoding="utf-8")),  # noqa: S704 -- a file of this package
        scripts=[Markup(script) for script in scripts],  # noqa: S704 -- files of this package and of vl-convert's
        data={name: Markup(as_json(value)) for name, value in data.items()},  # noqa: S704 -- see as_json
    )


def policy(scripts: list[str]) -> str:
    """Return a content security policy that allows these scripts and nothing else that a page can load or send."""
    digests = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    # Vega sets styles of its elements; a style can load nothing here.
    return f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def as_json(value: Any) -> str:
    """Return JSON that holds no ``<``, so that nothing in it ends its script element; NaN and infinity become null."""
    return json.dumps(_finite(value), ensure_ascii=False, allow_nan=False).replace("<", "\\u003c")


def library(cache: Path) -> str:
    """Return the script that defines ``vegaEmbed``; it is bundled once for each version, which takes seconds.

    Args:
        cache: the program's cache folder.

    Raises:
        ImportError: vl-convert is not installed.
    """
    path = cache / "pages" / f"vega-{version('vl-convert-python')}.js"
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError):  # not bundled yet, or damaged
        pass
    import vl_convert

    script = str(vl_convert.javascript_bundle(EXPOSE))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, script)
    except OSError as error:
        log.info("the scripts of pages are not cached: %s", error)
    return script


def _inside_script(script: str) -> str:
    """Return a script in which no text ends its element."""
    return script.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return value
