"""Figures of the paper, Tables 2 to 4: means over four seeds."""

from collections.abc import Mapping

from experiments.amalgamation_config import EMBEDDED, AmalgamationConfig
from experiments.amalgamation_data import Part

__all__ = ["paper_figures"]

METRICS = ("subset loss", "Hamming loss", "micro F1", "macro F1")
Table = Mapping[str, tuple[float, float, float, float]]

TABLE_2: Mapping[str, Table] = {
    "emotions": {
        "BL": (0.9500, 0.3726, 0.4351, 0.4539), "AKA": (0.9786, 0.4346, 0.3184, 0.2069),
        "FKA": (0.9714, 0.4417, 0.3812, 0.2662), "CFL": (0.9357, 0.3464, 0.4372, 0.4193),
        "TC": (0.9143, 0.3452, 0.4366, 0.4548), "ANT": (0.9286, 0.3345, 0.4545, 0.4559),
    },
    "scene": {
        "BL": (0.6615, 0.1953, 0.4592, 0.4490), "AKA": (0.8490, 0.2416, 0.4038, 0.4092),
        "FKA": (1.000, 0.5680, 0.2784, 0.2339), "CFL": (0.6684, 0.1933, 0.4552, 0.4450),
        "TC": (0.6424, 0.1869, 0.4645, 0.4459), "ANT": (0.6077, 0.1765, 0.4840, 0.4675),
    },
    "yeast": {
        "BL": (0.9983, 0.4135, 0.4733, 0.3345), "AKA": (0.9966, 0.3409, 0.4749, 0.3630),
        "FKA": (1.000, 0.5390, 0.3884, 0.3047), "CFL": (0.9948, 0.3514, 0.4792, 0.3200),
        "TC": (1.000, 0.3487, 0.4917, 0.3383), "ANT": (0.9948, 0.3553, 0.5073, 0.3535),
    },
    "tmc2007": {
        "BL": (0.9997, 0.1877, 0.0910, 0.0733), "AKA": (1.000, 0.4075, 0.1967, 0.1874),
        "FKA": (1.000, 0.5477, 0.2045, 0.1459), "CFL": (0.9997, 0.1810, 0.0761, 0.0713),
        "TC": (0.9997, 0.1820, 0.0793, 0.0725), "ANT": (0.9994, 0.1784, 0.0825, 0.0746),
    },
    "genbase": {
        "BL": (0.9295, 0.0833, 0.0734, 0.0370), "AKA": (1.000, 0.3991, 0.1748, 0.1853),
        "FKA": (1.000, 0.6769, 0.0808, 0.0600), "CFL": (0.9295, 0.0845, 0.0728, 0.0370),
        "TC": (0.9295, 0.0836, 0.0734, 0.0370), "ANT": (0.9295, 0.0829, 0.0740, 0.0370),
    },
}  # fmt: skip
TABLE_3: Mapping[float, Table] = {  # scene, by share of labels that both teachers know
    0.5: {
        "BL": (0.780, 0.263, 0.292, 0.305), "AKA": (0.884, 0.259, 0.375, 0.382), "FKA": (1.000, 0.544, 0.246, 0.191),
        "CFL": (0.785, 0.251, 0.295, 0.303), "TC": (0.774, 0.242, 0.299, 0.308), "ANT": (0.766, 0.253, 0.305, 0.309),
    },
    0.25: {
        "BL": (0.661, 0.195, 0.459, 0.449), "AKA": (0.849, 0.242, 0.404, 0.409), "FKA": (1.000, 0.568, 0.278, 0.234),
        "CFL": (0.668, 0.193, 0.455, 0.445), "TC": (0.642, 0.187, 0.465, 0.446), "ANT": (0.608, 0.177, 0.484, 0.468),
    },
    0.0: {
        "BL": (0.498, 0.122, 0.654, 0.660), "AKA": (0.891, 0.274, 0.385, 0.398), "FKA": (1.000, 0.532, 0.301, 0.298),
        "CFL": (0.517, 0.120, 0.658, 0.662), "TC": (0.505, 0.123, 0.651, 0.662), "ANT": (0.439, 0.106, 0.685, 0.690),
    },
}  # fmt: skip
TABLE_4: Mapping[float, Table] = {  # YELP, 8 labels, by number of teachers
    3: {
        "BL": (0.930, 0.299, 0.479, 0.375), "AKA": (0.980, 0.370, 0.395, 0.382), "FKA": (0.998, 0.495, 0.349, 0.308),
        "CFL": (0.921, 0.283, 0.473, 0.365), "TC": (0.920, 0.280, 0.481, 0.372), "ANT": (0.918, 0.286, 0.488, 0.382),
    },
    4: {
        "BL": (0.971, 0.364, 0.373, 0.279), "AKA": (0.980, 0.379, 0.385, 0.371), "FKA": (0.998, 0.506, 0.341, 0.306),
        "CFL": (0.968, 0.349, 0.358, 0.265), "TC": (0.962, 0.341, 0.361, 0.264), "ANT": (0.967, 0.355, 0.373, 0.281),
    },
    5: {
        "BL": (0.977, 0.374, 0.373, 0.281), "AKA": (0.990, 0.390, 0.397, 0.384), "FKA": (0.997, 0.462, 0.340, 0.284),
        "CFL": (0.964, 0.338, 0.349, 0.255), "TC": (0.956, 0.342, 0.358, 0.267), "ANT": (0.970, 0.365, 0.382, 0.289),
    },
}  # fmt: skip


def paper_figures(config: AmalgamationConfig, part: Part) -> dict[tuple[str, str], float]:
    """(method, metric) to the published mean, where there is one for this table; else empty."""
    table: Table | None = None
    drawn = config.shared is not None or config.num_teachers is not None
    if config.study == "main" and config.data.startswith("npz:") and part.error == "none" and not drawn:
        table = TABLE_2.get(config.stem)
    elif config.study == "shared" and config.stem == "scene" and part.error == "none":
        table = TABLE_3.get(part.level)
    elif config.study == "teachers" and config.data == EMBEDDED and part.error == "none":
        table = TABLE_4.get(part.level)  # of other rows: the paper's are not to be had
    return {
        (method, metric): value
        for method, values in (table or {}).items()
        for metric, value in zip(METRICS, values, strict=True)
    }
