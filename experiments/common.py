"""What every study shares: flags, one-line errors with exit code 2, the workdir and results.json."""

import contextlib
import dataclasses
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from absl import app, flags, logging

import jlabel

__all__ = ["define_shared_flags", "from_flags", "run_main", "user_errors", "written_whole"]

C = TypeVar("C")


def define_shared_flags(*, data: str, workdir: str, seeds: str, steps: int, batch_size: int) -> None:
    """Define the flags that all studies have, with this study's defaults."""
    flags.DEFINE_string(
        "data", data, "Data, as jlabel.data.open takes it: embedded:NAME, folder:DIR, parquet:GLOB, ..."
    )
    flags.DEFINE_string("workdir", workdir, "Folder for config, metrics, results, figures, report and checkpoints.")
    flags.DEFINE_list("seeds", seeds.split(","), "Seeds of the runs, e.g. 0,1,2: intervals are taken over them.")
    flags.DEFINE_integer("steps", steps, "Training steps of each run.")
    flags.DEFINE_integer("batch_size", batch_size, "Rows of each dataset in a batch.")
    flags.DEFINE_float("learning_rate", None, "Learning rate; by default chosen on validation rows.")
    flags.DEFINE_string("mesh", None, "Devices, e.g. data=8: batches are split over the axis data.")
    flags.DEFINE_string("distributed", None, "Several hosts: COORDINATOR:PORT,COUNT,INDEX or auto.")


def from_flags(config_type: Callable[..., C], values: flags.FlagValues, **fixed: Any) -> C:
    """Build a config dataclass from the flags that carry its fields' names."""
    found = dict(fixed)
    for field in dataclasses.fields(config_type):  # type: ignore[arg-type]
        if field.name not in found and field.name in values:
            value = values[field.name].value
            found[field.name] = tuple(value) if isinstance(value, list) else value
    for name, number in {"seeds": int, "fine_counts": int, "threshold": int, "rates": float}.items():
        try:
            if isinstance(found.get(name), tuple):
                found[name] = tuple(number(text) for text in found[name])
        except ValueError as error:
            kind = "whole numbers" if number is int else "numbers"
            raise jlabel.InputError(f"--{name}={','.join(found[name])}: give {kind} separated by commas") from error
    return config_type(**found)


def user_errors(function: Callable[[], int | None]) -> int:
    """Run something; an error the user can mend becomes one line on stderr and exit code 2."""
    try:
        return function() or 0
    except jlabel.InputError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2


def run_main(main: Callable[[], int | None], *, doc: str | None) -> None:
    """Parse the flags and run a binary."""
    logging.set_verbosity(logging.WARNING)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

    def parse(argv: list[str]) -> list[str]:
        try:
            return list(flags.FLAGS(argv))
        except flags.Error as error:
            print(f"error: {' '.join(str(error).split())}; see --help", file=sys.stderr)
            raise SystemExit(2) from error

    def guarded(argv: list[str]) -> int:
        if len(argv) > 1:
            print(f"error: unexpected argument {argv[1]!r}; flags read --name=value, see --help", file=sys.stderr)
            return 2
        return user_errors(main)

    # --help shows the flags of the binary's own file alone, and these are defined in the files it shares.
    for module, defined in flags.FLAGS.flags_by_module_dict().items():
        if module.startswith("experiments."):
            for flag in defined:
                flags.FLAGS.register_key_flag_for_module(sys.argv[0], flag)
    sys.modules["__main__"].__doc__ = doc
    app.run(guarded, flags_parser=parse)


@contextlib.contextmanager
def written_whole(path: Path, mode: str = "w", *, flag: str = "--workdir") -> Iterator[Any]:
    """A file that appears under its name when the block ends well, and not at all otherwise; `flag` names its place."""
    temporary = None
    # Names of files may hold bytes that are not UTF-8.
    text: dict[str, str] = {} if "b" in mode else {"encoding": "utf-8", "errors": "backslashreplace", "newline": ""}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:100]}.")
        with os.fdopen(handle, mode, **text) as file:  # type: ignore[call-overload]
            yield file
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)  # mkstemp gives 0600
        os.replace(temporary, path)
    except OSError as error:
        raise jlabel.InputError(
            f"cannot write {path}: {error.strerror or error}; choose another {flag} or free space"
        ) from error
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
