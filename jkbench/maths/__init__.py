"""The mathematics, as pure tensor functions: input Jacobians, attention, distances and losses.

Sums run over classes, pixels and channels; the mean runs over the batch and over nothing else.
"""

from jkbench.maths.attention import (
    attention_at,
    attention_loss,
    attention_map,
    attention_peak,
    class_activation,
)
from jkbench.maths.distributions import correlation, decoupled, kl_divergence, standardised
from jkbench.maths.jacobian import (
    correct_rows,
    full_jacobian,
    input_gradient,
    jacobian_rows,
    jacobian_vector,
    largest_rows,
    random_directions,
    top_rows,
)
from jkbench.maths.losses import (
    cross_entropy,
    distance,
    normalised,
    squared_distance,
    squared_error,
    squared_norm,
)
from jkbench.maths.relations import angles, huber, mixup, noise_contrast, relative_distances, similarity
