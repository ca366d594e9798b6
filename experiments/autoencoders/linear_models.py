"""What does an autoencoder gain over PCA and logistic PCA with codes of the same length, 30?

Logistic PCA is the linear special case of the pair: a linear point encoder, a linear decoder of logits, and the
cross-entropy (Schein, Saul, Ungar 2003; Landgraf, Lee 2020). PCA is scikit-learn's.
"""

import torch
from family import CrossEntropy, autoencoder
from ground import Ground, rebuild, run
from sklearn.decomposition import PCA

from pyro_vae import plots

LATENT_DIM, EPOCHS = 30, 20


def experiment(ground: Ground) -> None:
    grey, shown = ground.grey, ground.shown
    rows = {"original": grey[shown]}
    for name, hidden in {"autoencoder 30": (256, 128), "logistic PCA": ()}.items():
        pair = autoencoder(CrossEntropy(ground.event_shape), hidden=hidden, latent_dim=LATENT_DIM)
        rows[name] = rebuild(ground.fit(name, pair, epochs=EPOCHS), grey[shown])

    with ground.timed("PCA"):
        pca = PCA(LATENT_DIM, svd_solver="full").fit(ground.data.train.flatten(1).numpy())
    rebuilt = torch.from_numpy(pca.inverse_transform(pca.transform(grey.flatten(1).numpy()))).reshape(grey.shape)
    ground.add_row("PCA", rebuilt, parameters=pca.components_.size + pca.mean_.size)
    ground.figure("reconstructions", plots.image_rows(rows | {"PCA": rebuilt[shown]}))


if __name__ == "__main__":
    run(experiment, "fashion_mnist")
