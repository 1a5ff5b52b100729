"""Asking in the terminal, or replaying answers, on rows of a user's own."""

import csv
import dataclasses
import io
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments.weasul_config import WeasulConfig
from experiments.weasul_figures import buckets_figure
from experiments.weasul_own import OwnData, append_answer, load_own, read_answers
from jlabel import InputError
from jlabel.evaluation import Report, build_results, lines_figure, make_row, save_figure, write_results
from jlabel.training import open_workdir
from jlabel.training.workdir import write_text
from jlabel.weak_supervision import (
    Buckets,
    active_steps,
    as_buckets,
    dense_votes,
    identifiability_report,
    rule_summary,
    should_stop,
)

__all__ = ["run_own"]

_CELL = 400  # characters of a cell that are shown
_IDENTITY = ("data", "rules", "method", "constrain", "penalty", "balance", "cliques", "strategy")


class _Quit(Exception):
    """The expert has had enough."""


def run_own(config: WeasulConfig, workdir: Path) -> list[dict]:
    """Replay the answers there are, then ask; returns the steps."""
    start = time.monotonic()
    data = load_own(config.data, config.rules)
    file = Path(config.answers).expanduser() if config.answers else workdir / "answers.csv"
    if config.answers and not config.ask and not file.exists():
        raise InputError(f"--answers={file}: there is no such file; --ask makes one")
    known = read_answers(file, data) if file.exists() else []
    settings = {name: value for name, value in dataclasses.asdict(config).items() if name in _IDENTITY}
    folder = open_workdir(workdir, settings)
    if not file.parent.is_dir():
        raise InputError(f"--answers={file}: there is no folder {str(file.parent)!r}; make it first")
    buckets = as_buckets(data.votes, num_classes=len(data.label_names))
    bucket_of = np.asarray(buckets.inverse)
    unknown = {answer.row for answer in known if answer.label is None}
    replay = [(answer.row, answer.label) for answer in known if answer.label is not None]
    steps: list[dict] = []

    def answer(row: int) -> int | None:
        if row in unknown:
            return None
        if not config.ask:
            raise _Quit
        label = _ask(data, row, steps[-1]["probs"][bucket_of[row]], len(steps))
        append_answer(file, data, row, label)
        return label

    truth = data.labels if (data.labels >= 0).any() else None
    taken = active_steps(
        buckets, answer, num_classes=len(data.label_names), method=config.method, strategy=config.strategy,
        budget=max(config.budget, len(replay)) if config.ask else len(replay), batch=config.batch, replay=replay,
        labels=truth, key=jax.random.key(config.seeds[0]), **config.options(()),
    )  # fmt: skip
    if replay:
        print(f"replaying {len(replay)} answers from {file}")
    try:
        for step in _until_quit(taken):
            steps.append(step)
            if step["answers"]:
                print(_told(steps, data, buckets))
                if config.ask and len(steps) > len(replay) and _first_stop(steps, config):
                    print(
                        f"  The last {config.patience} answers moved next to nothing: this is a good point to stop (q)."
                    )
    except KeyboardInterrupt:
        print("\nstopped")
    if config.ask and len(steps) > config.budget:
        print(f"the budget of {config.budget} answers is used up; a larger --budget goes on")
    _write(folder, data, buckets, steps, config, time.monotonic() - start)
    print(f"\nanswers: {file}\nprobabilities: {folder / 'probabilities.csv'}\nreport: {folder / 'report.html'}")
    return steps


def _until_quit(steps: Iterator[dict]) -> Iterator[dict]:
    try:
        yield from steps
    except _Quit:
        return


def _first_stop(steps: list[dict], config: WeasulConfig) -> bool:
    settings: dict[str, Any] = {"tolerance": config.tolerance, "patience": config.patience}
    return should_stop(steps, **settings) and not should_stop(steps[:-1], **settings)


def _ask(data: OwnData, row: int, probs: np.ndarray, number: int) -> int | None:
    """One question; None where the expert cannot tell."""
    print(f"\nquestion {number}, row {row} of {data.name}")
    cells = data.frame.iloc[row]
    width = max(len(str(name)) for name in cells.index)
    for name, value in cells.items():
        print(f"  {_clean(name).ljust(width)}  {_clean(value)}")
    fired = [
        f"{_clean(rule)} says {data.label_names[vote]}"
        for rule, vote in zip(data.rule_names, data.votes[row].tolist(), strict=True)
        if vote >= 0
    ]
    print(f"  rules that fired: {'; '.join(fired) or 'none'}")
    print(f"  the model: {', '.join(f'{_clean(n)} {p:.2f}' for n, p in zip(data.label_names, probs, strict=True))}")
    classes = ", ".join(f"{code} {_clean(name)}" for code, name in enumerate(data.label_names))
    codes = {str(code): code for code in range(len(data.label_names))}
    codes = {name: code for code, name in enumerate(data.label_names) if name not in ("s", "q")} | codes
    while True:
        try:
            said = input(f"which class? ({classes}; s cannot tell, q quit) ").strip()
        except EOFError:
            raise _Quit from None
        if said == "q":
            raise _Quit
        if said == "s":
            return None
        if said in codes:
            return codes[said]
        print(f"  {_clean(said)!r} is no class; type {classes}, s or q")


def _clean(value: Any) -> str:
    """One line without what could steer a terminal."""
    text = " ".join(str(value).split())
    text = "".join(c if c.isprintable() else "\ufffd" for c in text)
    return text if len(text) <= _CELL else text[: _CELL - 1] + "…"


def _told(steps: list[dict], data: OwnData, buckets: Buckets) -> str:
    """What an answer did."""
    before, step = steps[-2], steps[-1]
    name = _clean(data.label_names[step["answer"]])
    lines = [
        f"  answer {step['answers']}: row {step['row']} is {name}, expected with probability {step['expected']:.2f}; "
        f"it moved {100 * step['moved']:.1f} % of the probability"
    ]
    shift = np.abs(step["probs"] - before["probs"]).max(1)
    rows = dense_votes(buckets.rows)
    for bucket in np.argsort(-shift, kind="stable")[:3]:
        if shift[bucket] >= 0.01:
            column = int(np.abs(step["probs"] - before["probs"])[bucket].argmax())
            fired = [
                f"{_clean(data.rule_names[j])}={data.label_names[rows[bucket, j]]}"
                for j in np.flatnonzero(rows[bucket] >= 0)
            ]
            one, two = before["probs"][bucket, column], step["probs"][bucket, column]
            lines.append(
                f"    {data.label_names[column]} {one:.2f} -> {two:.2f} on {buckets.counts[bucket]} rows with "
                f"{', '.join(fired) or 'no vote'}"
            )
    if step["accuracy"] is not None:
        lines[0] += f"; accuracy {step['accuracy']:.3f}"
    return "\n".join(lines)


def _write(
    folder: Path, data: OwnData, buckets: Buckets, steps: list[dict], config: WeasulConfig, seconds: float
) -> None:
    """probabilities.csv, results.json, figures and report.html."""
    answered = {step["row"]: step["answer"] for step in steps[1:]}
    probs = steps[-1]["probs"][buckets.inverse]
    table = io.StringIO(newline="")
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["row", "label", *[f"probability:{name}" for name in data.label_names], "answer"])
    for row, values in enumerate(probs):
        said = data.label_names[answered[row]] if row in answered else ""
        best = said or data.label_names[int(values.argmax())]
        writer.writerow([row, best, *[f"{value:.6f}" for value in values], said])
    write_text(folder / "probabilities.csv", table.getvalue())
    rows = [make_row(config.method, "answers", [steps[-1]["answers"]], split="train")]
    rows.append(make_row(config.method, "query entropy", [steps[-1]["entropy"]], split="train"))
    if steps[-1]["accuracy"] is not None:
        for step in (steps[0], steps[-1])[: len(steps)]:
            rows.append(
                make_row(config.method, f"accuracy, {step['answers']} answers", [step["accuracy"]], split="train")
            )
    document = build_results(config.experiment, data=config.data, config=config, rows=rows, seconds=seconds)
    write_results(folder / "results.json", document)
    report = Report(f"Active labelling: {data.name}")
    report.add_text(
        f"{len(data.frame)} rows, {len(data.rule_names)} rules, {len(buckets.counts)} different rows of votes. "
        f"{steps[-1]['answers']} answers, with an entropy of {steps[-1]['entropy']:.2f} over what was asked."
    )
    found = ["The factor graph has no such report."]
    if config.method != "factor_graph":
        found = identifiability_report(steps[0]["model"], buckets)["warnings"]
    report.add_text("\n\n".join(found) or "Nothing to say against them.", heading="Do the votes determine the answer?")
    columns = ("name", "polarity", "coverage", "overlaps", "conflicts")
    rules = rule_summary(data.votes, names=data.rule_names)
    cells = [[f"{rule[c]:.3f}" if isinstance(rule[c], float) else str(rule[c]) for c in columns] for rule in rules]
    report.add_table(columns, cells, caption="The rules.")
    if len(steps) > 1:
        body = [
            [
                str(s["answers"]),
                str(s["row"]),
                data.label_names[s["answer"]],
                f"{s['expected']:.3f}",
                f"{s['moved']:.4f}",
            ]
            for s in steps[1:]
        ]
        report.add_table(
            ["answer", "row", "class", "expected with", "moved"], body, caption="Each answer and what it moved."
        )
        figure = lines_figure(
            {"moved": (np.arange(1, len(steps)), np.array([s["moved"] for s in steps[1:]]))}, xlabel="answers",
            ylabel="probability moved, mean over rows",
        )  # fmt: skip
        save_figure(folder / "figures" / "moved.png", figure)
        report.add_figure(figure, caption="How much each answer moved.", alt="Probability moved by answers")
    figure = buckets_figure(steps, buckets, truth=None, name=data.label_names[1])
    save_figure(folder / "figures" / "buckets.png", figure)
    report.add_figure(
        figure, caption="Buckets: votes of the rules in order, · for abstain.", alt="Probabilities of buckets"
    )
    report.add_details(config)
    report.add_details(document["versions"], title="Versions")
    report.write(folder / "report.html")
