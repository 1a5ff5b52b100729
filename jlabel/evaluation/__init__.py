"""Metrics, intervals, figures and the report of a study.

Scores take what the model said first, the truth second; a prediction of -1 means "none" and is wrong.

    rows = [make_row("graph", "accuracy", [accuracy(predicted, labels) for predicted in runs])]
    print(format_table(rows, paper={("graph", "accuracy"): 0.95}))
    save_figure("runs/figures/comparison.png", comparison_figure(rows))

Figures of one's own take their size, colours and frame from `jlabel.evaluation.style`.
"""

from jlabel.evaluation.calibration import ReliabilityBins as ReliabilityBins
from jlabel.evaluation.calibration import apply_temperature as apply_temperature
from jlabel.evaluation.calibration import calibration_error as calibration_error
from jlabel.evaluation.calibration import fit_temperature as fit_temperature
from jlabel.evaluation.calibration import reliability_bins as reliability_bins
from jlabel.evaluation.curves import curves_figure as curves_figure
from jlabel.evaluation.curves import lines_figure as lines_figure
from jlabel.evaluation.figures import comparison_figure as comparison_figure
from jlabel.evaluation.figures import confusion_figure as confusion_figure
from jlabel.evaluation.figures import reliability_figure as reliability_figure
from jlabel.evaluation.gallery_figure import gallery_figure as gallery_figure
from jlabel.evaluation.graph_figure import graph_figure as graph_figure
from jlabel.evaluation.intervals import Comparison as Comparison
from jlabel.evaluation.intervals import Interval as Interval
from jlabel.evaluation.intervals import bootstrap_interval as bootstrap_interval
from jlabel.evaluation.intervals import paired_bootstrap as paired_bootstrap
from jlabel.evaluation.intervals import paired_comparison as paired_comparison
from jlabel.evaluation.intervals import seed_interval as seed_interval
from jlabel.evaluation.metrics import HierarchicalScores as HierarchicalScores
from jlabel.evaluation.metrics import accuracy as accuracy
from jlabel.evaluation.metrics import balanced_accuracy as balanced_accuracy
from jlabel.evaluation.metrics import confusion_matrix as confusion_matrix
from jlabel.evaluation.metrics import f1_score as f1_score
from jlabel.evaluation.metrics import hamming_loss as hamming_loss
from jlabel.evaluation.metrics import hierarchical_scores as hierarchical_scores
from jlabel.evaluation.metrics import multilabel_f1 as multilabel_f1
from jlabel.evaluation.metrics import negative_log_likelihood as negative_log_likelihood
from jlabel.evaluation.metrics import subset_loss as subset_loss
from jlabel.evaluation.report import Report as Report
from jlabel.evaluation.report import save_figure as save_figure
from jlabel.evaluation.report import write_results as write_results
from jlabel.evaluation.results import Row as Row
from jlabel.evaluation.results import build_results as build_results
from jlabel.evaluation.results import format_row as format_row
from jlabel.evaluation.results import format_table as format_table
from jlabel.evaluation.results import make_row as make_row
from jlabel.evaluation.results import row_from_interval as row_from_interval
from jlabel.evaluation.results import table_cells as table_cells
from jlabel.evaluation.results import to_json as to_json
from jlabel.evaluation.results import versions as versions
