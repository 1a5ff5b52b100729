"""Sources of labelled rows, batches of them, generators with known truth, and label graphs.

Three lines from a folder of pictures to arrays for training:

    source = jlabel.data.open("folder:pets", "train")
    train, held_out = jlabel.data.split_rows(source, fraction=0.2, seed=0)
    arrays = jlabel.data.load_arrays(train, image_size=64)
"""

from jlabel.data.arxiv import ArxivRecord as ArxivRecord
from jlabel.data.arxiv import ArxivRecords as ArxivRecords
from jlabel.data.arxiv import arxiv_records as arxiv_records
from jlabel.data.augment import augment as augment
from jlabel.data.augment import jitter_color as jitter_color
from jlabel.data.augment import random_flip as random_flip
from jlabel.data.augment import random_shift as random_shift
from jlabel.data.drawn_abstracts import drawn_abstracts as drawn_abstracts
from jlabel.data.drawn_abstracts import drawn_archives as drawn_archives
from jlabel.data.drawn_flowers import drawn_flower_counts as drawn_flower_counts
from jlabel.data.drawn_flowers import drawn_flowers as drawn_flowers
from jlabel.data.drawn_pets import drawn_pets as drawn_pets
from jlabel.data.drawn_pets import drawn_species as drawn_species
from jlabel.data.features import encode_features as encode_features
from jlabel.data.features import load_arrays as load_arrays
from jlabel.data.graphs import GraphFileError as GraphFileError
from jlabel.data.graphs import drawn_pets_table as drawn_pets_table
from jlabel.data.graphs import graph_from_table as graph_from_table
from jlabel.data.graphs import load_graph as load_graph
from jlabel.data.images import decode_image as decode_image
from jlabel.data.images import resize_image as resize_image
from jlabel.data.opening import open as open
from jlabel.data.pipeline import pipeline as pipeline
from jlabel.data.source import DataError as DataError
from jlabel.data.source import Source as Source
from jlabel.data.source import SplitError as SplitError
from jlabel.data.source import from_arrays as from_arrays
from jlabel.data.source import split_rows as split_rows
from jlabel.data.source import subset as subset
from jlabel.data.texts import encode_texts as encode_texts
from jlabel.data.wordnet import add_label_set as add_label_set
from jlabel.data.wordnet import coarse_labels as coarse_labels
from jlabel.data.wordnet import graph_from_wordnet as graph_from_wordnet
