"""Training: one loop that scans data in memory, logs, stops on NaN, saves, and resumes to the same bits.

batches = ArrayBatches({"x": x, "label": labels}, batch_size=128)
result = fit(loss_fn, params, batches, optimizer=optax.adamw(1e-3), steps=1000, key=jax.random.key(0), workdir="run")
probs = jax.nn.softmax(apply_fn(result.params, x_test))
"""

from jlabel.training.arrays import load_arrays as load_arrays
from jlabel.training.arrays import save_arrays as save_arrays
from jlabel.training.batches import ArrayBatches as ArrayBatches
from jlabel.training.batches import join_batches as join_batches
from jlabel.training.checks import TrainingError as TrainingError
from jlabel.training.checks import check_positive as check_positive
from jlabel.training.fit import fit as fit
from jlabel.training.fit import fit_seeds as fit_seeds
from jlabel.training.loop import FitResult as FitResult
from jlabel.training.mesh import initialize_distributed as initialize_distributed
from jlabel.training.mesh import make_mesh as make_mesh
from jlabel.training.workdir import check_workdir as check_workdir
from jlabel.training.workdir import open_workdir as open_workdir
from jlabel.training.workdir import write_json as write_json
