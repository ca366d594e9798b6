"""A run on disk: settings, weights, metrics and evaluation, in one folder.

====================  ====================================================================================
settings.yaml         every setting; ``pyro-vae train --config settings.yaml`` does the run again
run.json              what the run saw: data protocol, event shape, versions, device, date
weights.safetensors   the best state
metrics.jsonl         one line for each epoch
evaluation.json       log p(x): means, errors, protocol (after ``pyro-vae evaluate``)
evaluation.npz        log p(x), standard error, ESS and k-hat of each image
*.png                 figures
====================  ====================================================================================
"""
