"""One model for datasets whose classes disagree: relations between classes, universal classes, one network.

relations = find_relations(cross, domains=["a", "b"], class_names=names)  # cross[a, b]: cross_predictions of a pair
taxonomy = build_taxonomy(relations)                                      # readable, editable: taxonomy_spec(taxonomy)
targets = universal_targets(taxonomy, domain, labels)                     # train one head; domain_probs leads back
"""

from jlabel.taxonomy.baselines import Scheme as Scheme
from jlabel.taxonomy.baselines import majority_class as majority_class
from jlabel.taxonomy.baselines import multi_head_scheme as multi_head_scheme
from jlabel.taxonomy.baselines import single_scheme as single_scheme
from jlabel.taxonomy.baselines import union_scheme as union_scheme
from jlabel.taxonomy.baselines import universal_scheme as universal_scheme
from jlabel.taxonomy.checks import TaxonomyError as TaxonomyError
from jlabel.taxonomy.choose import CANDIDATES as CANDIDATES
from jlabel.taxonomy.choose import Candidate as Candidate
from jlabel.taxonomy.choose import Fold as Fold
from jlabel.taxonomy.choose import RelationChoice as RelationChoice
from jlabel.taxonomy.choose import choose_relations as choose_relations
from jlabel.taxonomy.cross import cross_counts as cross_counts
from jlabel.taxonomy.cross import cross_predictions as cross_predictions
from jlabel.taxonomy.edits import add_domain as add_domain
from jlabel.taxonomy.edits import edit_relations as edit_relations
from jlabel.taxonomy.intervals import EdgeIntervals as EdgeIntervals
from jlabel.taxonomy.intervals import clear_relations as clear_relations
from jlabel.taxonomy.intervals import edge_intervals as edge_intervals
from jlabel.taxonomy.known import Spread as Spread
from jlabel.taxonomy.known import overlap_relations as overlap_relations
from jlabel.taxonomy.known import relations_by_name as relations_by_name
from jlabel.taxonomy.models import Head as Head
from jlabel.taxonomy.models import HeadRun as HeadRun
from jlabel.taxonomy.models import TrainedHeads as TrainedHeads
from jlabel.taxonomy.models import fit_heads as fit_heads
from jlabel.taxonomy.network import DropoutHead as DropoutHead
from jlabel.taxonomy.network import UniversalHead as UniversalHead
from jlabel.taxonomy.network import make_head as make_head
from jlabel.taxonomy.objective import target_table as target_table
from jlabel.taxonomy.objective import universal_loss as universal_loss
from jlabel.taxonomy.objective import universal_targets as universal_targets
from jlabel.taxonomy.predict import domain_probs as domain_probs
from jlabel.taxonomy.relations import Relations as Relations
from jlabel.taxonomy.relations import RelationScores as RelationScores
from jlabel.taxonomy.relations import find_relations as find_relations
from jlabel.taxonomy.relations import relation_scores as relation_scores
from jlabel.taxonomy.selection import METHODS as METHODS
from jlabel.taxonomy.selection import Method as Method
from jlabel.taxonomy.selection import density_relations as density_relations
from jlabel.taxonomy.selection import hypothesis_relations as hypothesis_relations
from jlabel.taxonomy.selection import select_relations as select_relations
from jlabel.taxonomy.selection import threshold_relations as threshold_relations
from jlabel.taxonomy.selection import top_relations as top_relations
from jlabel.taxonomy.spec import taxonomy_from_spec as taxonomy_from_spec
from jlabel.taxonomy.spec import taxonomy_spec as taxonomy_spec
from jlabel.taxonomy.sweep import RelationSweep as RelationSweep
from jlabel.taxonomy.sweep import sweep_relations as sweep_relations
from jlabel.taxonomy.sweep import sweep_scores as sweep_scores
from jlabel.taxonomy.universal import Taxonomy as Taxonomy
from jlabel.taxonomy.universal import build_taxonomy as build_taxonomy
