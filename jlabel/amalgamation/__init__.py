"""Several multi-label teachers with overlapping label sets, one student for all their labels.

    found = amalgamate({"clinic": forest, "lab": chain}, rows)  # fitted models with named labels, unlabelled rows
    probs = found.predict_proba(new_rows)  # a DataFrame, one column for each label that any teacher knows
    print(found.disagreement.summary())  # who contradicted whom, and what the transfer changed

Beneath: `fit_chain` trains a teacher or student, `transfer_targets` lets teachers tell each other, `earn_trust` finds
out whom to believe.
"""

from jlabel.amalgamation.adaptive import fit_adaptive as fit_adaptive
from jlabel.amalgamation.adaptive import fit_adaptive_runs as fit_adaptive_runs
from jlabel.amalgamation.amalgamate import Amalgamation as Amalgamation
from jlabel.amalgamation.amalgamate import amalgamate as amalgamate
from jlabel.amalgamation.baselines import frequent_set as frequent_set
from jlabel.amalgamation.baselines import mean_logit_targets as mean_logit_targets
from jlabel.amalgamation.baselines import mean_logits as mean_logits
from jlabel.amalgamation.baselines import vote_shares as vote_shares
from jlabel.amalgamation.baselines import vote_targets as vote_targets
from jlabel.amalgamation.chain import ChainOutput as ChainOutput
from jlabel.amalgamation.chain import carry_logits as carry_logits
from jlabel.amalgamation.checks import AmalgamationError as AmalgamationError
from jlabel.amalgamation.common_features import fit_common_features as fit_common_features
from jlabel.amalgamation.common_features import fit_common_features_runs as fit_common_features_runs
from jlabel.amalgamation.disagreement import DisagreementReport as DisagreementReport
from jlabel.amalgamation.disagreement import disagreement_report as disagreement_report
from jlabel.amalgamation.filtered import fit_filtered as fit_filtered
from jlabel.amalgamation.filtered import fit_filtered_runs as fit_filtered_runs
from jlabel.amalgamation.labels import label_union as label_union
from jlabel.amalgamation.labels import share_labels as share_labels
from jlabel.amalgamation.model import ChainApply as ChainApply
from jlabel.amalgamation.model import ChainModel as ChainModel
from jlabel.amalgamation.model import fit_chain as fit_chain
from jlabel.amalgamation.model import fit_chains as fit_chains
from jlabel.amalgamation.network import LabelChain as LabelChain
from jlabel.amalgamation.objective import chain_loss as chain_loss
from jlabel.amalgamation.predict import chain_outputs as chain_outputs
from jlabel.amalgamation.predict import predict_labels as predict_labels
from jlabel.amalgamation.predict import predict_probs as predict_probs
from jlabel.amalgamation.teachers import PROB_FLOOR as PROB_FLOOR
from jlabel.amalgamation.teachers import Teacher as Teacher
from jlabel.amalgamation.teachers import as_teacher as as_teacher
from jlabel.amalgamation.teachers import as_teachers as as_teachers
from jlabel.amalgamation.train import train_runs as train_runs
from jlabel.amalgamation.transfer import TransferResult as TransferResult
from jlabel.amalgamation.transfer import integrate_probs as integrate_probs
from jlabel.amalgamation.transfer import transfer_targets as transfer_targets
from jlabel.amalgamation.transfer import transfer_triples as transfer_triples
from jlabel.amalgamation.trust import Trust as Trust
from jlabel.amalgamation.trust import earn_trust as earn_trust
