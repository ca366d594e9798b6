"""An exported part gives in onnxruntime what it gives in torch, for batches of any size."""

import sys

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

import pyro_vae
from pyro_vae import (
    IAF,
    MLP,
    VAE,
    Bernoulli,
    ConvDecoder,
    ConvEncoder,
    Gaussian,
    GaussianEncoder,
    SemiAmortizedVAE,
    StandardNormal,
    export_onnx,
)
from pyro_vae.commands.main import main

onnxruntime = pytest.importorskip("onnxruntime")
SHAPE = (1, 8, 8)


def answer(file, **inputs):
    session = onnxruntime.InferenceSession(str(file))
    names = [output.name for output in session.get_outputs()]
    found = session.run(None, {name: value.numpy() for name, value in inputs.items()})
    return dict(zip(names, found, strict=True)), session.get_modelmeta().custom_metadata_map


def close(found, expected):
    np.testing.assert_allclose(found, expected.detach().numpy(), rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported")
    main(["train", "--epochs", "1", "--latent-dim", "3", "--network", "MLP", "--out", str(folder / "run")])
    return folder / "run"


def test_both_parts_of_a_run(run, tmp_path, capsys):
    main(["export", str(run), "-o", str(tmp_path / "new" / "d.onnx")])
    assert "outputs logits (batch, 1, 8, 8), mean (batch, 1, 8, 8)" in capsys.readouterr().out
    main(["export", str(run), "--what", "encoder", "-o", str(tmp_path / "e.onnx")])
    loaded = pyro_vae.load(run, device="cpu")
    for count in (1, 5):
        x, z = loaded.data.test[:count], torch.randn(count, 3)
        q, p = loaded.module.encoder(x).base_dist, loaded.module.likelihood(loaded.module.decoder(z))
        found, about = answer(tmp_path / "e.onnx", x=x)
        assert about["data"] == loaded.data.protocol
        close(found["loc"], q.loc)
        close(found["scale"], q.scale)
        found, _ = answer(tmp_path / "new" / "d.onnx", z=z)
        close(found["logits"], p.base_dist.logits)
        close(found["mean"], pyro_vae.decode(loaded.model, {"z": z}, x))
    for arguments in (["-o", str(tmp_path / "e.onnx")], ["-o", "e.txt"]):
        with pytest.raises(SystemExit):
            main(["export", str(run), *arguments])
        assert "Expected" in capsys.readouterr().err


class Own(nn.Module):
    """Networks that give tensors, and a likelihood in the model itself."""

    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = MLP(SHAPE, (2, 3)), MLP(3, SHAPE)

    def model(self, x):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(torch.zeros(3), 1.0).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=self.decoder(z)).to_event(3), obs=x)

    def guide(self, x):
        with pyro.plate("data", len(x), dim=-1):
            loc, log_scale = self.encoder(x).unbind(-2)
            pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))


def test_convolutions_real_values_and_own_networks(tmp_path):
    px = Gaussian(SHAPE)
    encoder = GaussianEncoder(SHAPE, 3, network=ConvEncoder)
    vae = VAE(StandardNormal(3), encoder, ConvDecoder(3, px.feature_shape), px)
    z, own = torch.randn(4, 3), Own()
    assert set(export_onnx(vae, tmp_path / "d.onnx", torch.rand(2, *SHAPE))) == {"loc", "scale", "mean"}
    assert vae.training  # as it was
    found, _ = answer(tmp_path / "d.onnx", z=z)
    close(found["mean"], px(vae.decoder(z)).mean)
    assert export_onnx(own, tmp_path / "own.onnx", torch.zeros(2, *SHAPE)) == {"output": SHAPE}
    close(answer(tmp_path / "own.onnx", z=z)[0]["output"], own.decoder(z))


class Tempered(VAE):
    def guide(self, x):
        with pyro.plate("data", len(x), dim=-1):
            q = self.encoder(x).base_dist
            pyro.sample("z", dist.Normal(q.loc, 2.0 * q.scale).to_event(1))


def test_what_the_part_alone_does_not_say_is_refused(tmp_path, monkeypatch):
    px, x, file = Bernoulli(SHAPE), torch.zeros(2, *SHAPE), tmp_path / "e.onnx"
    parts = StandardNormal(3), GaussianEncoder(SHAPE, 3), MLP(3, px.feature_shape), px
    with pytest.raises(ValueError, match="Expected the encoder to give scale of its site in the pair; got other"):
        export_onnx(Tempered(*parts), file, x, what="encoder")
    with pytest.raises(ValueError, match="SemiAmortizedVAE has no encoder"):
        export_onnx(SemiAmortizedVAE(*parts), file, x, what="encoder")
    flow = VAE(StandardNormal(3), IAF(SHAPE, 3), MLP(3, px.feature_shape), px)
    with pytest.raises(ValueError, match="Expected the encoder to give a distribution that its parameters describe"):
        export_onnx(flow, file, x, what="encoder")
    with pytest.raises(ValueError, match="Expected what to be encoder or decoder; got 'prior'"):
        export_onnx(flow, file, x, what="prior")
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(ImportError, match=r'Run pip install "pyro-vae\[onnx\]"'):
        export_onnx(flow, file, x)
    assert not file.exists()
