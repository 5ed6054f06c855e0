"""`detect` from images and boxes to COCO results: resumption, hostile input, scores and OKS-NMS."""

import json
import struct
from dataclasses import fields
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from pose2d.commands.detect import Detect
from pose2d.detection import detector as detection
from pose2d.detection.detector import detect
from pose2d.detection.options import DetectOptions
from pose2d.detection.person_boxes import read_boxes
from pose2d.errors import InputError
from pose2d.files.storage import exclusive
from pose2d.inference import infer
from pose2d.networks.catalogue import build_network
from pose2d.networks.checkpoints import load_checkpoint
from pose2d.networks.options import NetworkOptions
from pose2d.networks.packaged import load_by_options
from pose2d.skeletons import COCO17, MPII16, WHOLEBODY133


def write_images(folder: Path, count: int = 3) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for number in range(1, count + 1):
        image = cv2.resize(rng.integers(0, 255, (12, 16, 3), dtype=np.uint8), (160, 120))
        cv2.imwrite(str(folder / f"{number:012d}.jpg"), image)
    return folder


def write_checkpoint(path: Path, keypoints: int = 17) -> Path:
    torch.manual_seed(1)
    network = build_network("sbl-small", keypoints)
    with torch.no_grad():
        network.final_layer.weight.normal_(std=0.2)
    save_file(network.state_dict(), path)
    return path


def write_detections(path: Path, boxes: list[tuple[int, list[object], float]]) -> Path:
    entries = [{"image_id": i, "bbox": box, "score": score, "category_id": 1} for i, box, score in boxes]
    path.write_text(json.dumps(entries))
    return path


def run_detect(images: Path, out: Path, checkpoint: Path | None, network: str = "sbl-small", **options: Any) -> None:
    """`detect` with options under their names on the command line."""

    def taken(kind: type) -> dict[str, Any]:
        return {field.name: options.pop(field.name) for field in fields(kind) if field.name in options}

    pose = NetworkOptions(network=network, checkpoint=checkpoint, **taken(NetworkOptions))
    Detect(images, out, pose, options=DetectOptions(**taken(DetectOptions)), **options).run()


BOXES: list[tuple[int, list[object], float]] = [
    (1, [10, 10, 40, 80], 0.9),
    (2, [30.5, 20, 50, 60], 0.8),
    (1, [90, 5, 60, 100], 0.7),
    (3, [0, 0, 160, 120], 0.6),
]


def test_results_are_what_inference_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images, checkpoint = write_images(tmp_path / "images"), write_checkpoint(tmp_path / "a.safetensors")
    boxes, out = write_detections(tmp_path / "boxes.json", BOXES), tmp_path / "out.json"
    run_detect(images, out, checkpoint, boxes=boxes, features=tmp_path / "features", batch=3, threads=1)
    entries = json.loads(out.read_text())
    assert len(entries) == 4 and "4 persons with keypoints" in capsys.readouterr().out

    network = build_network("sbl-small").eval()
    load_checkpoint(checkpoint, network)
    by_box = {tuple(entry["bbox"]): entry for entry in entries}
    for image_id, box, score in BOXES:
        box_array = np.array([box], dtype=np.float64)
        poses = infer(network, [images / f"{image_id:012d}.jpg"], box_array, COCO17).poses
        entry = by_box[tuple(box_array[0])]
        assert entry["image_id"] == image_id and entry["category_id"] == 1
        keypoints = np.array(entry["keypoints"]).reshape(17, 3)
        assert np.abs(keypoints[:, :2] - poses.xy_px[0]).max() < 0.01
        assert np.abs(keypoints[:, 2] - poses.raw_score[0]).max() < 1e-4
        visible = poses.raw_score[0][poses.raw_score[0] > 0.2]
        expected = score * visible.mean() if len(visible) else 0.0
        assert entry["score"] == pytest.approx(expected, abs=1e-6)
    feature = np.load(tmp_path / "features" / "feature.npy")
    persons = json.loads((tmp_path / "features" / "persons.json").read_text())
    assert feature.shape == (4, 64, 32, 24) and np.isfinite(feature).all() and persons["image_id"] == [1, 1, 2, 3]
    record = json.loads((tmp_path / "out.json.run.json").read_text())
    assert record["skipped"] == [] and len(record["checkpoint"]["sha256"]) == 64
    assert not (tmp_path / "out.json.parts").exists()


def test_an_interrupted_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images, checkpoint = write_images(tmp_path / "images"), write_checkpoint(tmp_path / "a.safetensors")
    persons = read_boxes(write_detections(tmp_path / "boxes.json", [*BOXES, (2, [0, 0, 0, 5], 0.5)]), images)
    loaded = load_by_options(NetworkOptions(network="sbl-small", checkpoint=checkpoint, flip=False), COCO17)
    by_two = DetectOptions(batch=2)
    detect(loaded, persons, COCO17, tmp_path / "whole.json", by_two, features=tmp_path / "features0")

    seen: list[int] = []
    original = detection.infer_batches

    def stopping(network, images, boxes, *rest, **named):
        seen.append(len(images))
        for number, batch in enumerate(original(network, images, boxes, *rest, **named)):
            if len(seen) == 1 and number == 1:
                raise KeyboardInterrupt
            yield batch

    monkeypatch.setattr(detection, "infer_batches", stopping)
    out = tmp_path / "out.json"
    with pytest.raises(KeyboardInterrupt):
        detect(loaded, persons, COCO17, out, by_two, features=tmp_path / "features")
    assert not out.exists()
    result = detect(loaded, persons, COCO17, out, by_two, features=tmp_path / "features")
    assert seen[0] == 5 and seen[1] <= 3
    assert json.loads(out.read_text()) == json.loads((tmp_path / "whole.json").read_text())
    assert [one.reason for one in result.skipped] == ["box [0.0, 0.0, 0.0, 5.0] has no area"]
    features = [np.load(tmp_path / name / "feature.npy") for name in ("features0", "features")]
    assert np.array_equal(features[0], features[1], equal_nan=True)


def test_bad_images_and_boxes_are_skipped_and_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images, checkpoint = write_images(tmp_path / "images"), write_checkpoint(tmp_path / "a.safetensors")
    (images / "000000000004.jpg").write_bytes(b"")
    (images / "000000000005.jpg").write_bytes((images / "000000000001.jpg").read_bytes()[:60])
    bad: list[tuple[int, list[object], float]] = [
        (4, [0, 0, 50, 50], 0.9),
        (5, [0, 0, 50, 50], 0.9),
        (6, [0, 0, 50, 50], 0.9),
        (1, [500, 10, 20, 20], 0.9),
        (2, [10, 10, 0, 20], 0.9),
        (3, [10, 10, None, 20], 0.9),
        (3, [10, 10, 20], 0.9),
    ]
    boxes, out = write_detections(tmp_path / "boxes.json", BOXES + bad), tmp_path / "out.json"
    run_detect(images, out, checkpoint, boxes=boxes, flip=False)
    printed = capsys.readouterr().out
    assert len(json.loads(out.read_text())) == 4
    assert "7 of 11 persons were skipped" in printed
    for word in (
        "000000000004.jpg",
        "000000000005.jpg",
        "000000000006.jpg",
        "outside its image",
        "no area",
        "four finite numbers are needed",
    ):
        assert word in printed
    assert len(json.loads((tmp_path / "out.json.run.json").read_text())["skipped"]) == 7


def test_whole_images_without_boxes(tmp_path: Path) -> None:
    images, checkpoint = write_images(tmp_path / "images", 2), write_checkpoint(tmp_path / "a.safetensors", 16)
    out = tmp_path / "out.json"
    run_detect(images, out, checkpoint, keypoints="mpii16", flip=False)
    entries = json.loads(out.read_text())
    assert [entry["image_id"] for entry in entries] == [1, 2]
    assert entries[0]["bbox"] == [0.0, 0.0, 160.0, 120.0] and len(entries[0]["keypoints"]) == 3 * len(MPII16)
    run_detect(images / "000000000002.jpg", out, checkpoint, keypoints="mpii16", decoding="dark")
    assert [entry["image_id"] for entry in json.loads(out.read_text())] == [2]


def test_whole_body_results_have_their_fields(tmp_path: Path) -> None:
    images, checkpoint = write_images(tmp_path / "images", 1), write_checkpoint(tmp_path / "a.safetensors", 133)
    out = tmp_path / "out.json"
    run_detect(images, out, checkpoint, keypoints="wholebody133", decoding="expected-oks")
    (entry,) = json.loads(out.read_text())
    lengths = {name: len(entry[name]) // 3 for name in entry if name.endswith("kpts") or name == "keypoints"}
    assert lengths == {"keypoints": 17, "foot_kpts": 6, "face_kpts": 68, "lefthand_kpts": 21, "righthand_kpts": 21}
    assert sum(lengths.values()) == len(WHOLEBODY133)


def test_annotated_boxes_are_taken_as_officially(tmp_path: Path) -> None:
    write_images(tmp_path)
    good = {"image_id": 1, "bbox": [-5, 10, 200, 50], "area": 10.0, "keypoints": [1, 1, 2] * 17, "id": 7}
    others = [
        good | {"iscrowd": 1},
        good | {"area": 0.0},
        good | {"keypoints": [0] * 51},
        good | {"category_id": 3},
    ]
    image = {"id": 1, "file_name": "000000000001.jpg", "width": 160, "height": 120}
    file = tmp_path / "persons.json"
    file.write_text(json.dumps({"images": [image], "annotations": [good, *others]}))
    persons = read_boxes(file, tmp_path)
    assert persons.boxes_xywh.tolist() == [[0.0, 10.0, 159.0, 49.0]]
    assert persons.annotation_ids.tolist() == [7] and not persons.detected


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{}", "holds no boxes"),
        ("[]", "holds no person's box"),
        ('[{"bbox": [0, 0, 1, 1]}]', r"\[0\] has no field image_id"),
        ('[{"image_id": "a", "bbox": [0, 0, 1, 1]}]', "a whole number is needed"),
        ('[{"image_id": 99, "bbox": [0, 0, 1, 1]}]', "holds none of the images"),
        ("[1, 2", "is not JSON"),
        ('{"images": [], "annotations": [{"image_id": 3, "bbox": [0, 0, 1, 1]}]}', "which images does not list"),
    ],
)
def test_bad_box_files_are_refused(content: str, message: str, tmp_path: Path) -> None:
    write_images(tmp_path / "images", 1)
    file = tmp_path / "boxes.json"
    file.write_text(content)
    with pytest.raises(InputError, match=message) as caught:
        read_boxes(file, tmp_path / "images")
    assert "boxes.json" in str(caught.value)


def test_options_that_cannot_be_are_refused(tmp_path: Path) -> None:
    images, out = write_images(tmp_path / "images", 1), tmp_path / "out.json"
    with pytest.raises(InputError, match="there is no network 'yolo'; known are sbl-r50"):
        run_detect(images, out, write_checkpoint(tmp_path / "a.safetensors"), "yolo")
    with pytest.raises(InputError, match="hrnet-w32 comes without weights: name a --checkpoint"):
        run_detect(images, out, None, "hrnet-w32")
    with pytest.raises(InputError, match="no such image or folder"):
        run_detect(tmp_path / "none", out, tmp_path / "a.safetensors")
    with pytest.raises(InputError, match="multiples of 32"):
        run_detect(images, out, tmp_path / "a.safetensors", input_size=(100, 128))
    with pytest.raises(InputError, match="--batch is 0"):
        run_detect(images, out, tmp_path / "a.safetensors", batch=0)
    for name, options, words in (
        ("rle-small", {"decoding": "dark"}, "gives coordinates of its own"),
        ("sbl-small", {"decoding": "expected-oks", "keypoints": "h36m17"}, "none are published for h36m17"),
    ):
        torch.save(build_network(name).state_dict(), tmp_path / "b.pth")
        with pytest.raises(InputError, match=words):
            run_detect(images, out, tmp_path / "b.pth", name, **options)
    assert not out.exists()


def test_duplicates_are_left_out_of_detected_boxes(tmp_path: Path) -> None:
    images, checkpoint = write_images(tmp_path / "images", 1), write_checkpoint(tmp_path / "a.safetensors")
    twice: list[tuple[int, list[object], float]] = [(1, [10, 10, 40, 80], 0.9), (1, [10, 10, 40, 80], 0.5)]
    boxes, out = write_detections(tmp_path / "boxes.json", twice), tmp_path / "out.json"
    run_detect(images, out, checkpoint, boxes=boxes, flip=False)
    assert len(json.loads(out.read_text())) == 1
    run_detect(images, out, checkpoint, boxes=boxes, flip=False, oks_threshold=1.0)
    assert len(json.loads(out.read_text())) == 2


def write_annotations(path: Path, images: list[dict[str, Any]], persons: list[dict[str, Any]]) -> Path:
    whole = [{"id": 1, "image_id": 1, "bbox": [10, 10, 40, 80], **person} for person in persons]
    path.write_text(json.dumps({"images": images, "annotations": whole}))
    return path


def sideways(path: Path) -> None:
    """Store a JPEG turned by a quarter, with the EXIF orientation that turns it back."""
    image = cv2.imread(str(path))
    cv2.imwrite(str(path), np.ascontiguousarray(np.rot90(image)), [cv2.IMWRITE_JPEG_QUALITY, 98])
    tiff = b"II*\x00" + struct.pack("<IHHHIHHI", 8, 1, 0x0112, 3, 1, 6, 0, 0)
    block, data = b"Exif\x00\x00" + tiff, path.read_bytes()
    path.write_bytes(data[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + data[2:])


def test_a_photo_stored_sideways_is_seen_as_its_boxes_were_drawn(tmp_path: Path) -> None:
    images, checkpoint = write_images(tmp_path / "images", 2), write_checkpoint(tmp_path / "a.safetensors")
    first, second = (images / f"{number:012d}.jpg" for number in (1, 2))
    second.write_bytes(first.read_bytes())
    sideways(second)
    sizes = {"width": 160, "height": 120}
    listed = [{"id": 1, "file_name": first.name, **sizes}, {"id": 2, "file_name": second.name, **sizes}]
    boxes = write_annotations(tmp_path / "b.json", listed, [{}, {"id": 2, "image_id": 2}])
    detections = write_detections(tmp_path / "d.json", [(1, [10, 10, 40, 80], 1.0), (2, [10, 10, 40, 80], 1.0)])
    for file in (boxes, detections, None):
        run_detect(images, tmp_path / "out.json", checkpoint, boxes=file, flip=False)
        entries = json.loads((tmp_path / "out.json").read_text())
        upright, turned = (np.array(entry["keypoints"]).reshape(-1, 3)[:, :2] for entry in entries)
        apart = np.abs(upright - turned).max(axis=1)
        assert (apart < 0.5).sum() >= 14  # JPEG's noise moves an odd maximum of this untrained network
    stored = [listed[0], listed[1] | {"width": 120, "height": 160}]
    persons = read_boxes(write_annotations(tmp_path / "s.json", stored, [{"image_id": 2}]), images)
    assert persons.images[0].read().shape == (160, 120, 3)
    other = [listed[0] | {"width": 320, "height": 240}, listed[1]]
    persons = read_boxes(write_annotations(tmp_path / "o.json", other, [{}]), images)
    with pytest.raises(InputError, match="has 160 x 120 pixels, its annotations are made for 320 x 240"):
        persons.images[0].read()


def test_images_are_found_by_the_names_that_labelling_tools_write(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "export" / "images", 1)
    for name in ("images/000000000001.jpg", "images\\000000000001.jpg", "/data/upload/000000000001.jpg"):
        boxes = write_annotations(tmp_path / "b.json", [{"id": 1, "file_name": name}], [{}])
        for root in (tmp_path / "export", folder):
            if name.startswith("/") and root != folder:
                continue
            assert read_boxes(boxes, root).images[0].path.resolve() == folder / "000000000001.jpg"
    two = [{"id": 1, "file_name": "a/000000000001.jpg"}, {"id": 2, "file_name": "b/000000000001.jpg"}]
    with pytest.raises(InputError, match="would both be 000000000001"):
        read_boxes(write_annotations(tmp_path / "b.json", two, [{}]), folder)


def test_a_number_that_two_images_have_is_refused(tmp_path: Path) -> None:
    images = write_images(tmp_path / "images", 2)
    (images / "cam2_000000000001.jpg").write_bytes((images / "000000000002.jpg").read_bytes())
    with pytest.raises(InputError, match=r"could be 000000000001\.jpg or cam2_000000000001\.jpg"):
        read_boxes(write_detections(tmp_path / "b.json", BOXES[:1]), images)
    assert len(read_boxes(write_detections(tmp_path / "b.json", BOXES[1:2]), images)) == 1


def test_fields_that_tools_leave_empty(tmp_path: Path) -> None:
    images = write_images(tmp_path / "images", 1)
    listed: list[dict[str, Any]] = [{"id": 1, "file_name": "000000000001.jpg", "width": None, "height": None}]
    kept: list[dict[str, Any]] = [
        {"area": None},
        {"keypoints": None},
        {"id": "abc"},
        {"image_id": "1"},
        {"image_id": 1.0},
    ]
    for person in kept:
        persons = read_boxes(write_annotations(tmp_path / "b.json", listed, [person]), images)
        assert len(persons) == 1 and not persons.faults
    wrong: list[Any] = [None, "abc", [1, 2, 3], [1, 2, 3, float("inf")], [1, 2, 3, 10**400], {"a": 1}]
    persons = read_boxes(write_annotations(tmp_path / "b.json", listed, [{"bbox": box} for box in wrong]), images)
    assert list(persons.faults) == [0, 1, 2, 3, 4, 5]
    scores: list[Any] = [None, float("nan"), "0.5", [1]]
    detections = write_detections(tmp_path / "d.json", [(1, [0, 0, 5, 5], score) for score in scores])
    assert len(read_boxes(detections, images).faults) == 4
    with pytest.raises(InputError, match=r"images\[0\]\.id is 12345678901234567890"):
        read_boxes(write_annotations(tmp_path / "b.json", [listed[0] | {"id": 12345678901234567890}], [{}]), images)
    with pytest.raises(InputError, match="only category_id 1 counts, and it has 2 of category 0"):
        read_boxes(write_annotations(tmp_path / "b.json", listed, [{"category_id": 0}] * 2), images)


def test_long_numbers_in_names_are_no_ids(tmp_path: Path) -> None:
    images, checkpoint = write_images(tmp_path / "images", 1), write_checkpoint(tmp_path / "a.safetensors")
    (images / "000000000001.jpg").rename(images / "IMG_12345678901234567890.jpg")
    run_detect(images, tmp_path / "out.json", checkpoint)
    assert json.loads((tmp_path / "out.json").read_text())[0]["image_id"] == 0


def test_two_runs_at_once_into_one_file(tmp_path: Path) -> None:
    images, checkpoint = write_images(tmp_path / "images", 1), write_checkpoint(tmp_path / "a.safetensors")
    out = tmp_path / "out.json"
    refused = pytest.raises(InputError, match=r"another run is writing to .*out\.json")
    with exclusive(tmp_path / ".out.json.lock", out), refused:
        run_detect(images, out, checkpoint)
    run_detect(images, out, checkpoint)
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "a.safetensors",
        "images",
        "out.json",
        "out.json.run.json",
    ]
