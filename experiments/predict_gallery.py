"""The page of pictures that `experiments.predict` writes: grouped by predicted label, the least certain first."""

from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from jlabel.data import Source
from jlabel.evaluation import Report

__all__ = ["Gallery", "Tile"]

SIZE, THUMBNAIL = 200, 128


class Tile(NamedTuple):
    """One picture: its label's probability, its row of the source, predicted label, caption and border."""

    probability: float
    row: int
    label: str
    caption: str
    border: str


class Gallery:
    """Collects the least certain pictures of each label; holds a bounded number, and no pixels."""

    def __init__(self) -> None:
        """Start with no pictures."""
        self._tiles: dict[str, list[Tile]] = {}
        self._counts: Counter[str] = Counter()

    def add(self, tile: Tile) -> None:
        """Offer a picture."""
        tiles = self._tiles.setdefault(tile.label, [])
        tiles.append(tile)
        self._counts[tile.label] += 1
        if len(tiles) >= 2 * SIZE:
            self._tiles[tile.label] = sorted(tiles)[:SIZE]

    def chosen(self) -> dict[str, list[Tile]]:
        """At most 200 pictures by label, the least certain first; labels take turns, so that each gets its share."""
        ranked = {label: sorted(tiles) for label, tiles in sorted(self._tiles.items())}
        turns = sorted((turn, tile) for tiles in ranked.values() for turn, tile in enumerate(tiles))[:SIZE]
        kept = Counter(tile.label for _, tile in turns)
        return {label: tiles[: kept[label]] for label, tiles in ranked.items() if kept[label]}

    def write(self, path: Path, source: Source, *, title: str, model: str) -> None:
        """Read the chosen pictures and write the page."""
        chosen, total = self.chosen(), self._counts.total()
        shown = sum(map(len, chosen.values()))
        report = Report(title)
        report.add_text(
            f"{total} pictures by predicted label, the least certain of each label first."
            + (f" {shown} are shown, an even share of each label's." if shown < total else "")
            + " Below each: the label and its probability, the path and its probability, and the file. Blue: the label "
            "fixes every attribute on the path; green: it leaves one open; red: the data gives another label."
            f"\n\nModel: {model}"
        )
        for label, tiles in chosen.items():
            count = self._counts[label]
            pictures = "1 picture" if count == 1 else f"{count} pictures"
            report.add_text(pictures + (f", {len(tiles)} shown" if len(tiles) < count else ""), heading=label)
            report.add_gallery(
                [_thumbnail(source.content(tile.row)) for tile in tiles],
                [tile.caption for tile in tiles],
                borders=[tile.border for tile in tiles],
            )
        report.write(path)


def _thumbnail(picture: np.ndarray) -> np.ndarray:
    image = Image.fromarray(np.ascontiguousarray(picture))
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    return np.asarray(image)
