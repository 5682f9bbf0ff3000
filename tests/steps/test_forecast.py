"""What a study costs before there are data: FLOPs and parameters against real encoders, a run against a plain loop."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest
import yaml

from fne.cli import main
from fne.steps.forecast import CAPTIONS, GPUS, SHARE, cost, makespan, transformer
from fne.steps.resources import Need, needs
from fne.study.api import Study, load_study, resolve
from fne.utils.errors import UserError
from tests.snakemake_project import ROOT

TEXT = {"hidden_size": 24, "num_hidden_layers": 3, "intermediate_size": 40, "vocab_size": 50,
        "max_position_embeddings": 20, "num_attention_heads": 2}  # fmt: skip
IMAGE = {"hidden_size": 16, "num_hidden_layers": 2, "intermediate_size": 48, "patch_size": 8, "image_size": 32,
         "num_channels": 3, "num_attention_heads": 2}  # fmt: skip


def study(**overrides: object) -> Study:
    return load_study("flickr30k", {key.replace("__", "."): value for key, value in overrides.items()}, ROOT,
                      complete=False)  # fmt: skip


def test_flops_and_parameters_are_those_of_the_encoders(tmp_path: Path) -> None:
    import torch
    from torch.utils.flop_counter import FlopCounterMode
    from transformers import BertConfig, BertModel, ViTConfig, ViTModel

    models = {"image": ViTModel(ViTConfig(**IMAGE, attn_implementation="eager"), add_pooling_layer=False),
              "text": BertModel(BertConfig(**TEXT, attn_implementation="eager"), add_pooling_layer=False)}  # fmt: skip
    for side, model in models.items():
        model.config.save_pretrained(tmp_path / side)
    encoders = {f"encoders__{side}__checkpoint": str(tmp_path / side) for side in models}
    config = resolve(study(**encoders, finetune__image_size=32, encoders__text__max_length=11), "fne")
    inputs = {"image": torch.zeros(1, 3, 32, 32), "text": torch.zeros(1, 11, dtype=torch.long)}
    for side, model in models.items():
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model(inputs[side])
        made = transformer(config, side)
        assert made.flops == counter.get_total_flops() and made.parameters == model.num_parameters()


def test_a_run_costs_what_its_steps_add_up_to() -> None:
    config = resolve(study(data__counts={"train": 100, "val": 10, "test": 20}), "fne")
    image, text = (transformer(config, side).flops for side in ("image", "text"))
    total = 0
    for epoch in range(25):
        for _ in range(100 * CAPTIONS // 32):
            total += 32 * 3 * (image + text) + (32 * (image + text) if epoch >= 1 else 0)
        total += 3 * (10 * image + 50 * text)
    total += 10 * image + 50 * text + 2 * (20 * image + 100 * text)  # calibrated on both, ranked on test
    made = cost(config, 1e12)
    assert made.seconds == pytest.approx(total / 1e12)
    assert made.step == pytest.approx(32 * 4 * (image + text) / 1e12)
    assert cost(config, 1e12, pairs_per_second=10).step == pytest.approx(32 * 4 / 3 / 10)


def test_a_plain_variant_has_no_momentum_encoder() -> None:
    plain, queue = (cost(resolve(study(), name), 1e14) for name in ("hardest_in_batch", "fne"))
    assert plain.step == pytest.approx(queue.step * 3 / 4) and queue.state - plain.state == plain.kept


def test_jobs_end_when_the_last_of_any_order_would_at_best() -> None:
    jobs = [5.0, 4.0, 3.0, 3.0, 3.0]
    best = min(
        max(sum(job for job, at in zip(jobs, places, strict=True) if at == machine) for machine in range(2))
        for places in itertools.product(range(2), repeat=len(jobs))
    )
    assert best <= makespan(jobs, 2) <= best * 7 / 6  # of the longest first (Graham 1969)


@pytest.mark.parametrize("name", ["flickr30k", "coco"])
def test_the_verb_needs_no_data(name: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "ablations").symlink_to(ROOT / "ablations")
    shown = {}
    for gpus in ("1", "4"):
        assert main(["estimate", name, "--gpus", gpus, "--gpu", "h200", "--resources", "--root", str(tmp_path)]) == 0
        shown[gpus] = capsys.readouterr().out
        assert all(word in shown[gpus] for word in ("GPU-hours", "GPU memory", "Disk", "an assumption", "measured on"))
    assert re.search(r"Wall time.*", shown["1"])[0] != re.search(r"Wall time.*", shown["4"])[0]
    profile = yaml.safe_load((tmp_path / f"resources/profiles/{name}/config.yaml").read_text())
    assert profile["set-resources"]["run"]["gpu"] == 1 and profile["group-components"] == {"runs": 1}


def test_every_rule_has_memory_and_time_under_a_profile() -> None:
    text = "".join(file.read_text() for file in ROOT.glob("workflow/rules/*.smk"))
    made = needs(study(), Need(60, 100, 0, 1))
    assert {*made} == {*re.findall(r"^\s*(?:use rule \w+ as|rule) (\w+)(?: with)?:", text, re.MULTILINE)}
    assert all({"mem_mb", "runtime"} <= {*each} for each in made.values())
    for name in ("slurm", "kubernetes"):
        defaults = yaml.safe_load((ROOT / f"workflow/profiles/{name}/config.yaml").read_text())["default-resources"]
        assert {"mem_mb", "runtime"} <= {*defaults}


def test_what_cannot_be_known_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(UserError, match="encoders.image.checkpoint.*an/encoder.*google/vit-base-patch16-384"):
        cost(resolve(study(encoders__image__checkpoint="an/encoder"), "fne"), 1e12)
    assert main(["estimate", "smoke", "--share", "0.5", "--root", str(ROOT)]) == 2
    assert "--share" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["estimate", "coco", "--share", "1.5"])


def test_the_command_line_offers_the_devices_that_are_known() -> None:
    from fne.steps.verbs import VERBS

    (verb,) = [verb for verb in VERBS if verb.name == "estimate"]
    (choices,) = [meaning["choices"] for names, meaning in verb.options if names == ("--gpu",)]
    assert {*choices} == {*GPUS}


def test_the_table_of_the_documents_is_what_the_verb_says() -> None:
    text = (ROOT / "docs/how-to/estimate.md").read_text()
    rows = re.findall(r"^\| (flickr30k|coco) \| (\w+) \| ([\d.]+) \| ([\d.]+) GB", text, re.MULTILINE)
    assert len(rows) == 4
    for name, gpu, hours, memory in rows:
        whole = load_study(name, {}, ROOT, complete=False)
        costs = [cost(resolve(whole, variant), GPUS[gpu].bfloat16 * 1e12 * SHARE) for variant in whole.variants]
        spent = len(whole.seeds) * sum(each.seconds for each in costs) / 3600
        assert spent == pytest.approx(float(hours), rel=0.01)
        assert max(each.memory for each in costs) / 1e9 == pytest.approx(float(memory), rel=0.01)
