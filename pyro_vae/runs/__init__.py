"""A run on disk: settings, weights, metrics and evaluations, in one folder.

====================  =================================================================================================
README.txt            this table; its first line says that the folder is one of pyro-vae
settings.yaml         every setting; ``pyro-vae train --config settings.yaml`` does the run again
weights.safetensors   the best state: parameters and buffers
params.safetensors    parameters of ``pyro.param`` that belong to no module, if there are any
run.json              what the run saw and reached: data protocol, best epoch, validation ELBO, seconds, versions
source.*.py           copies of the files that define classes of your own; ``load(run, trust=True)`` imports them
metrics.jsonl         one line for each epoch, in nats
training.png          the course of training
tensorboard/          what TensorBoard shows of it, if asked for
evaluation_*          .npz: log p(x) and its error for each data point; .json: means, protocol; .png: figures;
                      named by estimator, samples x data points, and what is not as by default
diagnostics.*         rate, distortion, mutual information, active units
bracket.*             log p(x) of simulated data from both sides
calibration.*         where the guide is too narrow, too wide or shifted, on simulated data
rate_distortion.*     what the decoder needs to know to reconstruct data so well
*.png                 pictures
scores.*              how unlike those of training data points are, by several scores
codes.npz             codes of data points: means and scales by latent site
checkpoint-*          what ``pyro-vae train --resume RUN`` goes on from, .safetensors and .json; until the training is
                      over, or for good by --keep-checkpoint
unfinished/           what a training has written that runs, was killed, or stopped before it could replace a run
.*.lock, .*.holder    one process at a time trains, or evaluates with the same estimator; who does so
====================  =================================================================================================

Files are written whole or not at all. run.json has the digests of the settings, the weights and the data, an
evaluation those of its arrays and of the weights, and each JSON file that of its own content: what does not belong
together, or was changed, is refused when it is read.
"""

from typing import TYPE_CHECKING, Any

__all__ = ["Run", "from_pretrained", "load"]

if TYPE_CHECKING:
    from .pretrained import from_pretrained as from_pretrained
    from .trained import Run as Run
    from .trained import load as load


def __getattr__(name: str) -> Any:  # the command line reads its options before torch is there
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import pretrained, trained

    return getattr(pretrained if name == "from_pretrained" else trained, name)
