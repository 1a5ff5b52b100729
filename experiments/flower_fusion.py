"""Kinds and families of flowers joined through a label graph.

    python -m experiments.flower_fusion
        drawn flowers: 12 kinds, 20 fine pictures each, and 1,500 pictures with only their petal count

    python -m experiments.flower_fusion --data=parquet:flowers17_224.parquet --coarse_data=rest --fine_per_class=8 \\
        --coarse_set=flowers17_families --graph=flowers --label_sets=flowers17,flowers17_families \\
        --encoder=efficientnet_lite0 --seeds=0,1,2,3,4 \\
        --hidden=128 --steps=300
        17 kinds: 8 pictures a kind keep their label, the rest only their botanical family

Numbers to expect and run times: docs/results/label_graph.md.
"""

from experiments import fusion
from experiments.common import run_main
from experiments.fusion_config import define_flags

if __name__ == "__main__":
    define_flags(
        experiment="flower_fusion", data="embedded:drawn_flowers", coarse_data="embedded:drawn_flower_counts",
        graph="drawn_flowers", steps=240, hidden=64,
    )  # fmt: skip
    run_main(lambda: fusion.main("flower_fusion"), doc=__doc__)
