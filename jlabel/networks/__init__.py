"""Encoders and blocks (Flax Linen), with pretrained weights.

net = encoder("efficientnet_lite0")
params = net.init(jax.random.key(0))
features = net.apply(params, images)  # uint8 [B, 224, 224, 3] -> float32 [B, 1280]

net = text_encoder("minilm")
ids = net.tokenizer.pad(net.tokenizer.encode(texts))
features = net.apply(net.init(jax.random.key(0)), ids)  # int32 [B, L] -> float32 [B, 384]
"""

from jlabel.networks.bert import Bert as Bert
from jlabel.networks.bert import BertConfig as BertConfig
from jlabel.networks.bert import load_bert as load_bert
from jlabel.networks.convolution import Conv as Conv
from jlabel.networks.convolution import conv as conv
from jlabel.networks.convolution import conv_method as conv_method
from jlabel.networks.efficientnet_lite import EfficientNetLite as EfficientNetLite
from jlabel.networks.efficientnet_lite import load_efficientnet_lite as load_efficientnet_lite
from jlabel.networks.encoder import ENCODERS as ENCODERS
from jlabel.networks.encoder import Encoder as Encoder
from jlabel.networks.encoder import encoder as encoder
from jlabel.networks.fine_tuning import layer_decay as layer_decay
from jlabel.networks.group_norm import GroupNorm as GroupNorm
from jlabel.networks.lstm import BiLSTM as BiLSTM
from jlabel.networks.pooling import max_pool as max_pool
from jlabel.networks.resnet import ResNet18 as ResNet18
from jlabel.networks.shortening import length_buckets as length_buckets
from jlabel.networks.shortening import shorten_batches as shorten_batches
from jlabel.networks.small_cnn import SmallCNN as SmallCNN
from jlabel.networks.text_encoder import TEXT_ENCODERS as TEXT_ENCODERS
from jlabel.networks.text_encoder import find_minilm as find_minilm
from jlabel.networks.text_encoder import text_encoder as text_encoder
from jlabel.networks.token_pooling import pool_tokens as pool_tokens
from jlabel.networks.tokenizer import TextTokenizer as TextTokenizer
from jlabel.networks.tokenizer import learn_vocabulary as learn_vocabulary
from jlabel.networks.tokenizer import load_tokenizer as load_tokenizer
from jlabel.networks.weights import WeightsError as WeightsError
from jlabel.networks.weights import find_weights as find_weights
from jlabel.networks.weights import read_torch_file as read_torch_file
from jlabel.networks.word_vectors import read_word_vectors as read_word_vectors
