"""Texts of two datasets, one that names the category and one only the archive, joined through a label graph.

    python -m experiments.arxiv_fusion
        drawn abstracts: 24 categories, 10 fine rows each, and 1,000 abstracts with only their archive

Numbers to expect and run times: docs/results/texts.md.
"""

from experiments import fusion
from experiments.common import run_main
from experiments.fusion_config import DEFAULT_METHODS, define_flags
from experiments.fusion_methods import SVM

if __name__ == "__main__":
    define_flags(
        experiment="arxiv_fusion", data="embedded:drawn_abstracts", coarse_data="embedded:drawn_archives",
        graph="drawn_abstracts", encoder="lstm", steps=300, hidden=64, seeds=(0, 1, 2, 3, 4), rates=(1e-2, 3e-2, 1e-1),
        text_features=128,
        # Topics form a tree, so nothing is left open and both credit rules are the same.
        methods=(*(m for m in DEFAULT_METHODS if m != "graph fused (credit all)"), SVM),
    )  # fmt: skip
    run_main(lambda: fusion.main("arxiv_fusion"), doc=__doc__)
