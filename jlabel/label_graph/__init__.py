"""Datasets joined through a knowledge graph of their labels.

graph = build_graph(load_graph("pets"))                        # or your own JSON or CSV file
plan = plan_paths(graph)                                       # every label's paths, worked out once
loss, metrics = label_graph_loss(params, batch, key, apply_fn=decoder.apply, plan=plan)
"""

from jlabel.label_graph.baselines import label_set_loss as label_set_loss
from jlabel.label_graph.baselines import label_set_scores as label_set_scores
from jlabel.label_graph.baselines import label_set_targets as label_set_targets
from jlabel.label_graph.baselines import labels_below as labels_below
from jlabel.label_graph.baselines import majority_label as majority_label
from jlabel.label_graph.baselines import marginal_softmax_loss as marginal_softmax_loss
from jlabel.label_graph.baselines import pseudo_labels as pseudo_labels
from jlabel.label_graph.decode import attribute_log_probs as attribute_log_probs
from jlabel.label_graph.decode import beam_decode as beam_decode
from jlabel.label_graph.decode import decoded_labels as decoded_labels
from jlabel.label_graph.decode import greedy_decode as greedy_decode
from jlabel.label_graph.decode import label_log_probs as label_log_probs
from jlabel.label_graph.decode import node_log_probs as node_log_probs
from jlabel.label_graph.decode import sample_paths as sample_paths
from jlabel.label_graph.graph import LabelGraph as LabelGraph
from jlabel.label_graph.graph import LabelGraphError as LabelGraphError
from jlabel.label_graph.network import PathDecoder as PathDecoder
from jlabel.label_graph.objective import label_graph_loss as label_graph_loss
from jlabel.label_graph.objective import path_log_probs as path_log_probs
from jlabel.label_graph.objective import path_reward as path_reward
from jlabel.label_graph.objective import pool_paths as pool_paths
from jlabel.label_graph.objective import reward_average as reward_average
from jlabel.label_graph.paths import Paths as Paths
from jlabel.label_graph.paths import PathTree as PathTree
from jlabel.label_graph.paths import count_paths as count_paths
from jlabel.label_graph.paths import enumerate_paths as enumerate_paths
from jlabel.label_graph.paths import path_tree as path_tree
from jlabel.label_graph.plan import PathPlan as PathPlan
from jlabel.label_graph.plan import plan_paths as plan_paths
from jlabel.label_graph.specification import build_graph as build_graph
from jlabel.label_graph.specification import graph_spec as graph_spec
from jlabel.label_graph.specification import match_labels as match_labels
from jlabel.label_graph.steps import step_log_probs as step_log_probs
from jlabel.label_graph.steps import upward_scores as upward_scores
from jlabel.label_graph.trim import contract_graph as contract_graph
from jlabel.label_graph.trim import restrict_graph as restrict_graph
from jlabel.label_graph.trim import trim_graph as trim_graph
