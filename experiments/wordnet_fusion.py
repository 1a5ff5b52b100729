"""Classes joined through WordNet: a few rows that name the class, many that name only a hypernym of it.

    python -m experiments.wordnet_fusion --data='parquet:tiny_imagenet_64.parquet?label=wnid' --test_split=val
        200 classes of Tiny ImageNet, 5 pictures each; 55 known only by the highest hypernym above at most 12 classes

    python -m experiments.wordnet_fusion ... --label_sets= \\
        --coarse_set=tiny_imagenet_coarse4,tiny_imagenet_coarse12,tiny_imagenet_coarse40
        the coarse labels at three heights, as if three coarse datasets were joined

    python -m experiments.wordnet_fusion ... --fine_counts=1,2,5,10,20
        accuracy against the number of fine pictures a class

    python -m experiments.wordnet_fusion --data=folder:mine --graph=mine.json --label_sets=mine,mine_coarse12 ...
        your own classes and their graph, from python -m experiments.label_graph from_wordnet mine.txt --coarse=12

On frozen ImageNet features. Nodes of the graph that decide nothing are left out, and every node's score includes those
of what is below it. Numbers to expect and run times: docs/results/wordnet.md.
"""

from experiments import fusion
from experiments.common import run_main
from experiments.fusion_config import define_flags

if __name__ == "__main__":
    define_flags(
        experiment="wordnet_fusion", data="", coarse_data="rest", graph="tiny_imagenet",
        label_sets=("tiny_imagenet", "tiny_imagenet_coarse12"), coarse_set=("tiny_imagenet_coarse12",),
        fine_per_class=5, coarse_per_class=55, encoder="efficientnet_lite0", image_size=160, steps=600, batch_size=64,
        # Many labels have two hypernyms on some level, so no path of theirs is deterministic: the marginal knows all.
        objective="marginal", hidden=0, upward=True, contract=True, rates=(1e-2, 3e-2, 1e-1), seeds=(0, 1, 2, 3, 4),
        methods=(
            "graph fused", "graph fine-only", "FFN", "FFN + coarse marginal", "Label Set", "pseudo labels", "oracle",
        ),
    )  # fmt: skip
    run_main(lambda: fusion.main("wordnet_fusion"), doc=__doc__)
