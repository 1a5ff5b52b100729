"""Breeds and species joined through a label graph.

    python -m experiments.pet_fusion
        drawn pets: 12 breeds, 20 fine pictures each, and 1,500 pictures with only cat or dog

    python -m experiments.pet_fusion --data=parquet:pets_224.parquet --coarse_data=parquet:dogs_vs_cats_128.parquet \\
        --graph=pets --encoder=efficientnet_lite0 --seeds=0,1,2,3,4 \\
        --hidden=128 --steps=300
        37 breeds and Dogs vs Cats, on frozen ImageNet features

    python -m experiments.pet_fusion --data=folder:breeds --coarse_data=folder:species --graph=mine.json
        your own pictures and graph

The table holds the graph (fused, fine-only, and the published credit rule), FFN, FFN + coarse marginal, Label Set,
pseudo labels, majority and the oracle: mean ± standard deviation and 95 % interval over seeds. Numbers to expect and
run times: docs/results/label_graph.md.
"""

from experiments import fusion
from experiments.common import run_main
from experiments.fusion_config import define_flags

if __name__ == "__main__":
    define_flags(
        experiment="pet_fusion",
        data="embedded:drawn_pets",
        coarse_data="embedded:drawn_species",
        graph="drawn_pets",
        steps=150,
        hidden=64,
        seeds=(0, 1, 2, 3, 4),
    )
    run_main(lambda: fusion.main("pet_fusion"), doc=__doc__)
