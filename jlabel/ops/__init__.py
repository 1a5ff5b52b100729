"""Array functions that several systems share.

from jlabel.ops import block_log_softmax
log_probs = block_log_softmax(logits, block_ids, num_blocks=3)
nodes = log_probs.argmax(-1)
"""

from jlabel.ops.block_softmax import block_log_softmax as block_log_softmax
from jlabel.ops.block_softmax import target_block_log_softmax as target_block_log_softmax
from jlabel.ops.score_function import leave_one_out_baseline as leave_one_out_baseline
from jlabel.ops.score_function import score_function_loss as score_function_loss
