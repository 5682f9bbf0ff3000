"""Corpora as people have them on their disks: nothing is lost, whitened or called equal in silence."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fne.data.images import verify_images
from fne.data.manifest import Manifest
from fne.data.readers import read_annotations
from fne.encoders.images import read_rgb
from fne.steps import prepare
from fne.study import paths
from tests.cases.conftest import refusal, verb
from tests.projects import Project

MAN = "A man {} ."
FORMS = ("csv", "split")


def test_a_quotation_mark_in_an_unquoted_tsv_swallows_no_row(tmp_path: Path) -> None:
    captions = ['"Stop , says the sign', "a man in a red coat", 'a sign that says stop"', "a dog", "a cat"]
    rows = zip(captions, ("train", "train", "train", "val", "test"), strict=True)
    lines = [f"{number}.jpg\t{caption}\t{split}" for number, (caption, split) in enumerate(rows, 1)]
    (tmp_path / "pairs.tsv").write_text("\n".join(["image\tcaption\tsplit", *lines]) + "\n")
    read: list[list[str]] = []

    def reading() -> None:
        read.extend(item.captions for item in read_annotations(tmp_path / "pairs.tsv", "custom")[0])

    if not refusal(reading, about=("line 2",)):
        assert read == [[caption] for caption in captions]


def test_captions_in_other_scripts_are_not_proved_equal(tmp_path: Path) -> None:
    """None of the six is the same text as another: each picture's own caption is relevant and no other."""
    captions = ["3只狗在草地上跑", "3个人坐在餐桌旁", "穿T恤的男人", "挂着的白色T恤"]
    captions += ["2 кошки спят на диване", "2 автобуса на улице"]
    (tmp_path / "images").mkdir()
    rows = []
    for number, split in enumerate(["train"] * 6 + ["val"] * 6 + ["test"] * 6):
        Image.new("RGB", (16, 16), (number * 10, 0, 0)).save(tmp_path / "images" / f"{number}.png")
        rows.append({"image": f"{number}.png", "caption": captions[number % 6], "split": split})
    (tmp_path / "pairs.json").write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")
    places = {"annotations": str(tmp_path / "pairs.json"), "images": str(tmp_path / "images")}
    prepare.run({"dataset": "custom", **places, "judgements": {}, "counts": None}, tmp_path / "prepared")
    pairs = Manifest.load(tmp_path / "prepared").truth("train").pairs
    assert pairs.tolist() == [[number, number] for number in range(6)]


@pytest.mark.parametrize(("mode", "name"), [("I;16", "ramp.png"), ("I", "ramp.tif"), ("F", "ramp.tif")])
def test_a_deep_grey_picture_is_not_decoded_to_white(tmp_path: Path, mode: str, name: str) -> None:
    """A ramp from black to white keeps its 256 levels, or ``prepare`` refuses the mode by name."""
    ramp = np.tile(np.linspace(0, 1, 256), (64, 1))
    values = {"I;16": (65535 * ramp).astype(np.uint16), "I": (65535 * ramp).astype(np.int32), "F": ramp}[mode]
    picture = Image.fromarray(values.astype(np.float32) if mode == "F" else values)
    assert picture.mode == mode
    picture.save(tmp_path / name)
    if refusal(verify_images, tmp_path, [name], about=(f"mode {mode}", repr(mode))):
        return
    decoded = np.asarray(read_rgb(tmp_path / name))
    assert len(np.unique(decoded)) == 256
    assert (decoded == 255).mean() <= 0.004 and abs(decoded.mean() - 127.5) < 1


@pytest.mark.parametrize(
    ("name", "text", "images", "about"),
    [
        pytest.param(
            "results_20130124.token",
            "".join(f"{image}.jpg#{k}\t{MAN.format(image)}\n" for image in range(9) for k in range(5)),
            9,
            FORMS,
            id="flickr30k-token",
        ),
        pytest.param(
            "captions.txt",
            "image,caption\n" + "".join(f"{image}.jpg,{MAN.format(image)}\n" for image in range(9)),
            9,
            FORMS,
            id="kaggle-flickr8k",
        ),
        pytest.param(
            "results.csv",
            "image_name| comment_number| comment\n"
            + "".join(f"{image}.jpg| {k}| {MAN.format(image)}\n" for image in range(9) for k in range(5)),
            9,
            ("separator", "split"),
            id="kaggle-flickr30k",
        ),
        pytest.param(
            "captions_val2014.json",
            json.dumps(
                {
                    "images": [{"id": image, "file_name": f"COCO_val2014_{image:012d}.jpg"} for image in range(9)],
                    "annotations": [{"id": image, "image_id": image, "caption": "a man"} for image in range(9)],
                }
            ),
            9,
            ("Karpathy", "dataset_coco.json"),
            id="coco",
        ),
        pytest.param(
            "metadata.csv",
            "file_name,split," + ",".join(f"caption_{k}" for k in range(5)) + "\n"
            + "".join(f"{split}.jpg,{split}" + ",a man" * 5 + "\n" for split in paths.SPLITS),
            3,
            (),
            id="imagefolder-csv",
        ),
        pytest.param(
            "metadata.jsonl",
            "".join(json.dumps({"file_name": f"{s}.jpg", "text": "a man", "split": s}) + "\n" for s in paths.SPLITS),
            3,
            FORMS,
            id="imagefolder-json-lines",
        ),
    ],
)  # fmt: skip
def test_a_native_file_is_read_or_told_what_it_is(
    tmp_path: Path, name: str, text: str, images: int, about: tuple[str, ...]
) -> None:
    """Read, or refused with what it is or must become; ``about`` are words of such a refusal, none where it is read."""
    (tmp_path / name).write_text(text)
    found: list[int] = []

    def read() -> None:
        found.append(len(read_annotations(tmp_path / name, "custom")[0]))

    said = refusal(read, about=("",))  # whatever its words
    assert found == [images] or any(word in said for word in about), said
    assert "not valid JSON" not in said, said


@pytest.mark.parametrize("section", ["evaluation", "audit"])
def test_files_that_match_no_caption_are_refused_before_training(
    project: Project, tmp_path: Path, section: str
) -> None:
    """ALBEF's lists have no ids of captions: said by ``check``, ``prepare`` or before the DAG, as a wrong path is."""
    (tmp_path / "images").mkdir()
    for number, split in enumerate(paths.SPLITS):
        name = f"COCO_val2014_{number:012d}.jpg"
        Image.new("RGB", (9, 9)).save(tmp_path / "images" / name)
        rows = [{"image": name, "caption": [f"a man {number} {k}" for k in range(5)]}]
        (tmp_path / f"coco_{split}.json").write_text(json.dumps(rows))
    (tmp_path / "eccv_image_to_caption.json").write_text(json.dumps({"2": [1, 2, 3]}))
    (tmp_path / "eccv_caption_to_image.json").write_text(json.dumps({"1": [2]}))
    for split in ("val", "test"):
        rating = "COCO_val2014:sentid:1,COCO_val2014_000000000002.jpg,4.0,i2i"
        (tmp_path / f"sits_{split}.csv").write_text(f"caption,image,agg_score,sampling_method\n{rating}\n")
    given = {"evaluation": {"relevance": {"eccv": str(tmp_path)}}, "audit": {"sits": str(tmp_path)}}
    project.edit(
        "studies/smoke",
        data={
            "dataset": "coco",
            "annotations": str(tmp_path / "coco_{split}.json"),
            "images": str(tmp_path / "images"),
            "counts": dict.fromkeys(paths.SPLITS),
        },
        encoders={"image": {"checkpoint": str(tmp_path)}, "text": {"checkpoint": str(tmp_path)}},
        set=project.read("studies/smoke")["set"] | {section: given[section]},
    )
    about = ("COCO id", "dataset_coco.json")
    said = refusal(verb, "check", "smoke", root=project.root, about=about)
    said = said or refusal(verb, "prepare", "--study", "smoke", root=project.root, about=about)
    said = said or refusal(lambda: paths.check_given(project.load("smoke")), about=about)
    assert said, "nothing before training says so"
