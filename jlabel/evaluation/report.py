"""What a study leaves on disk: `results.json`, figures as PNG, and a self-contained `report.html` for people."""

import base64
import io
import json
import os
import re
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jax.typing import ArrayLike
from matplotlib.figure import Figure
from PIL import Image

from jlabel.errors import InputError
from jlabel.evaluation.gallery_figure import BORDERS, check_gallery
from jlabel.evaluation.page import PAGE, STYLE, escape
from jlabel.evaluation.results import Row, table_cells, to_json

_NUMBER = re.compile(r"^[\d.+\-±%\[\], einfa]+$")
_LARGE = 8.0  # inches; a wider figure keeps its size and scrolls


def _write_atomic(path: str | os.PathLike, content: bytes) -> Path:
    """Writes beside the target and renames: a reader, or a crash, never meets half a file."""
    target = Path(path)
    temporary = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name[:100]}.")
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)  # mkstemp gives 0600, too narrow for a report
        os.replace(temporary, target)
    except OSError as error:
        if temporary is not None and os.path.exists(temporary):
            os.unlink(temporary)
        raise InputError(
            f"cannot write {target}: {error.strerror or error}; choose another --workdir or free space"
        ) from error
    return target


def write_results(path: str | os.PathLike, results: Mapping[str, Any]) -> Path:
    """Writes `results.json` in one step: whole, or not at all.

    Args:
        path: Where to; missing folders are made.
        results: From `build_results`; NaN and infinity become null.

    Returns:
        The path.

    Raises:
        InputError: The place cannot be written.

    Example:
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_results(Path(folder, "results.json"), {"rows": [float("nan")]}).read_text().split()
        ['{', '"rows":', '[', 'null', ']', '}']
    """
    text = json.dumps(to_json(results), indent=2, ensure_ascii=True, allow_nan=False)
    return _write_atomic(path, (text + "\n").encode())


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*missing from (current )?font.*", category=UserWarning)
        figure.savefig(buffer, format="png", dpi=180, facecolor="white", metadata={"Software": None})
    return buffer.getvalue()


def save_figure(path: str | os.PathLike, figure: Figure) -> Path:
    """Writes a figure as PNG in one step.

    Args:
        path: Where to; missing folders are made.
        figure: A matplotlib figure.

    Returns:
        The path.

    Raises:
        InputError: The place cannot be written.

    Example:
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_figure(Path(folder, "figures", "empty.png"), Figure()).suffix
        '.png'
    """
    return _write_atomic(path, _png(figure))


def _data_uri(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


class Report:
    """Collects texts, tables and pictures and writes one HTML file that needs nothing else.

    The page follows the reader's light or dark setting, fits narrow screens, prints well, holds no script and no
    address outside itself. Everything given is text: markup in a title, a class or a file name stays visible as such.

    Example:
        >>> report = Report("Pets & friends")
        >>> report.add_text("One model.", heading="What was done")
        >>> report.add_table(["method", "accuracy"], [["graph", "0.50"]])
        >>> "<h1>Pets &amp; friends</h1>" in report.to_html()
        True
    """

    def __init__(self, title: str):
        """Starts an empty report.

        Args:
            title: Headline of the page.
        """
        self._title = title
        self._parts: list[str] = []

    def add_text(self, text: str, *, heading: str = "") -> None:
        """Adds paragraphs.

        Args:
            text: Plain text; a blank line starts a new paragraph.
            heading: Heading above it.
        """
        if heading:
            self._parts.append(f"<h2>{escape(heading)}</h2>")
        for paragraph in re.split(r"\n\s*\n", text):
            if paragraph.strip():
                self._parts.append(f"<p>{escape(paragraph.strip())}</p>")

    def add_table(self, header: Sequence[str], rows: Sequence[Sequence[Any]], *, caption: str = "") -> None:
        """Adds a table.

        Args:
            header: Column names.
            rows: Cells, as many per row as columns; shown with `str`.
            caption: Above the table.

        Raises:
            InputError: A row with more or fewer cells than the header.
        """
        for i, row in enumerate(rows):
            if len(row) != len(header):
                raise InputError(f"rows[{i}] has {len(row)} cells, the header {len(header)}")
        title = f"<caption>{escape(caption)}</caption>" if caption else ""
        head = "".join(f'<th scope="col">{escape(name)}</th>' for name in header)
        body = "".join("<tr>" + "".join(_cell(cell) for cell in row) + "</tr>\n" for row in rows)
        self._parts.append(
            f'<div class="wide"><table>{title}<thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table></div>'
        )

    def add_results(
        self, rows: Sequence[Row], *, paper: Mapping[tuple[str, str], float] | None = None, caption: str = ""
    ) -> None:
        """Adds the table of a study, methods by metrics.

        Args:
            rows: Rows, in the order to show.
            paper: (method, metric) to the published value.
            caption: Above the table.

        Raises:
            InputError: No rows.
        """
        header, body = table_cells(rows, paper=paper)
        self.add_table(header, body, caption=caption)

    def add_figure(self, figure: Figure, *, caption: str, alt: str) -> None:
        """Adds a figure as an embedded PNG.

        Args:
            figure: A matplotlib figure.
            caption: Below it.
            alt: What it shows, for readers who cannot see it.
        """
        width, height = figure.get_size_inches()
        size = f'width="{round(width * 100)}" height="{round(height * 100)}"'
        large = ' class="large"' if width > _LARGE else ""
        image = f'<img{large} src="{_data_uri(_png(figure))}" alt="{escape(alt)}" {size}>'
        self._parts.append(
            f'<figure><div class="chart">{image}</div><figcaption>{escape(caption)}</figcaption></figure>'
        )

    def add_gallery(
        self,
        images: ArrayLike | Sequence,
        captions: Sequence[str],
        *,
        borders: Sequence[str] | None = None,
        caption: str = "",
    ) -> None:
        """Adds pictures in a grid that fits the screen, with captions and borders as in `gallery_figure`.

        Args:
            images: B pictures, uint8 `[H, W, 3]`; sizes may differ.
            captions: B texts.
            borders: B of `"deterministic"`, `"nondeterministic"`, `"wrong"`, `"none"`.
            caption: Below the grid.

        Raises:
            InputError: Nothing to show, not uint8 RGB, unknown border, or lengths that differ.
        """
        pictures, texts, kinds = check_gallery(images, captions, borders)
        items = []
        for picture, text, kind in zip(pictures, texts, kinds, strict=True):
            buffer = io.BytesIO()
            Image.fromarray(np.ascontiguousarray(picture)).save(buffer, format="PNG")
            shown, small = escape(BORDERS[kind][2] + text), " small" if max(picture.shape) < 96 else ""
            image = f'<img src="{_data_uri(buffer.getvalue())}" alt="{shown}">'
            items.append(f'<li class="{kind}{small}">{image}<span>{shown}</span></li>')
        used = [kind for kind in BORDERS if kind in kinds and kind != "none"]
        style = {kind: f"border-color: var(--{kind}); border-top-style: {BORDERS[kind][1]}" for kind in used}
        legend = "".join(f'<span><i style="{style[kind]}"></i>{kind}</span>' for kind in used)
        legend = f'<div class="legend">{legend}</div>' if used else ""
        below = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
        self._parts.append(f'<figure><ul class="gallery">{"".join(items)}</ul>{legend}{below}</figure>')

    def add_details(self, details: Any, *, title: str = "Settings") -> None:
        """Adds a folded table of names and values, such as the config and the versions.

        Args:
            details: A mapping or dataclass; nested values are shown as JSON.
            title: The line that unfolds it.

        Raises:
            InputError: Not a mapping or dataclass.
        """
        plain = to_json(details)
        if not isinstance(plain, dict):
            raise InputError(f"details must be a mapping or a dataclass, got {type(details).__name__}")
        lines = "".join(
            f'<tr><th scope="row">{escape(name)}</th>'
            f"<td>{escape(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))}</td></tr>\n"
            for name, value in plain.items()
        )
        self._parts.append(
            f'<details><summary>{escape(title)}</summary><div class="wide"><table><tbody>{lines}</tbody></table></div>'
            "</details>"
        )

    def body(self) -> str:
        """Returns what the page has below its headline, to stand on another page with the same style.

        Returns:
            HTML without frame and title.
        """
        return "\n".join(self._parts)

    def to_html(self) -> str:
        """Returns the page as text.

        Returns:
            A whole HTML document.
        """
        return PAGE.format(title=escape(self._title), style=STYLE, body=self.body())

    def write(self, path: str | os.PathLike) -> Path:
        """Writes the page in one step.

        Args:
            path: Where to; missing folders are made.

        Returns:
            The path.

        Raises:
            InputError: The place cannot be written.
        """
        return _write_atomic(path, self.to_html().encode("utf-8"))


def _cell(value: Any) -> str:
    text = str(value)
    if not _NUMBER.match(text):
        return f"<td>{escape(text)}</td>"
    mean, bracket, interval = text.partition(" [")  # the interval goes below: tables stay narrow
    below = f"<br><small>[{escape(interval)}</small>" if bracket else ""
    return f'<td class="number">{escape(mean)}{below}</td>'
