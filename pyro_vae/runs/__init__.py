"""A run on disk: settings, weights, metrics and evaluations, in one folder.

====================  =================================================================================================
README.txt            this table; its first line says that the folder is one of pyro-vae
settings.yaml         every setting; ``pyro-vae train --config settings.yaml`` does the run again
weights.safetensors   the best state: parameters and buffers
params.safetensors    parameters of ``pyro.param`` that belong to no module, if there are any
run.json              what the run saw and reached: data protocol, best epoch, validation ELBO, seconds, versions
metrics.jsonl         one line for each epoch, in nats
training.png          the course of training
tensorboard/          the same as scalars, if asked for
evaluation_*          .npz: log p(x) and its error for each data point; .json: means, protocol; .png: figures;
                      named by estimator, samples x data points, and what is not as by default
diagnostics.*         rate, distortion, mutual information, active units
*.png                 pictures
unfinished/           what a training has written that runs, was killed, or stopped before it could replace a run
.*.lock, .*.holder    one process at a time trains, or evaluates with the same estimator; who does so
====================  =================================================================================================

Files are written whole or not at all. run.json has the digests of the settings, the weights and the data, an
evaluation those of its arrays and of the weights, and each JSON file that of its own content: what does not belong
together, or was changed, is refused when it is read.
"""
