"""Encoders and blocks (Flax Linen), with pretrained weights.

net = encoder("efficientnet_lite0")
params = net.init(jax.random.key(0))
features = net.apply(params, images)  # uint8 [B, 224, 224, 3] -> float32 [B, 1280]
"""

from jlabel.networks.convolution import Conv as Conv
from jlabel.networks.convolution import conv as conv
from jlabel.networks.convolution import conv_method as conv_method
from jlabel.networks.efficientnet_lite import EfficientNetLite as EfficientNetLite
from jlabel.networks.efficientnet_lite import load_efficientnet_lite as load_efficientnet_lite
from jlabel.networks.encoder import ENCODERS as ENCODERS
from jlabel.networks.encoder import Encoder as Encoder
from jlabel.networks.encoder import encoder as encoder
from jlabel.networks.group_norm import GroupNorm as GroupNorm
from jlabel.networks.pooling import max_pool as max_pool
from jlabel.networks.resnet import ResNet18 as ResNet18
from jlabel.networks.small_cnn import SmallCNN as SmallCNN
from jlabel.networks.weights import WeightsError as WeightsError
from jlabel.networks.weights import find_weights as find_weights
from jlabel.networks.weights import read_torch_file as read_torch_file
