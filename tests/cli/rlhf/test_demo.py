"""`rlkit rlhf demo`: the promised keys, numbers that can be true, and continuing at no cost."""

import json
from pathlib import Path

import pytest

from rlkit.cli import main
from rlkit.rlhf.stages.sources import ModelSource
from rlkit.rlhf.training.configs import SFTConfig
from rlkit_envs.enumerable import EnumerableTask

pytestmark = pytest.mark.slow


# A smaller language and model than those of the demonstration.
SMALL: dict[type, dict[str, int]] = {
    EnumerableTask: {"num_prompts": 2, "max_new_tokens": 5},
    SFTConfig: {"num_demonstrations": 2048},
    ModelSource: {"width": 32, "num_layers": 1},
}


@pytest.mark.long
@pytest.mark.parametrize(
    "defaults", [SMALL, pytest.param({}, marks=pytest.mark.torture)], ids=["small", "whole"]
)
def test_the_demo_gives_the_promised_keys_and_continues_where_it_was(
    defaults: dict[type, dict[str, int]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for kind, values in defaults.items():
        for option, value in values.items():
            monkeypatch.setitem(kind.__init__.__kwdefaults__, option, value)
    folders = ["--out", str(tmp_path / "runs")]
    small = ["--pairs", "300", "--updates", "2", "--kl-coefs", "1", "0.1", "--workers", "1"]
    assert main(["rlhf", "demo", *folders, *small, "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["sft"].keys() == {"loss", "perplexity"}
    assert 1.0 < summary["sft"]["loss"] < 1.8  # a uniform model has log 6 = 1.79
    judged = summary["reward_model"]
    assert judged["pairs"] == 300
    assert 0.5 < judged["accuracy"] < judged["bayes_accuracy"] < 0.8
    trained = [entry for entry in summary["policies"] if entry["method"] == "ppo"]
    assert [entry["kl_coef"] for entry in trained] == [1.0, 0.1]
    for entry in summary["policies"]:
        assert {"method", "kl_coef", "gap", "kl", "gold", "proxy"} <= entry.keys()
        assert entry["kl"] > 0
        # No policy is better than the optimum; two updates come nowhere near to it.
        assert entry["gap"] is None or entry["gap"] > 0
    for entry in trained:
        assert entry["log_evidence"] - entry["elbo"] == pytest.approx(entry["posterior_kl"])
        assert entry["posterior_kl"] == pytest.approx(entry["gap"] / entry["kl_coef"])
    # The optimum of the proxy has more of it the further it goes; gold turns round.
    tilt = summary["frontier"]["tilt"]
    assert all(a < b for a, b in zip(tilt["proxy"], tilt["proxy"][1:], strict=False))
    assert max(tilt["gold"]) > tilt["gold"][-1]
    assert (tmp_path / "runs" / "rlhf-demo" / "overoptimisation.png").stat().st_size > 20_000

    assert main(["rlhf", "demo", *folders, *small]) == 0
    text = capsys.readouterr().out
    assert f"accuracy {judged['accuracy']:.4f}, Bayes ceiling" in text
    for name in ("gap", "log_evidence", "elbo", "posterior_kl"):
        assert f"{trained[0][name]:.4f}" in text
