"""Beyond which an estimate is in doubt."""

HEAVY = 0.7  # k-hat above which importance sampling is not to be trusted (Vehtari and others 2024)
HOPELESS = 1.0  # k-hat above which the weights have no mean that more samples could find
FEWEST = 25  # samples below which no k-hat can be computed
ANNEALED = 7  # the rung of the default estimate that annealed chains are; six Gaussians are the most before
STUCK = 0.1  # mean acceptance of a data point's transitions, below which its chains have hardly moved
