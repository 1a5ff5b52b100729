"""Wrong labels: how many, which, and between which classes.

found = find_errors(labels, probs)                # probs: (N, C), from a model that did not train on these rows
print(found)                                      # how many labels are wrong, and the most confused pairs
suspects = found.order                            # rows to look at, worst first
"""

from jlabel.confident_learning.benchmark import BenchmarkSets as BenchmarkSets
from jlabel.confident_learning.benchmark import SpearmanInterval as SpearmanInterval
from jlabel.confident_learning.benchmark import accuracy_at_prevalence as accuracy_at_prevalence
from jlabel.confident_learning.benchmark import benchmark_sets as benchmark_sets
from jlabel.confident_learning.benchmark import corrected_accuracy as corrected_accuracy
from jlabel.confident_learning.benchmark import crossing_prevalence as crossing_prevalence
from jlabel.confident_learning.benchmark import dropped_share as dropped_share
from jlabel.confident_learning.benchmark import noise_prevalence as noise_prevalence
from jlabel.confident_learning.benchmark import original_accuracy as original_accuracy
from jlabel.confident_learning.benchmark import spearman_interval as spearman_interval
from jlabel.confident_learning.checks import CheckedInputs as CheckedInputs
from jlabel.confident_learning.checks import ConfidentLearningError as ConfidentLearningError
from jlabel.confident_learning.checks import check_labels_and_probs as check_labels_and_probs
from jlabel.confident_learning.corrections import DECISIONS as DECISIONS
from jlabel.confident_learning.corrections import ISSUE_COLUMNS as ISSUE_COLUMNS
from jlabel.confident_learning.corrections import PROVENANCE_COLUMNS as PROVENANCE_COLUMNS
from jlabel.confident_learning.corrections import Corrections as Corrections
from jlabel.confident_learning.corrections import apply_corrections as apply_corrections
from jlabel.confident_learning.corrections import issue_table as issue_table
from jlabel.confident_learning.count import count_errors as count_errors
from jlabel.confident_learning.count import count_interval as count_interval
from jlabel.confident_learning.estimator import ConfidentLearningClassifier as ConfidentLearningClassifier
from jlabel.confident_learning.filters import filter_by_both as filter_by_both
from jlabel.confident_learning.filters import filter_by_class as filter_by_class
from jlabel.confident_learning.filters import filter_by_disagreement as filter_by_disagreement
from jlabel.confident_learning.filters import filter_by_joint as filter_by_joint
from jlabel.confident_learning.filters import filter_by_noise_rate as filter_by_noise_rate
from jlabel.confident_learning.filters import filter_lowest as filter_lowest
from jlabel.confident_learning.find import ClassPair as ClassPair
from jlabel.confident_learning.find import LabelErrors as LabelErrors
from jlabel.confident_learning.find import find_errors as find_errors
from jlabel.confident_learning.gallery import GalleryItem as GalleryItem
from jlabel.confident_learning.gallery import gallery_html as gallery_html
from jlabel.confident_learning.joint import calibrate_joint as calibrate_joint
from jlabel.confident_learning.joint import class_thresholds as class_thresholds
from jlabel.confident_learning.joint import confident_joint as confident_joint
from jlabel.confident_learning.joint import round_joint as round_joint
from jlabel.confident_learning.multilabel import MultilabelErrors as MultilabelErrors
from jlabel.confident_learning.multilabel import find_multilabel_errors as find_multilabel_errors
from jlabel.confident_learning.multilabel import multilabel_joints as multilabel_joints
from jlabel.confident_learning.out_of_sample import Probe as Probe
from jlabel.confident_learning.out_of_sample import linear_probe as linear_probe
from jlabel.confident_learning.out_of_sample import out_of_sample_probs as out_of_sample_probs
from jlabel.confident_learning.out_of_sample import stratified_folds as stratified_folds
from jlabel.confident_learning.rank import confidence_weighted_entropy as confidence_weighted_entropy
from jlabel.confident_learning.rank import normalized_margin as normalized_margin
from jlabel.confident_learning.rank import self_confidence as self_confidence
from jlabel.confident_learning.rank_bootstrap import AccuracyReplicates as AccuracyReplicates
from jlabel.confident_learning.rank_bootstrap import Crossings as Crossings
from jlabel.confident_learning.rank_bootstrap import RankBootstrap as RankBootstrap
from jlabel.confident_learning.rank_bootstrap import RankIntervals as RankIntervals
from jlabel.confident_learning.rank_bootstrap import bootstrap_accuracies as bootstrap_accuracies
from jlabel.confident_learning.rank_bootstrap import bootstrap_ranks as bootstrap_ranks
from jlabel.confident_learning.rank_bootstrap import rank_correlation as rank_correlation
from jlabel.confident_learning.stream import StreamResult as StreamResult
from jlabel.confident_learning.stream import StreamState as StreamState
from jlabel.confident_learning.stream import find_errors_streaming as find_errors_streaming
from jlabel.confident_learning.votes import VOTE_CATEGORIES as VOTE_CATEGORIES
from jlabel.confident_learning.votes import VOTE_CHOICES as VOTE_CHOICES
from jlabel.confident_learning.votes import count_votes as count_votes
from jlabel.confident_learning.votes import tally_label_votes as tally_label_votes
from jlabel.confident_learning.votes import tally_votes as tally_votes
