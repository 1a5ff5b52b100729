"""The page of pictures or texts that `experiments.predict` writes: by predicted label, the least certain first."""

from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from experiments.fusion_texts import shortened
from jlabel.data import Source
from jlabel.evaluation import Report

__all__ = ["Gallery", "Tile"]

SIZE, THUMBNAIL = 200, 128


class Tile(NamedTuple):
    """One row: its label's probability, its row of the source, predicted label, caption and border."""

    probability: float
    row: int
    label: str
    caption: str
    border: str


class Gallery:
    """Collects the least certain rows of each label; holds a bounded number, and none of their content."""

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
        noun, colours = "picture", "Blue: the label fixes every attribute on the path; green: it leaves one open; red:"
        if source.kind == "text":
            noun, colours = "text", "Wrong:"
        report = Report(title)
        report.add_text(
            f"{total} {noun}s by predicted label, the least certain of each label first."
            + (f" {shown} are shown, an even share of each label's." if shown < total else "")
            + " Below each: the label and its probability, the path and its probability, and the row's name. "
            f"{colours} the data gives another label.\n\nModel: {model}"
        )
        for label, tiles in chosen.items():
            count = self._counts[label]
            rows = f"1 {noun}" if count == 1 else f"{count} {noun}s"
            report.add_text(rows + (f", {len(tiles)} shown" if len(tiles) < count else ""), heading=label)
            if source.kind == "text":
                table = [
                    [shortened(str(source.content(tile.row))), tile.caption, "wrong" if tile.border == "wrong" else ""]
                    for tile in tiles
                ]
                report.add_table(["text", "prediction", ""], table)
                continue
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
