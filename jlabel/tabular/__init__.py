"""Tables with few labelled and many unlabelled rows: pre-trained contextual embeddings of categories.

model = TabTransformerClassifier(objective="rtd").fit(frame, y, unlabelled=more)
probs = model.predict_proba(new)
pretrained = pretrain(frame, objective="mlm", key=key)  # once, for many targets
"""

from jlabel.tabular.baselines import BASELINES as BASELINES
from jlabel.tabular.baselines import fit_mlp as fit_mlp
from jlabel.tabular.baselines import fit_tabtransformer as fit_tabtransformer
from jlabel.tabular.boosting import fit_boosting as fit_boosting
from jlabel.tabular.boosting import fit_logistic as fit_logistic
from jlabel.tabular.boosting import fit_prior as fit_prior
from jlabel.tabular.bottleneck import fit_bottleneck as fit_bottleneck
from jlabel.tabular.checks import TabularError as TabularError
from jlabel.tabular.columns import ColumnTypes as ColumnTypes
from jlabel.tabular.columns import infer_columns as infer_columns
from jlabel.tabular.corrupt import add_missing as add_missing
from jlabel.tabular.corrupt import add_noise as add_noise
from jlabel.tabular.denoising import fit_denoising as fit_denoising
from jlabel.tabular.denoising import pretrain_denoising as pretrain_denoising
from jlabel.tabular.denoising import reconstruction_loss as reconstruction_loss
from jlabel.tabular.denoising import swap_cells as swap_cells
from jlabel.tabular.embeddings import contextual_embeddings as contextual_embeddings
from jlabel.tabular.embeddings import token_names as token_names
from jlabel.tabular.encode import Table as Table
from jlabel.tabular.encode import TableEncoder as TableEncoder
from jlabel.tabular.encode import encode as encode
from jlabel.tabular.encode import fit_encoder as fit_encoder
from jlabel.tabular.encode import value_knots as value_knots
from jlabel.tabular.estimator import TabTransformerClassifier as TabTransformerClassifier
from jlabel.tabular.estimator import TabTransformerRegressor as TabTransformerRegressor
from jlabel.tabular.fitting import Fitted as Fitted
from jlabel.tabular.fitting import HostFit as HostFit
from jlabel.tabular.fitting import NeuralFit as NeuralFit
from jlabel.tabular.fitting import Training as Training
from jlabel.tabular.fitting import classification_score as classification_score
from jlabel.tabular.importance import attention_importance as attention_importance
from jlabel.tabular.importance import permutation_importance as permutation_importance
from jlabel.tabular.network import PretrainingHeads as PretrainingHeads
from jlabel.tabular.network import TabTransformer as TabTransformer
from jlabel.tabular.network import init_network as init_network
from jlabel.tabular.objective import entropy_loss as entropy_loss
from jlabel.tabular.objective import gaussian_kl as gaussian_kl
from jlabel.tabular.objective import mask_codes as mask_codes
from jlabel.tabular.objective import mlm_loss as mlm_loss
from jlabel.tabular.objective import pseudo_label_weight as pseudo_label_weight
from jlabel.tabular.objective import replace_codes as replace_codes
from jlabel.tabular.objective import rtd_loss as rtd_loss
from jlabel.tabular.objective import squared_loss as squared_loss
from jlabel.tabular.pretrain import Pretrained as Pretrained
from jlabel.tabular.pretrain import PretrainingLoss as PretrainingLoss
from jlabel.tabular.pretrain import pretrain as pretrain
from jlabel.tabular.problem import Problem as Problem
from jlabel.tabular.problem import make_problem as make_problem
from jlabel.tabular.sparse import SparseFit as SparseFit
from jlabel.tabular.sparse import fit_sparse as fit_sparse
from jlabel.tabular.sparse import prune as prune
from jlabel.tabular.state import pretrained_from_state as pretrained_from_state
from jlabel.tabular.state import pretrained_state as pretrained_state
from jlabel.tabular.supervised import NetworkOutputs as NetworkOutputs
from jlabel.tabular.supervised import SupervisedLoss as SupervisedLoss
from jlabel.tabular.supervised import predict_table as predict_table
from jlabel.tabular.tabnet import TabNet as TabNet
from jlabel.tabular.tabnet import fit_tabnet as fit_tabnet
from jlabel.tabular.train import Trained as Trained
from jlabel.tabular.train import Validation as Validation
from jlabel.tabular.train import train_runs as train_runs
from jlabel.tabular.tuning import TUNING as TUNING
from jlabel.tabular.tuning import LogUniform as LogUniform
from jlabel.tabular.tuning import TunedFit as TunedFit
from jlabel.tabular.tuning import fit_tuned as fit_tuned
from jlabel.tabular.tuning import sample_settings as sample_settings
