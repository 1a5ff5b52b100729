"""Rules that vote: label models, dependencies and active labelling.

votes = apply_rules(rules, table)                              # (N, M), -1 where a rule abstains
model = fit_latent_class(votes, num_classes=2, key=key)
probs = predict_probs(model, votes)                            # (N, C)
"""

from jlabel.data.rule_calls import RuleFailure as RuleFailure
from jlabel.data.rule_votes import RuleWarning as RuleWarning
from jlabel.data.rules import Rule as Rule
from jlabel.data.rules import RuleError as RuleError
from jlabel.data.rules import rule as rule
from jlabel.weak_supervision.active import active_steps as active_steps
from jlabel.weak_supervision.active import run_active as run_active
from jlabel.weak_supervision.active import should_stop as should_stop
from jlabel.weak_supervision.advice import DependencyAdvice as DependencyAdvice
from jlabel.weak_supervision.advice import choose_dependencies as choose_dependencies
from jlabel.weak_supervision.baselines import bucket_oracle as bucket_oracle
from jlabel.weak_supervision.baselines import class_shares as class_shares
from jlabel.weak_supervision.baselines import run_nashaat as run_nashaat
from jlabel.weak_supervision.baselines import run_pure_active as run_pure_active
from jlabel.weak_supervision.bounds import misspecification_bounds as misspecification_bounds
from jlabel.weak_supervision.buckets import Buckets as Buckets
from jlabel.weak_supervision.buckets import as_buckets as as_buckets
from jlabel.weak_supervision.buckets import compress as compress
from jlabel.weak_supervision.buckets import compress_chunks as compress_chunks
from jlabel.weak_supervision.buckets import merge_buckets as merge_buckets
from jlabel.weak_supervision.checks import WeakSupervisionError as WeakSupervisionError
from jlabel.weak_supervision.checks import check_votes as check_votes
from jlabel.weak_supervision.checks import dense_votes as dense_votes
from jlabel.weak_supervision.choice import Choice as Choice
from jlabel.weak_supervision.choice import choose_model as choose_model
from jlabel.weak_supervision.decode import predict_probs as predict_probs
from jlabel.weak_supervision.dependencies import Dependency as Dependency
from jlabel.weak_supervision.end_classifier import EndClassifier as EndClassifier
from jlabel.weak_supervision.estimator import LabelModel as LabelModel
from jlabel.weak_supervision.factor_graph import FactorGraph as FactorGraph
from jlabel.weak_supervision.factor_graph import factor_graph_probs as factor_graph_probs
from jlabel.weak_supervision.factor_graph import log_partition as log_partition
from jlabel.weak_supervision.factor_graph import sample_votes as sample_votes
from jlabel.weak_supervision.factor_graph import vote_log_likelihood as vote_log_likelihood
from jlabel.weak_supervision.graph_fit import fit_factor_graph as fit_factor_graph
from jlabel.weak_supervision.groups import GroupModel as GroupModel
from jlabel.weak_supervision.groups import GroupTable as GroupTable
from jlabel.weak_supervision.groups import rule_accuracies as rule_accuracies
from jlabel.weak_supervision.identifiability import identifiability_report as identifiability_report
from jlabel.weak_supervision.latent_class import fit_latent_class as fit_latent_class
from jlabel.weak_supervision.matrix_completion import fit_matrix_completion as fit_matrix_completion
from jlabel.weak_supervision.methods import fit_method as fit_method
from jlabel.weak_supervision.methods import method_options as method_options
from jlabel.weak_supervision.network import EndModel as EndModel
from jlabel.weak_supervision.objective import expert_penalty as expert_penalty
from jlabel.weak_supervision.objective import matrix_completion_loss as matrix_completion_loss
from jlabel.weak_supervision.objective import noise_aware_cross_entropy as noise_aware_cross_entropy
from jlabel.weak_supervision.objective import validity_penalty as validity_penalty
from jlabel.weak_supervision.queries import expert_divergence as expert_divergence
from jlabel.weak_supervision.queries import next_queries as next_queries
from jlabel.weak_supervision.queries import next_query as next_query
from jlabel.weak_supervision.queries import query_entropy as query_entropy
from jlabel.weak_supervision.structure import dependency_values as dependency_values
from jlabel.weak_supervision.structure import learn_structure as learn_structure
from jlabel.weak_supervision.summary import DoubtfulRules as DoubtfulRules
from jlabel.weak_supervision.summary import doubtful_rules as doubtful_rules
from jlabel.weak_supervision.summary import format_summary as format_summary
from jlabel.weak_supervision.summary import rule_summary as rule_summary
from jlabel.weak_supervision.votes import apply_rules as apply_rules
from jlabel.weak_supervision.votes import apply_rules_chunks as apply_rules_chunks
from jlabel.weak_supervision.votes import majority_vote as majority_vote
