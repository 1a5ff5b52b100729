"""What the process tests start: `python -m tests.training.worker kill|distributed ...`."""

import sys
import warnings

import numpy as np

warnings.simplefilter("error")


def train_until_killed(kind: str, workdir: str, steps: int, checkpoint_every: int | None) -> None:
    import jax

    from jlabel.training import fit

    from . import problems

    print("training", flush=True)
    result = fit(
        getattr(problems, f"{kind}_loss"),
        getattr(problems, f"{kind}_params")(),
        problems.batches(),
        optimizer=problems.OPTIMIZER,
        steps=steps,
        key=jax.random.key(0),
        workdir=workdir,
        config={"steps": steps},
        checkpoint_every=checkpoint_every,
        log_every=7,
    )
    np.savez(f"{workdir}/result.npz", *jax.tree.leaves((result.params, result.opt_state)))


class Slices:
    """This process's rows of batches of eight in order, with a position."""

    def __init__(self, index: int, count: int):
        from .problems import linear_data

        self._data, self._share, self._at = linear_data(), slice(index * 8 // count, (index + 1) * 8 // count), 0

    def __iter__(self):
        return self

    def __next__(self):
        rows = np.arange(self._at * 8, self._at * 8 + 8)[self._share] % 40
        self._at += 1
        return {name: column[rows] for name, column in self._data.items()}

    def get_state(self):
        return {"at": self._at}

    def set_state(self, state):
        self._at = state["at"]


def train_together(address: str, index: int, workdir: str) -> None:
    from jlabel.training import TrainingError, fit, initialize_distributed

    initialize_distributed(f"{address},2,{index}")
    import jax

    from .problems import OPTIMIZER, assert_same_bits, batches, linear_loss, linear_params, without_seconds

    assert (jax.process_count(), jax.device_count()) == (2, 4)
    for kind, make in (("arrays", batches), ("iterator", lambda: Slices(index, 2))):
        options = {"optimizer": OPTIMIZER, "key": jax.random.key(0), "log_every": 5}
        straight = fit(linear_loss, linear_params(), make(), steps=12, **options)
        options |= {"workdir": workdir, "name": kind, "config": {"kind": "both"}}
        fit(linear_loss, linear_params(), make(), steps=7, **options)
        resumed = fit(linear_loss, linear_params(), make(), steps=12, **options)
        assert_same_bits((straight.params, straight.opt_state), (resumed.params, resumed.opt_state))
        again = fit(linear_loss, linear_params(), make(), steps=12, **options)
        assert_same_bits(straight.params, again.params)
        assert without_seconds(again.history) == without_seconds(resumed.history)
        assert [record["step"] for record in resumed.history] == [5, 7, 10, 12]
        np.savez(f"{workdir}/{kind}-{index}.npz", **{name: np.asarray(leaf) for name, leaf in resumed.params.items()})
    try:
        fit(linear_loss, linear_params(), batches(), steps=12, **options | {"config": {"kind": "other"}})
    except TrainingError as error:
        print(f"refused: {error}", flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "kill":
        train_until_killed(sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5]) or None)
    else:
        train_together(sys.argv[2], int(sys.argv[3]), sys.argv[4])
