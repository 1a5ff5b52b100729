"""Wrong labels: how many, which, and between which classes.

found = find_errors(labels, probs)                # probs: (N, C), from a model that did not train on these rows
print(found)                                      # how many labels are wrong, and the most confused pairs
suspects = found.order                            # rows to look at, worst first
"""

from jlabel.confident_learning.checks import CheckedInputs as CheckedInputs
from jlabel.confident_learning.checks import ConfidentLearningError as ConfidentLearningError
from jlabel.confident_learning.checks import check_labels_and_probs as check_labels_and_probs
from jlabel.confident_learning.joint import calibrate_joint as calibrate_joint
from jlabel.confident_learning.joint import class_thresholds as class_thresholds
from jlabel.confident_learning.joint import confident_joint as confident_joint
from jlabel.confident_learning.joint import round_joint as round_joint
